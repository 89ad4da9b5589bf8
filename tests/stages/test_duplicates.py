import hashlib

import cv2
import pandas as pd
import pytest

from stages import duplicates
from stages.graft.core.stage import run
from stages.graft.data.manifest import ManifestRow, read_manifest, write_manifest
from stages.graft.storage.files import read_json
from tests.support.pictures import write
from tests.support.scenes import png_of, scene


@pytest.fixture
def stage(project):
    """Run the stage on six scenes, the first of them saved again under a label of its own choice."""

    def run_stage(label_of_copy="hole", on_conflict="error", **params):
        folder = project(duplicates=params, ingest={"on_conflict": on_conflict})
        copy = cv2.imencode(".jpg", scene(0), [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()
        files = [(png_of(scene(seed)), "hole" if seed % 2 == 0 else "scratch", "PNG") for seed in range(6)]
        rows = []
        for number, (data, label, format_) in enumerate([*files, (copy, label_of_copy, "JPEG")]):
            id_ = hashlib.sha256(data).hexdigest()
            write(folder / f"data/images/{id_}.{format_.lower()}", data)
            row = {"id": id_, "file": f"{label}/{number}.png", "label": label, "format": format_}
            rows.append(ManifestRow(**row, group="", split="", width=240, height=200, mode="RGB"))
        write_manifest([row for row in rows if row.label], folder / "data/manifest.csv")
        write_manifest([row for row in rows if not row.label], folder / "data/unlabelled.csv")
        run("duplicates", duplicates.main)
        return folder

    return run_stage


def outputs(folder):
    return [(folder / path).read_bytes() for path in (duplicates.TABLE, duplicates.PAIRS, duplicates.REPORT)]


def test_the_copy_is_found_and_grouped(stage, capsys):
    folder = stage()
    groups = read_manifest(folder / "data/duplicates.csv", ("id", "file", "duplicates")).set_index("file")["duplicates"]
    assert groups["hole/0.png"] == groups["hole/6.png"] != ""
    assert (groups != "").sum() == 2
    [pair] = pd.read_csv(folder / "reports/duplicates.csv").to_dict("records")
    assert (pair["kind"], pair["first_label"], pair["second_label"]) == ("strict", "hole", "hole")
    assert read_json(folder / "reports/duplicates.json")["num_in_groups"] == 2
    assert "2 of 7 images show what another one shows, in 1 groups, the largest of 2" in capsys.readouterr().out


def test_a_second_run_and_another_store_give_the_same_bytes(stage, monkeypatch, tmp_path):
    first = outputs(stage())
    assert outputs(stage()) == first
    monkeypatch.setenv("GRAFT_STORE", str(tmp_path / "other"))
    assert outputs(stage()) == first


def test_a_copy_under_another_label_is_an_error_unless_it_may_stay(stage):
    with pytest.raises(SystemExit) as stop:
        stage(label_of_copy="scratch")
    message = str(stop.value)
    assert "1 pairs of near-duplicates are there under two labels; correct them, or keep them" in message
    assert "hole/0.png (hole)" in message
    folder = stage(label_of_copy="scratch", on_conflict="drop")
    assert read_json(folder / "reports/duplicates.json")["num_conflicts"] == 1


def test_off_looks_for_nothing(stage, tmp_path):
    folder = stage(method="off")
    assert set(read_manifest(folder / "data/duplicates.csv", ("id", "duplicates"))["duplicates"]) == {""}
    assert not (tmp_path / "store").exists()


def test_a_wrong_method_is_named(stage):
    with pytest.raises(SystemExit, match=r"`duplicates.method` should be 'off', 'strict' or 'related', got 'all'"):
        stage(method="all")


def test_an_image_without_label_that_shows_a_labelled_one_is_known(stage):
    """It joins no group: the split stays as it was without it."""
    folder = stage(label_of_copy="")
    labelled = read_manifest(folder / "data/duplicates.csv", ("id", "file", "duplicates")).set_index("file")
    assert set(labelled["duplicates"]) == {""}
    [like] = read_manifest(folder / "data/unlabelled_duplicates.csv", ("id", "like"))["like"]
    assert like == labelled["id"]["hole/0.png"]
    assert read_json(folder / "reports/duplicates.json")["num_unlabelled_like_labelled"] == 1
