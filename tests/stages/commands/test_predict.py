import csv
import io
import json
import os
from functools import partial

import pandas as pd
import pytest
from PIL import Image

from tests.support.bundles import CLASSES, write_pictures
from tests.support.commands import graft


@pytest.fixture
def pictures(tmp_path):
    return write_pictures(tmp_path / "pictures", 3)


def predict(bundle_folder, *arguments):
    graft("predict", *map(str, arguments), "--model", str(bundle_folder))


def test_a_folder_to_each_kind_of_file(bundle_folder, pictures, tmp_path, capsys):
    (tmp_path / "pictures/notes.txt").write_text("no image")
    expected = dict(sorted(pictures.items()))
    for suffix, read in ((".csv", pd.read_csv), (".parquet", pd.read_parquet), (".jsonl", pd.read_json)):
        out = tmp_path / f"answers{suffix}"
        predict(bundle_folder, tmp_path / "pictures", "--out", out)
        table = read(out, lines=True) if suffix == ".jsonl" else read(out)
        assert dict(zip(table["file"], table["label"], strict=True)) == expected
        assert table["unsure"].dtype == bool
        assert (table[[f"p_{label}" for label in CLASSES]].sum(axis=1).round(4) == 1).all()
    said = capsys.readouterr().err
    assert "passed over 1 files that are no images, 0 hidden ones" in said
    assert "predict: 9 images, 0 errors" in said


def test_names_on_stdin_to_csv_on_stdout(bundle_folder, pictures, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("".join(f"{path}\n" for path in pictures).encode())))
    predict(bundle_folder, "-")
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {row["file"]: row["label"] for row in rows} == pictures
    assert list(rows[0]) == ["file", "label", "confidence", "unsure", "unknown", "distance",
                             *(f"p_{label}" for label in CLASSES), "error"]  # fmt: skip


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_any_file_name_comes_back(bundle_folder, tmp_path, suffix):
    (tmp_path / "odd").mkdir()
    for name in (b"a,b.png", b"line\nend.png", b"no\xfftext.png", 'ü "q".png'.encode()):
        (tmp_path / os.fsdecode(b"odd/" + name)).write_bytes(b"")
    with pytest.raises(SystemExit, match="graft predict: error: 4 images cannot be read"):
        predict(bundle_folder, tmp_path / "odd", "--out", tmp_path / f"a{suffix}")
    read = {".csv": pd.read_csv, ".parquet": pd.read_parquet, ".jsonl": partial(pd.read_json, lines=True)}[suffix]
    names = [name.rpartition("/odd/")[2] for name in read(tmp_path / f"a{suffix}")["file"]]
    assert names == ["a,b.png", "line\nend.png", "no\\xfftext.png", 'ü "q".png']


def test_images_that_cannot_be_read_have_rows_and_are_an_error(bundle_folder, pictures, tmp_path):
    (tmp_path / "pictures/dark/0.png").write_bytes(b"")
    with pytest.raises(SystemExit, match="1 images cannot be read; the column `error` of their rows says why"):
        predict(bundle_folder, tmp_path / "pictures", "--out", tmp_path / "a.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 9
    assert [row["error"] for row in rows if row["label"] is None] == ["the file has zero bytes"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_what_is_no_file_is_an_error_and_holds_nothing_up(bundle_folder, pictures, tmp_path):
    folder, first = tmp_path / "pictures", next(iter(pictures))
    os.mkfifo(tmp_path / "pipe")
    for name, target in {"zero.png": "/dev/zero", "pipe": tmp_path / "pipe", "loop": folder / "loop"}.items():
        (folder / name).symlink_to(target)
    with pytest.raises(SystemExit, match="2 images cannot be read"):
        predict(bundle_folder, folder, tmp_path / "pipe", "--out", tmp_path / "a.jsonl")
    rows = {row["file"]: row for row in map(json.loads, (tmp_path / "a.jsonl").read_text().splitlines())}
    assert len(rows) == 11
    assert rows[first]["label"] == pictures[first]
    assert rows[str(folder / "zero.png")]["error"].startswith("not a file but a device")
    assert rows[str(tmp_path / "pipe")]["error"].startswith("not a file but a pipe")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.png"], "nowhere.png does not exist"),
        (["{pictures}", "--out", "a.xlsx"], "must end in .csv, .jsonl, .parquet"),
        (["{pictures}", "--out", "no/such/a.csv"], "there is no folder no/such"),
        (["{pictures}", "--out", "{pictures}/folder.csv"], "folder.csv: is a folder"),
        (["{pictures}", "--model", "nowhere"], "--model nowhere: no bundle.json there; `dvc repro` makes data/bundle"),
        (["{pictures}", "--model", "models:/no-such@champion"], "--model models:/no-such@champion cannot be fetched"),
    ],
)
def test_a_users_mistake_is_one_line(bundle_folder, pictures, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures/folder.csv").mkdir()
    given = [one.format(pictures=tmp_path / "pictures") for one in arguments]
    with pytest.raises(SystemExit) as ended:
        graft("predict", *given, *([] if "--model" in given else ["--model", str(bundle_folder)]))
    assert str(ended.value).startswith("graft predict: error: ")
    assert message in str(ended.value)
    assert not list(tmp_path.glob("*.tmp"))


def test_nothing_half_written_is_left_after_a_stop(bundle_folder, pictures, tmp_path, monkeypatch):
    from stages.graft.model import predictor

    def broken(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(predictor.Predictor, "predict", broken)
    (tmp_path / "a.csv").write_text("before")
    with pytest.raises(SystemExit, match="130"):
        predict(bundle_folder, tmp_path / "pictures", "--out", tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == "before"
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".tmp")] == []


def test_maps_are_pictures_with_estimated_boxes_and_the_same_answers(bundle_folder, pictures, tmp_path, capsys):
    (tmp_path / "pictures/dark/0.png").write_bytes(b"")
    for arguments in ([], ["--maps", tmp_path / "maps"]):
        with pytest.raises(SystemExit, match="1 images cannot be read"):
            predict(bundle_folder, tmp_path / "pictures", "--out", tmp_path / f"{len(arguments)}.csv", *arguments)
    plain, mapped = (pd.read_csv(tmp_path / f"{number}.csv") for number in (0, 2))
    assert mapped[plain.columns].equals(plain)
    assert [name for name in mapped.columns if name not in plain.columns] == [
        "box_left", "box_top", "box_right", "box_bottom", "map"
    ]  # fmt: skip
    good = mapped[mapped["error"].isna()]
    assert sorted(good["map"]) == sorted(path.name for path in (tmp_path / "maps").iterdir())
    assert mapped["map"].isna().sum() == 1
    assert (good["box_left"] < good["box_right"]).all()
    assert (good["box_bottom"] <= 48).all()
    with Image.open(tmp_path / "maps" / good["map"].iloc[0]) as picture:
        assert picture.size == (48, 48)
    assert "it was not measured whether the heat maps of this model can be trusted" in capsys.readouterr().err


def test_maps_on_a_cluster_are_refused(bundle_folder, pictures, tmp_path):
    with pytest.raises(SystemExit, match="--maps draws on this machine alone; leave out --ray"):
        predict(bundle_folder, tmp_path / "pictures", "--maps", tmp_path / "maps", "--ray")
