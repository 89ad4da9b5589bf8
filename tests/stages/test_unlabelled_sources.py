"""Images without labels from a folder, an archive, a list or a bucket: the same images, with the same features."""

import shutil

import pytest

from stages import duplicates, extract, ingest
from stages.graft.core.stage import run
from stages.graft.data.manifest import read_unlabelled
from stages.graft.heads.features import read_features
from stages.graft.storage.files import read_json
from tests.support.pictures import class_folder, png, write

BACKBONE = {"name": "shufflenet_v2_x0_5", "weights": "random", "sha256": None, "input_px": 32}
QUICK = {"batch_size": 4, "device": "cpu", "runtime": "torch"}


@pytest.fixture
def pool(tmp_path):
    """Three pictures without labels, in folders that could be classes, a damaged one and a text."""
    for name, number in (("train/cat/1.png", 61), ("dog/2.png", 62), ("3.png", 63)):
        write(tmp_path / "pool" / name, png(number))
    write(tmp_path / "pool/bad.png", png(64)[:40])
    write(tmp_path / "pool/notes.txt", b"no image")
    return tmp_path / "pool"


@pytest.fixture
def packed(tmp_path, pool):
    """The same in every form, by name."""
    listed = write(tmp_path / "list.csv", b"path;label\ntrain/cat/1.png;\ndog/2.png;x\n3.png;\nbad.png;\n")
    (tmp_path / "archives").mkdir()
    return {
        "folder": str(pool),
        "zip": shutil.make_archive(str(tmp_path / "pool"), "zip", pool),
        "tar.gz": shutil.make_archive(str(tmp_path / "pool"), "gztar", pool),
        "list": str(shutil.copy(listed, pool / "list.csv")),
        "folder of archives": str(shutil.move(shutil.make_archive(str(tmp_path / "a"), "zip", pool),
                                              tmp_path / "archives/a.zip").parent),
    }  # fmt: skip


@pytest.fixture
def stages_run(project, tmp_path):
    """Run the stages that read images; give ids and features of those without labels."""
    class_folder(tmp_path / "plates")

    def run_stages(unlabelled, **params):
        source = {"source": str(tmp_path / "plates"), "max_bad_fraction": 0.5, "unlabelled": unlabelled} | params
        folder = project(ingest=source, backbone=BACKBONE, extract=QUICK)
        for name, stage in (("ingest", ingest), ("duplicates", duplicates), ("extract", extract)):
            run(name, stage.main)
        ids, x = read_features(folder / "data/unlabelled.safetensors")
        assert ids == read_unlabelled(folder / "data/unlabelled_duplicates.csv", ("id", "like"))["id"].to_list()
        return ids, x.tobytes()

    return run_stages


def test_every_kind_of_source_gives_the_same_images(stages_run, packed):
    expected = stages_run(packed.pop("folder"))
    assert len(expected[0]) == 3
    for kind, source in packed.items():
        assert stages_run(source) == expected, kind
        record = read_json(ingest.REPORT)
        assert (record["num_unlabelled"], record["num_quarantined_unlabelled"]) == (3, 1), kind
    assert stages_run(packed["list"], copy=False) == expected


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("https://example.com/pool.zip", "images without labels are not fetched from https://example.com/pool.zip: "
         "download it, and name the file"),
        ("s3://bucket/pool.zip", "source s3://bucket/pool.zip is a file; in S3, Graft reads folders: copy it here"),
        ("gone", "source gone does not exist"),
    ],
)  # fmt: skip
def test_what_cannot_be_taken_is_a_line(project, tmp_path, source, message):
    project(ingest={"source": str(class_folder(tmp_path / "plates")), "unlabelled": source})
    with pytest.raises(SystemExit, match=f"^ingest: error: {message}") as caught:
        run("ingest", ingest.main)
    assert "\n" not in str(caught.value)


def test_packed_images_cannot_stay_in_place(project, tmp_path, packed):
    source = str(class_folder(tmp_path / "plates"))
    project(ingest={"source": source, "unlabelled": packed["zip"], "copy": False})
    with pytest.raises(SystemExit, match=r"`ingest.copy: false` needs images that are files .*pool\.zip packs"):
        run("ingest", ingest.main)
