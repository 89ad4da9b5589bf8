import pandas as pd
import pytest

from stages.graft.core.errors import DataError
from stages.graft.duplicates.finding import NOTHING, Found
from stages.graft.duplicates.groups import (
    check_conflicts,
    conflicts,
    duplicates_record,
    format_record,
    group_names,
    pairs_table,
)

IMAGES = pd.DataFrame({"id": list("abcdef"), "file": [f"{k}.png" for k in "abcdef"], "label": list("xxyyzz")})


def pairs(*rows):
    """Pairs of two numbers and a kind."""
    values = {"correlation": 0.9, "overlap": 1.0, "points": 30, "mirrored": False}
    return pd.DataFrame([{"first": a, "second": b, "kind": kind, **values} for a, b, kind in rows])


CHAIN = pairs((0, 1, "strict"), (1, 3, "related"), (4, 5, "same pixels"))


def test_connected_images_are_one_group_named_after_its_first():
    assert group_names(CHAIN, IMAGES["id"].to_list()).to_list() == ["a", "a", "", "a", "e", "e"]
    assert group_names(NOTHING.pairs, ["a", "b"]).to_list() == ["", ""]


def test_the_record_counts_and_shows_the_largest_first():
    table = pairs_table(CHAIN, IMAGES)
    assert table.columns.to_list()[-4:] == ["first_label", "second_label", "first_file", "second_file"]
    found = Found(pairs=CHAIN, num_described=9, num_compared=12, num_plain=2)
    manifest = IMAGES.assign(duplicates=group_names(CHAIN, IMAGES["id"].to_list()))
    record = duplicates_record("related", found, table, manifest)
    assert record["num_pairs"] == {"same pixels": 1, "strict": 1, "related": 1}
    assert (record["num_in_groups"], record["num_groups"], record["largest_group"]) == (5, 2, 3)
    assert [[row["id"] for row in rows] for rows in record["groups"]] == [["a", "b", "d"], ["e", "f"]]
    text = format_record(record)
    assert text.startswith("5 of 6 images show what another one shows, in 2 groups, the largest of 3")
    assert "2 images show too little" in text


def test_one_scene_in_most_images_is_pointed_out():
    everything = pairs(*((0, k, "strict") for k in range(1, 6)))
    manifest = IMAGES.assign(duplicates="a")
    found = Found(pairs=everything, num_described=0, num_compared=5, num_plain=0)
    text = format_record(duplicates_record("related", found, pairs_table(everything, IMAGES), manifest))
    assert "if a fixed camera took them, set `duplicates.method: off`" in text


def test_near_duplicates_under_two_labels_are_an_error_that_names_them():
    table = pairs_table(pairs((0, 1, "strict"), (1, 2, "strict"), (3, 4, "related")), IMAGES)
    wrong = conflicts(table)
    assert wrong[["first", "second"]].to_numpy().tolist() == [["b", "c"]]  # a related pair may show another part
    with pytest.raises(DataError, match=r"1 pairs of near-duplicates .*\n  b\.png \(x\) = c\.png \(y\), strict"):
        check_conflicts(wrong)
    check_conflicts(wrong.head(0))


def test_nothing_was_looked_for():
    record = duplicates_record("off", NOTHING, pairs_table(NOTHING.pairs, IMAGES), IMAGES.assign(duplicates=""))
    assert record["num_groups"] == record["largest_group"] == 0
    assert format_record(record) == "not looked for among 6 images (`duplicates.method: off`)"
