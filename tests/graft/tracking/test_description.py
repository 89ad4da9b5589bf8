import pytest

from stages.graft.storage.files import write_json, write_text
from stages.graft.tracking.description import describe_run
from stages.graft.tracking.run_state import read_state


@pytest.fixture
def root(tmp_path):
    write_text("ingest: {source: plates}\ntracking: {experiment: x}\n", tmp_path / "params.yaml")
    write_text("id\na\nb\n", tmp_path / "data/manifest.csv")
    return tmp_path


def test_it_says_how_good_the_model_is_what_it_is_made_of_and_how_long_that_took(root):
    metrics = {"accuracy": 0.949275, "accuracy_low": 0.899, "accuracy_high": 0.975, "num_test": 138}
    write_json(metrics, root / "reports/metrics.json")
    write_json({"passed": False, "reasons": ["Too low.", "Too few."]}, root / "reports/gate.json")
    write_json({"num_train": 1, "num_val": 0, "num_test": 1}, root / "reports/split.json")
    write_text("<p>", root / "reports/report.html")
    text = describe_run(
        root, read_state(root), {"extract": 61.25, "evaluate": 0.5}, {"version.dvc": "3", "git.dirty": "x"}
    )
    assert text.split("\n\n") == [
        "**94.9%** of 138 test images are put in the right class (89.9% to 97.5%).",
        "The gate refuses this model. Too low. Too few.",
        "2 images of `plates`: 1 train, 0 val, 1 test.",
        "| stage | seconds |\n|---|---|\n| extract | 61.2 |\n| evaluate | 0.5 |\n| together | 61.8 |",
        "Made with dvc 3.",
        "Everything else is in the artifacts; begin with `reports/report.html`.",
    ]


def test_what_is_not_there_is_left_out(root):
    assert describe_run(root, read_state(root), {}, {}) == "2 images of `plates`."
