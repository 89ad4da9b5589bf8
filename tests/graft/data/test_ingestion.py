import hashlib
import json

import pytest

from stages.graft.core.errors import DataError
from stages.graft.data.class_folder import list_folder
from stages.graft.data.csv_list import read_list
from stages.graft.data.ingestion import ingest
from stages.graft.data.label_rules import LabelRules, label_contents
from tests.support.ingestion import ingest_params, read_class_folder
from tests.support.packed import packed_images
from tests.support.pictures import class_folder, encoded, pixels, png, write


@pytest.fixture
def folder(tmp_path):
    """A class folder: hole/0.png to hole/2.png, scratch/0.png to scratch/2.png."""
    return class_folder(tmp_path / "plates")


@pytest.fixture
def ingested(folder, tmp_path):
    """Ingest that class folder as it is by then."""

    def run(**params):
        params = ingest_params(**{"max_bad_fraction": 0.5, **params})
        return ingest(read_class_folder(folder, "plates"), tmp_path / "images", params)

    return run


@pytest.fixture
def listed(folder, tmp_path):
    """Ingest a list of its files."""

    def run(*lines):
        path = write(folder / "list.csv", "\n".join(lines).encode())
        return ingest(read_list(path, "list.csv"), tmp_path / "images", ingest_params(max_bad_fraction=0.5))

    return run


def quarantined(ingestion):
    return {image.file: image.reason for image in ingestion.quarantined}


def test_good_images_are_copied_byte_for_byte_under_their_sha256(ingested, folder, tmp_path):
    images = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.png")}
    ids = {file: hashlib.sha256(data).hexdigest() for file, data in images.items()}
    ingestion = ingested()
    assert {row.file: row.id for row in ingestion.rows} == ids
    assert packed_images(tmp_path / "images") == {f"{ids[file]}.png": images[file] for file in images}
    row = ingestion.rows[0]
    assert (row.label, row.group, row.split) == ("hole", "", "")
    assert (row.width, row.height, row.format, row.mode) == (12, 10, "PNG", "RGB")


def test_a_wrong_suffix_is_fine(ingested, folder):
    write(folder / "hole" / "photo.png", encoded(pixels(50), "JPEG"))
    write(folder / "hole" / "no suffix", encoded(pixels(51), "BMP"))
    formats = {row.file: row.format for row in ingested().rows}
    assert (formats["hole/photo.png"], formats["hole/no suffix"]) == ("JPEG", "BMP")


def test_bad_images_are_quarantined_with_their_reason(ingested, folder):
    write(folder / "hole" / "empty.jpg", b"")
    write(folder / "hole" / "half.jpg", encoded(pixels(50, 99, 99), "JPEG")[:-500])
    write(folder / "hole" / "text.PNG", b"no image")
    write(folder / "hole" / "photo.heic", b"\0\0\0\x18ftypheic")
    write(folder / "hole" / "half without suffix", encoded(pixels(51, 99, 99), "JPEG")[:-500])
    header = encoded(pixels(1), "BMP")
    write(folder / "hole" / "bomb.bmp", header[:18] + (60_000).to_bytes(4, "little") * 2 + header[26:])
    write(folder / "cover.png", png(52))
    ingestion = ingested(max_bad_fraction=0.6)
    reasons = quarantined(ingestion)
    assert len(ingestion.rows) == 6
    assert reasons.keys() == {
        "cover.png",
        *(
            f"hole/{name}"
            for name in ("empty.jpg", "half.jpg", "text.PNG", "photo.heic", "half without suffix", "bomb.bmp")
        ),
    }
    assert reasons["hole/empty.jpg"] == "the file has zero bytes"
    assert reasons["hole/half.jpg"].startswith("damaged or truncated: ")
    assert reasons["hole/text.PNG"] == "not an image but a text file; download the image itself"
    assert reasons["hole/bomb.bmp"] == "over the limit of 179 megapixels"
    assert "no label" in reasons["cover.png"]


def test_images_over_the_limit_of_pixels_are_quarantined(ingested, folder):
    write(folder / "hole" / "large.jpg", encoded(pixels(1, 50, 41), "JPEG"))
    write(folder / "hole" / "fits.png", encoded(pixels(1, 50, 40), "PNG"))
    ingestion = ingested(max_bad_fraction=0.5, max_megapixels=0.002)
    reason = "50x41 pixels are over the limit of 0.002 megapixels (`ingest.max_megapixels`); save it smaller"
    assert quarantined(ingestion) == {"hole/large.jpg": reason}
    assert "hole/fits.png" in {row.file for row in ingestion.rows}


def test_hidden_files_and_files_that_are_no_images_are_counted(ingested, folder):
    for name in (".DS_Store", "hole/.a.png", "notes.txt", "hole/Thumbs.db", "scratch/empty"):
        write(folder / name, b"" if name == "scratch/empty" else b"x")
    report = ingested().report()
    assert (report["num_images"], report["num_hidden"], report["num_non_images"]) == (6, 2, 3)
    assert report["num_quarantined"] == 0


def test_identical_images_of_one_class_are_kept_once(ingested, folder):
    write(folder / "hole" / "copy.png", png(0))
    write(folder / "hole" / "deep" / "copy.png", png(0))
    ingestion = ingested()
    assert len(ingestion.rows) == 6
    assert ingestion.duplicates == (("hole/copy.png", "hole/0.png"), ("hole/deep/copy.png", "hole/0.png"))


def test_identical_images_of_two_classes_are_an_error_that_lists_them(ingested, folder, tmp_path):
    write(folder / "scratch" / "copy.png", png(0))
    with pytest.raises(DataError, match=r"1 images.*on_conflict: drop") as caught:
        ingested()
    assert "hole/0.png (hole) = scratch/copy.png (scratch)" in str(caught.value)


def test_a_long_list_of_conflicts_is_cut(ingested, folder):
    for number in range(14):
        write(folder / "hole" / f"x{number}.png", png(500 + number))
        write(folder / "scratch" / f"x{number}.png", png(500 + number))
    with pytest.raises(DataError, match=r"14 images.*(\n.* = .*){10}\n  and 4 more$"):
        ingested()


def test_dropped_conflicts_leave_no_copy(ingested, folder, tmp_path):
    write(folder / "scratch" / "copy.png", png(0))
    write(folder / "scratch" / "copy 2.png", png(0))
    ingestion = ingested(on_conflict="drop")
    assert [row.file for row in ingestion.rows if row.label == "hole"] == ["hole/1.png", "hole/2.png"]
    assert len(packed_images(tmp_path / "images")) == 5
    report = ingestion.report()
    assert report["num_conflicts"] == 3
    assert [file["file"] for file in report["conflicts"][0]] == ["hole/0.png", "scratch/copy 2.png", "scratch/copy.png"]


def test_bad_images_up_to_the_fraction_pass(ingested, folder, tmp_path):
    write(folder / "hole" / "empty.jpg", b"")
    write(folder / "hole" / "notes.txt", b"counts for neither")
    with pytest.raises(
        DataError, match=r"1 of 7 images are bad \(14\.3%\).*0\.14 allows; hole/empty.jpg: .*zero bytes"
    ):
        ingested(max_bad_fraction=0.14)
    assert (
        len(ingest(read_class_folder(folder, "plates"), tmp_path / "again", ingest_params(max_bad_fraction=1 / 7)).rows)
        == 6
    )


def test_an_empty_class_is_an_error(ingested, folder, tmp_path):
    (folder / "pit" / "inner").mkdir(parents=True)
    with pytest.raises(DataError, match="plates: no image in class `pit`; add images or remove"):
        ingested()
    assert not (tmp_path / "images").exists()


def test_a_folder_that_holds_no_image_is_no_class(ingested, folder):
    write(folder / "docs" / "notes.txt", b"x")
    write(folder / "tables" / "sizes.csv", b"x")
    ingestion = ingested()
    assert (ingestion.classes, ingestion.without_images) == (("hole", "scratch"), ("docs", "tables"))
    assert ingestion.report()["folders_without_images"] == ["docs", "tables"]
    assert str(ingestion) == (
        "6 images in 2 classes; left out: 2 not images; no classes, since they hold no image: `docs`, `tables`"
    )


@pytest.mark.parametrize("name", ["video.mp4", "drawing.svg", "weights", "values.npy"])
def test_a_class_may_not_hold_other_files_alone(ingested, folder, name):
    write(folder / "pit" / name, b"x")
    with pytest.raises(DataError, match=f"no good image in class `pit`; files such as pit/{name} are no images"):
        ingested()


def test_two_folders_of_which_one_holds_no_image_are_too_few(tmp_path):
    folder = class_folder(tmp_path / "few", classes=("hole",))
    write(folder / "docs" / "notes.txt", b"x")
    with pytest.raises(DataError, match="few: expected at least two classes, found only `hole`"):
        ingest(read_class_folder(folder, "few"), tmp_path / "images", ingest_params())


@pytest.mark.parametrize("min_images", [None, 1, 3])
def test_rare_classes_are_left_out_and_counted(ingested, folder, tmp_path, min_images):
    write(folder / "pit" / "a.png", png(400))
    write(folder / "pit" / "copy.png", png(400))
    write(folder / "dent" / "b.png", png(401))
    write(folder / "dent" / "c.png", png(402))
    ingestion = ingested(min_images_per_class=min_images)
    rare = {"dent": 2, "pit": 1} if min_images == 3 else {}
    assert ingestion.report()["classes_left_out"] == rare
    assert ingestion.report()["num_classes"] == 4 - len(rare)
    assert len(packed_images(tmp_path / "images")) == len(ingestion.rows) == 9 - sum(rare.values())
    if rare:
        left_out = "left out: 1 duplicates, 3 in classes with too few (`dent`, `pit`)"
        assert str(ingestion) == f"6 images in 2 classes; {left_out}"


def test_too_few_classes_after_the_rare_ones_are_an_error(ingested, folder):
    (folder / "hole" / "0.png").unlink()
    with pytest.raises(DataError, match="at least two classes, found only `scratch`"):
        ingested(min_images_per_class=3)


def test_given_splits_are_in_the_line_and_the_report(tmp_path):
    class_folder(tmp_path / "plates" / "train")
    for number, label in enumerate(("hole", "scratch")):
        write(tmp_path / "plates" / "Valid" / label / "9.png", png(900 + number))
    ingestion = ingest(read_class_folder(tmp_path / "plates", "plates"), tmp_path / "images", ingest_params())
    assert str(ingestion) == "8 images in 2 classes; splits of the source: 6 train, 2 val"
    assert ingestion.report()["images_per_given_split"] == {"train": 6, "val": 2}


def test_images_that_no_pattern_matches_are_listed(folder, tmp_path):
    rules = LabelRules(label_pattern=r"^(?P<label>hole|scratch)/\d")
    write(folder / "hole" / "new.png", png(70))
    write(folder / "hole" / "notes.txt", b"x")
    source = label_contents("plates", list_folder(folder), rules)
    ingestion = ingest(source, tmp_path / "images", ingest_params(max_bad_fraction=0.2))
    assert quarantined(ingestion) == {"hole/new.png": "its path does not match `ingest.label_pattern`"}
    with pytest.raises(DataError, match=r"1 of 7 images are bad .*hole/new.png: its path does not match"):
        ingest(source, tmp_path / "again", ingest_params(max_bad_fraction=0.1))


def test_a_hint_at_what_may_have_the_labels(tmp_path):
    write(tmp_path / "flat" / "cat.0.jpg", png(1))
    with pytest.raises(DataError, match=r"names such as cat\.0\.jpg hold the labels, set `ingest\.label_pattern`"):
        ingest(read_class_folder(tmp_path / "flat", "flat"), tmp_path / "images", ingest_params())
    write(tmp_path / "flat" / "labels.csv", b"x")
    with pytest.raises(DataError, match=r"If labels\.csv names the images, make it the source"):
        ingest(read_class_folder(tmp_path / "flat", "flat"), tmp_path / "images", ingest_params())


def test_a_class_that_loses_all_its_images_is_an_error(ingested, folder):
    write(folder / "pit" / "a.png", b"")
    with pytest.raises(DataError, match=r"no good image in class `pit`; pit/a.png: the file has zero bytes"):
        ingested()


def test_a_class_lost_to_conflicts_is_an_error(ingested, folder):
    write(folder / "pit" / "a.png", png(0))
    with pytest.raises(
        DataError, match=r"no good image in class `pit`; files such as pit/a.png .* conflict with other"
    ):
        ingested(on_conflict="drop")


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ((), "at least two classes, found none"),
        (("hole",), "at least two classes, found only `hole`; .* sub-folders are the classes"),
        (("train", "val"), "`train`, `val` are splits, and hold 6 images"),
    ],
)
def test_too_few_classes_are_errors(tmp_path, classes, message):
    folder = class_folder(tmp_path / "few", classes=classes)
    write(folder / "cover.png", png(1))
    with pytest.raises(DataError, match=message):
        ingest(read_class_folder(folder, "few"), tmp_path / "images", ingest_params(max_bad_fraction=0.5))


def test_lists_give_group_and_split(listed):
    ingestion = listed("path,label,group,split", "hole/0.png,a,plate 1,train", "scratch/0.png,b,,")
    assert [(row.group, row.split) for row in ingestion.rows] == [("plate 1", "train"), ("", "")]


def test_rows_twice_in_a_list_are_duplicates_and_fill_each_others_gaps(listed):
    ingestion = listed("path,label,group,split", "hole/0.png,a,,", "hole/0.png,a,g,val", "scratch/0.png,b,,")
    assert [(row.group, row.split) for row in ingestion.rows] == [("g", "val"), ("", "")]
    assert ingestion.duplicates == (("hole/0.png", "hole/0.png"),)


def test_one_image_in_two_splits_is_a_conflict(listed):
    lines = ("path,label,split", "hole/0.png,a,train", "hole/0.png,a,test", "hole/1.png,a,", "scratch/0.png,b,")
    with pytest.raises(DataError, match=r"hole/0.png \(a, train\) = hole/0.png \(a, test\)"):
        listed(*lines)


def test_what_a_list_names_must_be_an_image(listed, folder):
    write(folder / "notes.txt", b"x")
    ingestion = listed("path,label", "hole/0.png,a", "notes.txt,a", "scratch/0.png,b")
    assert quarantined(ingestion).keys() == {"notes.txt"}


def test_the_report_is_json_with_counts_first(ingested, folder):
    write(folder / "hole" / "empty.jpg", b"")
    ingestion = ingested()
    report = json.loads(json.dumps(ingestion.report()))
    assert report["images_per_class"] == {"hole": 3, "scratch": 3}
    assert report["images_per_format"] == {"PNG": 6}
    assert report["quarantined"] == [{"file": "hole/empty.jpg", "label": "hole", "reason": "the file has zero bytes"}]
    assert str(ingestion) == "6 images in 2 classes; left out: 1 quarantined"
