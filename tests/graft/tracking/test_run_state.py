"""Parameters, metrics and curves as MLflow will show them, and what makes two states the same."""

import hashlib
import math
from pathlib import Path

import pytest

from stages.graft.core.errors import ParamsError
from stages.graft.storage.files import write_json, write_text
from stages.graft.tracking.run_state import MAX_KEY, MAX_VALUE, METRICS, published_files, read_results, read_state

PARAMS = """\
ingest: {source: data/plates.yaml, sha256: null}
tracking: {experiment: plates}
"""

PIPELINE = "stages: {all: {outs: [data/model, reports/a.csv, reports/plots, reports/figures, reports/metrics.json]}}"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_text(PARAMS, tmp_path / "params.yaml")
    write_text(PIPELINE, tmp_path / "dvc.yaml")
    write_text("id,file\na,a.png\nb,b.png\n", tmp_path / "data/manifest.csv")
    return tmp_path


def state_with(root: Path, more: str):
    write_text(PARAMS + more, root / "params.yaml")
    return read_state(root)


def test_params_are_text_as_in_the_file(root):
    more = (
        "a: {none: null, true_: true, list: [1.0e-3, 2, x], text: 'null', empty: '', nested: {deep: 1}, nothing: {}}\n"
    )
    assert state_with(root, more).params == {
        "ingest.source": "data/plates.yaml",
        "ingest.sha256": "null",
        "tracking.experiment": "plates",
        "a.none": "null",
        "a.true_": "true",
        "a.list": '[0.001, 2, "x"]',
        "a.text": "null",
        "a.empty": "",
        "a.nested.deep": "1",
        "a.nothing": "{}",
    }


def test_the_state_is_parameters_and_data_alone(root):
    key = read_state(root).key
    write_text("# a comment\ntracking:\n  experiment: plates\ningest:\n  sha256: null\n  source: data/plates.yaml\n",
               root / "params.yaml")  # fmt: skip
    write_json({"accuracy": 0.5}, root / "reports/metrics.json")
    assert read_state(root).key == key
    assert state_with(root, "split: {seed: 1}\n").key != state_with(root, "split: {seed: '1'}\n").key != key
    write_text(PARAMS, root / "params.yaml")
    write_text("id,file\na,a.png\n", root / "data/manifest.csv")
    assert read_state(root).key != key


def test_the_data_is_named_as_dvc_names_it(root):
    state = read_state(root)
    assert (state.source, state.num_images) == ("data/plates.yaml", 2)
    assert state.data_md5 == hashlib.md5((root / "data/manifest.csv").read_bytes()).hexdigest()


def test_a_value_too_long_for_mlflow_is_cut_and_keeps_its_hash(root):
    one, other = (state_with(root, f"a: {{long: '{'x' * 7000}{end}'}}\n").params["a.long"] for end in "yz")
    assert len(one) == len(other) == MAX_VALUE
    assert one != other
    assert one.startswith("xxx")


@pytest.mark.parametrize("name", ["a,b", "größe&", "a//b", "..", "x" * 400, "a:b", "*"])
def test_names_mlflow_refuses_are_made_fit_and_stay_apart(root, name):
    from mlflow.utils.validation import _validate_metric_name, _validate_param

    params = state_with(root, f"a: {{'{name}': 1, '{name}_': 2}}\n").params
    mine = {key: value for key, value in params.items() if key[0] == "a"}
    assert sorted(mine.values()) == ["1", "2"]
    for key, value in mine.items():
        assert len(key) <= MAX_KEY
        _validate_param(key, value)
        _validate_metric_name(key)


def test_a_missing_tracking_section_is_named(root):
    write_text("ingest: {source: x}\n", root / "params.yaml")
    with pytest.raises(ParamsError, match="`tracking` is missing"):
        read_state(root)


def test_metrics_are_the_few_that_people_compare(root):
    assert len(METRICS) <= 17
    write_json({"accuracy": 0.9, "num_test": 10, "ece": 0.1, "selective_accuracy": None}, root / "reports/metrics.json")
    write_json({"val_accuracy": 0.8, "l2": 0.1, "converged": True}, root / "reports/train_head.json")
    write_json({"lines": 7}, root / "reports/other.json")
    assert read_results(root).series == {
        "accuracy": {0: 0.9},
        "num_test_images": {0: 10.0},
        "calibration_error": {0: 0.1},
        "val_accuracy": {0: 0.8},
    }


def test_curves_go_by_epoch_and_split(root):
    table = "epoch,split,loss,accuracy\n1,train,1.5,\n1,val,nan,0.25\n2,train,1,0.5\n"
    write_text(table, root / "reports/plots/finetune_curve.csv")
    write_text("epoch,loss\n3,0.1\n", root / "reports/plots/other_curve.csv")
    write_text("precision,recall\n1,0\n", root / "reports/plots/pr_curve.csv")
    series = read_results(root).series
    assert math.isnan(series.pop("finetune/val_loss")[1])
    assert series == {
        "finetune/train_loss": {1: 1.5, 2: 1.0},
        "finetune/train_accuracy": {2: 0.5},
        "finetune/val_accuracy": {1: 0.25},
        "other/loss": {3: 0.1},
    }


def test_the_digest_sees_every_published_byte_and_name(root):
    def digest_with(path: str, text: str) -> str:
        write_text(text, root / path)
        return read_results(root).digest

    texts = [
        ("reports/a.csv", "1"), ("reports/a.csv", "2"), ("reports/plots/b.csv", "1"),
        ("data/bundle/bundle.json", "{}"), ("data/other.csv", "1"),
    ]  # fmt: skip
    digests = [digest_with(*text) for text in texts]
    assert len(set(digests)) == 4
    assert digests[3] == digests[4]


def test_the_page_is_published_and_does_not_make_results_new(root):
    write_json({"accuracy": 0.5}, root / "reports/metrics.json")
    before = read_results(root).digest
    write_text("<p>a page</p>", root / "reports/report.html")
    assert read_results(root).digest == before
    published = {f"{folder}/{path.name}" for folder, path in published_files(root)}
    assert published == {"reports/metrics.json", "reports/report.html"}
    write_text("a figure", root / "reports/figures/a.png")
    assert read_results(root).digest != before


def test_what_no_stage_writes_is_not_published(root):
    before = read_results(root).digest
    for path in ("reports/bench.md", "reports/times/split.json", "reports/plots/.hidden"):
        write_text("{}", root / path)
    assert read_results(root).digest == before
    assert not list(published_files(root))


def test_the_times_are_those_of_the_stages_but_the_last(root):
    for stage in ("split", "report"):
        record = {"seconds": 2.5, "finished": "2026-01-01T10:00:00", "num_cpus": 2}
        write_json(record, root / f"reports/times/{stage}.json")
    assert read_results(root).times == {"split": 2.5}
