"""Extract, run as a stage: the same features from any store, and a report of what was done."""

import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

from stages import extract, ingest
from stages.graft.backbone.runtime_choice import ExtractParams
from stages.graft.backbone.weights import BackboneParams
from stages.graft.compute import int8_check
from stages.graft.core.stage import run
from stages.graft.data.manifest import read_manifest, read_unlabelled
from stages.graft.heads.features import read_backbone_record, read_features, read_precision
from stages.graft.heads.head import read_calibrated_on
from stages.graft.storage.files import read_json
from tests.support.pictures import class_folder, png, write

BACKBONE = {"name": "shufflenet_v2_x0_5", "weights": "random", "sha256": None, "input_px": 32}


@pytest.fixture
def extracted(project, tmp_path):
    """Run ingest once and the stage on six small images; give the project's folder."""
    from stages import ingest

    class_folder(tmp_path / "plates")

    def run_stage(backbone=None, **params):
        source = {"source": str(tmp_path / "plates"), "sha256": None}
        settings = {"batch_size": 4, "device": "cpu", "runtime": "torch"} | params
        folder = project(ingest=source, backbone=BACKBONE | (backbone or {}), extract=settings)
        if not (folder / "data/manifest.csv").exists():
            run("ingest", ingest.main)
        run("extract", extract.main)
        return folder

    return run_stage


def last_line(capsys):
    return capsys.readouterr().out.splitlines()[-1]


def outputs(folder):
    return [(folder / name).read_bytes() for name in ("data/features.safetensors", "reports/extract.json")]


def test_every_image_gets_its_features_and_the_report_says_what_they_are(extracted, capsys):
    folder = extracted()
    assert last_line(capsys).startswith("extract: 6 images, 6 new, ")
    ids, x = read_features(folder / "data/features.safetensors")
    assert ids == read_manifest(folder / "data/manifest.csv")["id"].tolist()
    assert (x.shape, str(x.dtype)) == ((6, 1024), "float32")
    assert len({row.tobytes() for row in x}) == 6
    report = read_json(folder / "reports/extract.json")
    assert (report["num_images"], report["num_features"]) == (6, 1024)
    assert report["backbone"] == read_backbone_record(folder / "data/features.safetensors")
    assert (report["backbone"]["name"], report["backbone"]["weights"]) == ("shufflenet_v2_x0_5", "random")
    assert report["backbone"]["preprocessing"]["crop_px"] == 32
    assert str(folder) not in (folder / "reports/extract.json").read_text()


def test_the_user_is_told_how_much_the_network_does_not_see(extracted, capsys):
    """Images of 12 x 10 pixels, whose shorter side is scaled to 37 pixels, of which a square of 32 is kept."""
    folder, seen = extracted({"fit": "crop"}), 10 / 12 * (32 / 37) ** 2
    line = (
        "extract: the network sees the middle 62% of these images' pixels on average; `backbone.fit: squash` "
        "shows it all"
    )
    assert line in capsys.readouterr().out
    assert read_json(folder / "reports/extract.json")["seen_share"] == round(seen, 4)
    folder = extracted({"fit": "squash"})
    assert "sees the middle" not in capsys.readouterr().out
    assert read_json(folder / "reports/extract.json")["seen_share"] == 1


def test_each_fit_and_number_of_views_has_its_own_features(extracted):
    shown = [("squash", 1), ("pad", 1), ("crop", 1), ("crop", 4)]
    features = [outputs(extracted({"fit": fit}, views=views))[0] for fit, views in shown]
    assert len(set(features)) == 4


def test_a_warm_store_and_a_cold_one_give_the_same_bytes(extracted, capsys, monkeypatch, tmp_path):
    first = outputs(extracted())
    assert outputs(extracted()) == first
    assert last_line(capsys) == "extract: 6 images, none new"
    monkeypatch.setenv("GRAFT_STORE", str(tmp_path / "another"))
    assert outputs(extracted()) == first
    assert last_line(capsys).startswith("extract: 6 images, 6 new, ")


def test_new_images_alone_are_extracted(extracted, capsys, tmp_path):
    folder = extracted()
    before = dict(zip(*read_features(folder / "data/features.safetensors"), strict=True))
    class_folder(tmp_path / "plates", 4)
    shutil.rmtree(folder / "data")
    ids, x = read_features(extracted() / "data/features.safetensors")
    assert last_line(capsys).startswith("extract: 8 images, 2 new, ")
    assert [row.tobytes() for id_, row in zip(ids, x, strict=True) if id_ in before] == [
        before[id_].tobytes() for id_ in ids if id_ in before
    ]


def test_another_input_size_is_another_set_of_features(extracted, capsys):
    first = outputs(extracted())
    assert outputs(extracted({"input_px": 64})) != first
    assert "6 images, 6 new" in last_line(capsys)


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"x")], ids=["missing", "damaged"])
def test_an_image_that_cannot_be_read_ends_in_one_line_and_keeps_the_last_features(
    extracted, damage, monkeypatch, tmp_path
):
    folder = extracted()
    before = outputs(folder)
    pack = next((folder / "data/images").glob("*.zip"))
    damage(pack)
    monkeypatch.setenv("GRAFT_STORE", str(tmp_path / "another"))
    with pytest.raises(SystemExit, match=rf"^extract: error: data/images/{pack.name}/") as caught:
        extracted()
    assert "\n" not in str(caught.value)
    assert outputs(folder) == before
    assert not list(folder.rglob("*.tmp"))


@pytest.mark.parametrize(
    ("backbone", "params", "message"),
    [
        ({}, {"batch_size": 0}, r"`extract\.batch_size` should be greater than or equal to 1, got 0"),
        ({}, {"device": "gpu"}, r"`extract\.device` should be 'auto', 'cpu' or 'cuda', got 'gpu'"),
        ({}, {"views": 3}, r"`extract\.views` should be 1 or 4, got 3"),
        ({"fit": "stretch"}, {}, r"`backbone\.fit` should be 'auto', 'squash', 'pad' or 'crop', got 'stretch'"),
        ({}, {"threads": 2}, r"`extract\.threads` is not a parameter"),
        ({"input_px": 16}, {}, r"`backbone\.input_px` should be greater than or equal to 32, got 16"),
        ({"name": "shufflenet"}, {}, r"`backbone\.name`: torchvision has no network 'shufflenet'; nearest: shufflenet"),
        ({"weights": "bundled"}, {}, r"`backbone\.weights`: no bundled weights for 'shufflenet_v2_x0_5'"),
        ({"weights": "best"}, {}, r"`backbone\.weights` must be bundled, random, .*; got 'best'"),
        ({"weights": "w.pth"}, {}, r"`backbone\.weights`: w\.pth does not exist"),
    ],
)
def test_wrong_parameters_are_named(extracted, backbone, params, message):
    with pytest.raises(SystemExit, match=rf"^extract: error: .*{message}") as caught:
        extracted(backbone, **params)
    assert "\n" not in str(caught.value)


def test_without_images_the_message_says_what_to_run(project):
    project(backbone=BACKBONE)
    with pytest.raises(SystemExit, match=r"^extract: error: data/manifest\.csv does not exist; run `dvc repro`"):
        run("extract", extract.main)


def test_every_parameter_has_a_description():
    for section in (BackboneParams, ExtractParams):
        assert all(field.description for field in section.model_fields.values())


def test_images_without_labels_have_a_file_of_their_own(extracted, tmp_path):
    folder = extracted()
    assert read_features(folder / "data/unlabelled.safetensors")[0] == []
    first = outputs(folder)
    write(folder / "unlabelled/deep/new.png", png(500))
    run("ingest", ingest.main)
    run("extract", extract.main)
    ids, x = read_features(folder / "data/unlabelled.safetensors")
    assert x.shape == (1, 1024)
    assert ids == read_unlabelled(folder / "data/unlabelled.csv")["id"].to_list()
    assert outputs(folder)[0] == first[0]
    assert read_json(folder / "reports/extract.json")["num_unlabelled"] == 1


@pytest.mark.skipif(find_spec("nncf") is None, reason="the extra `int8` is not installed")
def test_new_images_change_no_feature_in_int8_as_long_as_those_of_the_calibration_are_there(
    extracted, tmp_path, monkeypatch
):
    monkeypatch.setattr(int8_check, "check_int8", lambda *_: (True, "as good"))
    folder = extracted(precision="int8", runtime="auto")
    features, report = folder / "data/features.safetensors", folder / "reports/extract.json"
    assert (read_precision(features), read_json(report)["runtime"]["precision"]) == ("int8", "int8")
    calibrated_on, before = read_calibrated_on(features), dict(zip(*read_features(features), strict=True))
    assert read_json(report)["calibrated_on"] == calibrated_on == sorted(before)[1:]
    class_folder(tmp_path / "plates", 4)
    shutil.rmtree(folder / "data")
    ids, x = read_features(extracted(precision="int8", runtime="auto") / "data/features.safetensors")
    assert len(ids) == 8
    assert read_calibrated_on(features) == calibrated_on
    assert {id_: row.tobytes() for id_, row in zip(ids, x, strict=True) if id_ in before} == {
        id_: row.tobytes() for id_, row in before.items()
    }
    report.unlink()
    extracted(precision="int8", runtime="auto")
    assert read_calibrated_on(features) == sorted(ids)[2:]


def test_int8_that_falls_short_runs_as_auto(extracted, monkeypatch, capsys):
    monkeypatch.setattr(int8_check, "check_int8", lambda *_: (False, "it is worse"))
    folder = extracted(precision="int8", runtime="auto")
    assert "extract: shufflenet_v2_x0_5 does not run in int8: it is worse\n" in capsys.readouterr().err
    assert read_precision(folder / "data/features.safetensors") in ("bf16", "fp32")


def test_int8_in_torch_is_refused_in_one_line(extracted):
    with pytest.raises(SystemExit, match=r"^extract: error: `extract\.precision: int8` is for OpenVINO on a CPU; set"):
        extracted(precision="int8", runtime="torch")
