import pytest

from stages.graft.advice.advice import Advice, format_advice_markdown, write_advice
from stages.graft.storage.files import write_json, write_text
from stages.graft.tracking.description import describe_run
from stages.graft.tracking.run_state import read_state


@pytest.fixture
def root(tmp_path):
    write_text("ingest: {source: plates}\ntracking: {experiment: x}\n", tmp_path / "params.yaml")
    write_text("id\na\nb\n", tmp_path / "data/manifest.csv")
    return tmp_path


def test_it_gives_the_advice_what_the_model_is_made_of_and_how_long_that_took(root):
    advice = Advice(usable=False, headline="Not usable.", checks=(), next_steps=())
    write_advice(advice, root)
    write_json({"num_train": 1, "num_val": 0, "num_test": 1}, root / "reports/split.json")
    write_text("<p>", root / "reports/report.html")
    times, tags = {"extract": 61.25, "evaluate": 0.5}, {"version.dvc": "3", "git.dirty": "x"}
    text = describe_run(root, read_state(root), times, tags)
    assert text.startswith(format_advice_markdown(advice))
    assert text.removeprefix(format_advice_markdown(advice)).split("\n\n")[1:] == [
        "2 images of `plates`: 1 train, 0 val, 1 test.",
        "| stage | seconds |\n|---|---|\n| extract | 61.2 |\n| evaluate | 0.5 |\n| together | 61.8 |",
        "Made with dvc 3.",
        "Everything else is in the artifacts; begin with `reports/report.html`.",
    ]


def test_what_is_not_there_is_left_out(root):
    assert describe_run(root, read_state(root), {}, {}) == "2 images of `plates`."
