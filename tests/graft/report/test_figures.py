import pytest
from PIL import Image

from stages.graft.core.errors import DataError
from stages.graft.report.figures import draw_figures, read_choice
from stages.graft.storage.files import read_json, write_json
from tests.support.reports import CLASSES, write_reports

ALWAYS = ["confusion", "per_class", "reliability", "risk_coverage", "map_pca", "map_tsne", "shots"]
LONG = tuple(f"a rather long name of a class, number {k}, of the second rolling mill" for k in range(60))


def draw(folder, name="figures"):
    plots, metrics = folder / "reports/plots", folder / "reports/metrics.json"
    captions = draw_figures(plots, metrics, folder / "data/bundle/decision.json", folder / name)
    return {path.stem: path.read_bytes() for path in (folder / name).iterdir()}, captions


def test_the_same_tables_give_the_same_bytes_and_other_tables_others(tmp_path):
    write_reports(tmp_path)
    first, captions = draw(tmp_path)
    again, _ = draw(tmp_path, "again")
    assert first == again
    assert [name.removesuffix(".png") for name in captions] == [*ALWAYS, "curve_finetune"]
    write_reports(tmp_path, wrong=1)
    other, _ = draw(tmp_path, "other")
    same = {name for name in first if first[name] == other[name]}
    assert same == {"reliability", "shots", "curve_finetune"}


@pytest.mark.parametrize("classes", [("good", "bad"), CLASSES, LONG, ("裂纹", "hole\n", "\u202etxt")], ids=len)
def test_any_classes_can_be_drawn(tmp_path, classes):
    write_reports(tmp_path, classes, per_class=3, wrong=2, curves=())
    found, _ = draw(tmp_path)
    assert sorted(found) == sorted(ALWAYS)
    for path in (tmp_path / "figures").iterdir():
        with Image.open(path) as image:
            assert image.width == 884
            assert image.height < 1700


def test_nothing_wrong_is_no_reason_to_fail(tmp_path):
    write_reports(tmp_path, wrong=0)
    assert len(draw(tmp_path)[0]) == 8


def test_the_choice_is_what_the_rule_gave_on_test(tmp_path):
    write_reports(tmp_path)
    metrics, decision = tmp_path / "reports/metrics.json", tmp_path / "data/bundle/decision.json"
    choice = read_choice(metrics, decision)
    assert (choice.confidence, choice.coverage, choice.target_accuracy) == (0.5, 0.8, 0.9)
    assert choice.risk == pytest.approx(0.1)
    write_json(read_json(metrics) | {"selective_accuracy": None}, metrics)
    assert read_choice(metrics, decision).risk is None
    decision.unlink()
    assert read_choice(metrics, decision) is None


def test_a_missing_table_is_named(tmp_path):
    write_reports(tmp_path)
    (tmp_path / "reports/plots/map.csv").unlink()
    with pytest.raises(DataError, match=r"map\.csv cannot be read .*run `dvc repro`"):
        draw(tmp_path)
