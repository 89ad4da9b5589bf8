import pandas as pd

from stages.graft.gallery import doubtful_labels, least_sure, worst_errors

PREDICTIONS = pd.DataFrame(
    [
        ("a", "right.png", "x", "x", 0.9, False, False),
        ("b", "worse.png", "x", "y", 0.8, False, True),
        ("c", "bad.png", "y", "x", 0.4, True, False),
        ("d", "worse too.png", "y", "x", 0.8, False, False),
    ],
    columns=["id", "file", "label", "predicted", "confidence", "unsure", "unknown"],
)


def address(id_):
    return f"data:{id_}"


def files(tiles):
    return [tile.file for tile in tiles]


def test_the_surest_errors_come_first():
    tiles = worst_errors(PREDICTIONS, 9, address)
    assert files(tiles) == ["worse.png", "worse too.png", "bad.png"]
    assert tiles[0].notes == ("unknown",)
    assert (tiles[0].label, tiles[0].other, tiles[0].share, tiles[0].address) == ("x", "y", 0.8, "data:b")
    assert files(worst_errors(PREDICTIONS, 1, address)) == ["worse.png"]


def test_the_least_sure_may_be_right():
    assert files(least_sure(PREDICTIONS, 9, address)) == ["bad.png", "worse.png", "worse too.png", "right.png"]
    assert [tile.differs for tile in least_sure(PREDICTIONS, 9, address)] == [True, True, True, False]
    assert least_sure(PREDICTIONS, 0, address) == []


def test_suspected_labels_come_before_the_merely_odd():
    rows = [("a", "odd.png", "x", "y", 0.1, False, "train"), ("b", "wrong.png", "x", "y", 0.2, True, "test")]
    table = pd.DataFrame(rows, columns=["id", "file", "label", "suggested", "score", "suspected", "split"])
    tiles = doubtful_labels(table, 9, address)
    assert files(tiles) == ["wrong.png", "odd.png"]
    assert tiles[0].notes == ("test", "suspected")
    assert doubtful_labels(table.head(0), 9, address) == []
