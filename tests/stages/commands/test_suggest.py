"""graft suggest and graft labels: from images without labels to labels that ingest takes."""

import json
import subprocess

import numpy as np
import pandas as pd
import pytest

from stages import ingest
from stages.commands.labels import import_labels
from stages.commands.suggest import OUT, suggest_images
from stages.graft.core.errors import DataError
from stages.graft.core.stage import run
from stages.graft.data.image_locations import image_path
from stages.graft.data.manifest import ManifestRow, read_manifest, write_manifest
from stages.graft.data.splits import extend_table
from stages.graft.storage.files import read_json
from tests.support.bundles import picture
from tests.support.exploration import write_images
from tests.support.features import ids_of, write_features
from tests.support.pictures import png, write
from tests.support.pipeline import write_pipeline_start

BACKBONE = {"name": "shufflenet_v2_x0_5", "weights": "random", "sha256": None, "input_px": 32}
PREPROCESSING = {"resize_px": 32, "crop_px": 32, "interpolation": "bilinear", "mean": [0.5] * 3, "std": [0.25] * 3}
NETWORK = {"name": "tiny", "preprocessing": PREPROCESSING}
QUICK = {"batch_size": 4, "device": "cpu", "runtime": "torch"}


def sheet(path=OUT):
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def fill_in(labels, path=OUT):
    """Write labels in the first rows of the table, as a person does."""
    table = sheet(path)
    table.loc[: len(labels) - 1, "label"] = labels
    table.to_csv(path, index=False)


@pytest.fixture
def folder(tmp_path):
    """Pictures of two shades without labels."""
    for shade in (40, 210):
        for number in range(8):
            (tmp_path / "pool").mkdir(exist_ok=True)
            picture(shade, number).save(tmp_path / f"pool/{shade} <b>{number}.png")
    return tmp_path / "pool"


def test_a_folder_alone_is_enough(project, folder, capsys):
    made = project(backbone=BACKBONE, extract=QUICK)
    suggest_images(4, str(folder), OUT)
    table = sheet()
    assert len(table) == 4
    assert {path.split("/")[-1].split(" ")[0] for path in table["path"]} == {"40", "210"}
    assert set(table["label"]) == set(table["guess"]) == {""}
    page = (made / "reports/suggestions.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "<b>0.png" not in page  # names are escaped
    assert "http" not in page.replace("http-equiv", "")
    tasks = json.loads((made / "reports/suggestions.json").read_text(encoding="utf-8"))
    assert [task["data"]["image_id"] for task in tasks] == table["id"].to_list()
    assert all(task["data"]["image"].startswith("data:image/jpeg;base64,") for task in tasks)
    assert "4 of 16 images without a label, beside 0 with one, in" in capsys.readouterr().out


def test_labels_filled_in_make_a_source(project, folder, capsys):
    """From nothing to a first training: suggest, label, import, and point the source at the labels."""
    made = project(backbone=BACKBONE, extract=QUICK)
    suggest_images(6, str(folder), OUT)
    fill_in(["dark" if "/40 " in path else "light" for path in sheet()["path"]])
    import_labels(OUT, "Ada")
    assert "6 added to labels.csv (" in capsys.readouterr().out
    suggest_images(1, str(folder), OUT)  # all labels are imported: the table may be replaced
    labels = (made / "labels.csv").read_bytes()
    project(ingest={"source": "labels.csv", "sha256": None, "unlabelled": str(folder)})
    write(made / "labels.csv", labels)
    run("ingest", ingest.main)
    assert "ingest: 6 images in 2 classes, 10 without labels" in capsys.readouterr().out


def test_a_table_with_labels_is_not_replaced_before_its_import(project, folder):
    project(backbone=BACKBONE, extract=QUICK)
    suggest_images(2, str(folder), OUT)
    fill_in(["dark"])
    with pytest.raises(DataError, match=r"has 1 labels that are not imported: `graft labels import reports/suggest"):
        suggest_images(2, str(folder), OUT)


@pytest.fixture
def pipeline(project):
    """A project whose stages have run, with 9 images without labels: copies of some features, a little moved."""
    made = project()
    write_pipeline_start(made)
    write_images(made)
    manifest = read_manifest(made / "data/manifest.csv")
    splits = pd.Series(np.resize(["train", "train", "val", "test"], len(manifest)))
    extend_table(made / "data/manifest.csv", made / "data/splits.csv", split=splits)
    from stages.graft.heads.features import read_features

    x = read_features(made / "data/features.safetensors")[1]
    ids = ids_of(9, start=3000)
    plain = {"label": "", "group": "", "split": "", "width": 12, "height": 10, "format": "PNG", "mode": "RGB"}
    for number, id_ in enumerate(ids):
        write(image_path(made / "data/images", id_, "PNG"), png(number))
    write_manifest(
        [ManifestRow(id=id_, file=f"new/{n}.png", **plain) for n, id_ in enumerate(ids)], made / "data/unlabelled.csv"
    )
    like = pd.Series([manifest["id"][0], *[""] * 8])
    extend_table(made / "data/unlabelled.csv", made / "data/unlabelled_duplicates.csv", like=like)
    write_features(list(manifest["id"]), x, NETWORK, made / "data/features.safetensors")
    write_features(list(ids), x[:9] + 0.01, NETWORK, made / "data/unlabelled.safetensors")
    return made


def test_the_pipelines_images_with_guesses(pipeline):
    suggest_images(9, None, OUT)
    table = sheet()
    assert len(table) == 8  # one shows what a labelled image shows
    assert set(table["guess"]) <= {"007", "NA", "plate, bent"}
    assert "" not in set(table["guess"])
    tasks = json.loads((pipeline / "reports/suggestions.json").read_text(encoding="utf-8"))
    assert tasks[0]["predictions"][0]["result"][0]["value"]["choices"] == [table["guess"][0]]
    config = (pipeline / "reports/suggestions.xml").read_text(encoding="utf-8")
    assert config.count("<Choice ") == 3
    page = (pipeline / "reports/suggestions.html").read_text(encoding="utf-8")
    assert f"{36 - 9 + 9} images in" in page  # test images stay out


def test_without_unlabelled_images_it_says_where_to_put_them(pipeline):
    write_manifest([], pipeline / "data/unlabelled.csv")
    extend_table(
        pipeline / "data/unlabelled.csv", pipeline / "data/unlabelled_duplicates.csv", like=pd.Series([], dtype=str)
    )
    with pytest.raises(DataError, match=r"put some in unlabelled \(`ingest.unlabelled`\)"):
        suggest_images(3, None, OUT)
    (pipeline / "data/splits.csv").unlink()
    with pytest.raises(DataError, match="the pipeline has not run here"):
        suggest_images(3, None, OUT)


def test_labels_come_in_and_ingest_takes_them(project, tmp_path, capsys):
    for number in range(6):
        write(tmp_path / f"plates/{'hole' if number % 2 else 'pit'}/{number}.png", png(number))
    made = project(ingest={"source": str(tmp_path / "plates"), "sha256": None})
    write(made / "unlabelled/new.png", png(50))
    run("ingest", ingest.main)
    [new] = read_manifest(made / "data/unlabelled.csv")["id"]
    given = f"id;path;label\n{new};new.png;pit\n;hole/1.png;pit\n;gone.png;pit\n"
    import_labels(write(tmp_path / "given.csv", given.encode()), "Ada")
    import_labels(write(tmp_path / "more.csv", b"path,label\nhole/1.png,hole\n"), "Bea")
    said = capsys.readouterr().out
    assert "hole/1.png has several labels, the last counts: pit (Ada, " in said
    import_labels(tmp_path / "more.csv", "Bea")
    assert "0 added to labels.csv, 1 were there already" in capsys.readouterr().out
    run("ingest", ingest.main)
    said = capsys.readouterr().out
    assert "ingest: labels given: 1 confirmed, 1 new, 1 of images that are not there" in said
    table = read_manifest(made / "data/manifest.csv").set_index("file")
    assert (table["label"]["new.png"], table["split"]["new.png"]) == ("pit", "train")
    assert table["label"]["hole/1.png"] == "hole"
    record = read_json(made / "reports/ingest.json")
    assert (record["num_unlabelled"], record["labels_given"]["unknown"]) == (0, ["gone.png"])
    assert [one["label"] for one in record["labels_given"]["conflicts"][0]] == ["pit", "hole"]


def test_who_is_gits_user(project, tmp_path):
    made = project()
    subprocess.run(["git", "init", "--quiet", made], check=True)
    subprocess.run(["git", "-C", made, "config", "user.name", "Ada Ü"], check=True)
    import_labels(write(tmp_path / "given.csv", b"path,label\na.png,hole\n"), None)
    assert sheet(made / "labels.csv")["who"].to_list() == ["Ada Ü"]
