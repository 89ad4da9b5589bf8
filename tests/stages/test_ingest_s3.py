"""Images in S3, from a server on this machine: copied, or left there; and what can go wrong on the way."""

import json

import pytest

from stages import ingest
from stages.commands.suggest import OUT, suggest_images
from stages.graft.core.params import load_params
from stages.graft.core.stage import run
from stages.graft.data.image_locations import LOCATION_COLUMNS, ImageLocations, image_locations
from stages.graft.data.label_rules import DEFAULT_COLUMNS
from stages.graft.data.manifest import read_manifest, read_unlabelled
from stages.graft.data.unwatched import reason_to_ingest
from stages.graft.images.loading import read_batch
from stages.graft.labelling.label_files import read_sheet
from stages.graft.storage import s3
from tests.graft.images.test_loading import PREPROCESSING
from tests.support.packed import packed_images
from tests.support.pictures import class_folder, png, write
from tests.support.s3 import bucket_server, use
from tests.support.servers import BUCKET

pytest.importorskip("s3fs", reason="the extra s3 is not installed")


CLASSES = ("bump", "hole", "scratch")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with bucket_server(tmp_path_factory.mktemp("server")) as bucket:
        bucket.put_folder("plates", class_folder(tmp_path_factory.mktemp("plates"), 100, CLASSES))
        bucket.put("plates/hole/notes.txt", b"no image")
        bucket.put("plates/hole/.hidden.png", png(1))
        yield bucket


@pytest.fixture
def ingested(server, project, monkeypatch):
    """Run the stage on a folder of the bucket."""
    use(server.environment, monkeypatch)

    def run_stage(prefix="plates", **params):
        folder = project(ingest={"source": f"s3://{BUCKET}/{prefix}", **params})
        run("ingest", ingest.main)
        return folder

    return run_stage


def test_copies_are_those_of_the_same_folder_on_disk(ingested, tmp_path, project):
    made = ingested()
    table, record = read_manifest(made / "data/manifest.csv"), json.loads((made / "reports/ingest.json").read_text())
    assert (record["num_images"], record["num_hidden"], record["num_non_images"]) == (300, 1, 1)
    copies = packed_images(made / "data/images")
    manifest = (made / "data/manifest.csv").read_bytes()
    project(ingest={"source": str(class_folder(tmp_path / "plates", 100, CLASSES))})
    run("ingest", ingest.main)
    assert (made / "data/manifest.csv").read_bytes() == manifest
    assert packed_images(made / "data/images") == copies
    assert "address" not in table


def test_images_in_place_are_read_there_until_one_changes(ingested, server):
    made = ingested(copy=False)
    table = read_manifest(made / "data/manifest.csv")
    assert table["address"].to_list() == [f"s3://{BUCKET}/plates/{file}" for file in table["file"]]
    assert [path.name for path in (made / "data/images").iterdir()] == ["in_place.txt"]
    ids, locate = table["id"].to_list(), image_locations(made / "data/manifest.csv", made / "data/images")
    assert read_batch(ids, locate, PREPROCESSING, 300).any(axis=(1, 2, 3)).all()
    file = table["file"][17]
    label, number = file.removesuffix(".png").split("/")
    server.put(f"plates/{file}", png(999))
    try:
        with pytest.raises(s3.GraftError, match=rf"^s3://graft/plates/{file} has changed since it was ingested"):
            read_batch(ids, locate, PREPROCESSING, 300)
    finally:
        server.put(f"plates/{file}", png(100 * CLASSES.index(label) + int(number)))


def test_splits_and_litter_in_a_bucket_are_those_of_a_folder(ingested, server):
    for split in ("train", "Valid"):
        for number, label in enumerate(CLASSES):
            server.put(f"given/set/{split}/{label}/0.png", png(number + 10 * (split == "train")))
    server.put("given/set/@eaDir/0.png", png(99))
    made = ingested("given")
    table = read_manifest(made / "data/manifest.csv")
    assert sorted(zip(table["file"], table["split"], strict=True)) == sorted(
        (f"{split}/{label}/0.png", ours) for split, ours in (("train", "train"), ("Valid", "val")) for label in CLASSES
    )
    assert json.loads((made / "reports/ingest.json").read_text())["num_hidden"] == 1


def test_a_listed_object_that_changes_is_noticed(ingested, server, tmp_path, project):
    for name in ("a", "b"):
        server.put(f"listed/{name}.png", png(ord(name)))
    source = tmp_path / "list.csv"
    source.write_text(f"path,label\na.png,a\ns3://{BUCKET}/listed/b.png,b\n")
    columns = DEFAULT_COLUMNS.model_copy(update={"root": f"s3://{BUCKET}/listed"})
    project(ingest={"source": str(source), "columns": columns.model_dump()})
    run("ingest", ingest.main)
    params = load_params("ingest", ingest.IngestParams)
    assert reason_to_ingest(params, tmp_path / "cache", ingest.REPORT) is None
    server.put("listed/a.png", png(ord("a")) + b"\0")
    changed = f"1 files that DVC does not watch have changed, such as s3://{BUCKET}/listed/a.png"
    assert reason_to_ingest(params, tmp_path / "cache", ingest.REPORT) == changed


@pytest.mark.parametrize("copy", [True, False])
def test_images_without_labels_are_those_of_the_same_folder_on_disk(server, tmp_path, project, monkeypatch, copy):
    use(server.environment, monkeypatch)
    given = {"source": str(class_folder(tmp_path / "plates")), "max_bad_fraction": 0.5}
    for number in range(3):
        server.put(f"pool/new/{number}.png", png(500 + number))
        write(tmp_path / f"pool/new/{number}.png", png(500 + number))
    server.put("pool/bad.png", png(9)[:40])
    made = project(ingest=given | {"unlabelled": f"s3://{BUCKET}/pool", "copy": copy})
    run("ingest", ingest.main)
    table = read_unlabelled(made / "data/unlabelled.csv", ("file", *LOCATION_COLUMNS))
    assert json.loads((made / "reports/ingest.json").read_text())["num_quarantined_unlabelled"] == 1
    locate = ImageLocations(table, made / "data/images")
    assert read_batch(table["id"].to_list(), locate, PREPROCESSING, 3).any(axis=(1, 2, 3)).all()
    if not copy:
        assert table["address"].to_list() == [f"s3://{BUCKET}/pool/{file}" for file in table["file"]]
    project(ingest=given | {"unlabelled": str(tmp_path / "pool")})
    run("ingest", ingest.main)
    assert read_unlabelled(made / "data/unlabelled.csv")["id"].to_list() == table["id"].to_list()


def test_suggestions_among_images_of_a_bucket(server, project, monkeypatch):
    use(server.environment, monkeypatch)
    for number in range(4):
        server.put(f"new/{number}.png", png(600 + number))
    project(
        backbone={"name": "shufflenet_v2_x0_5", "weights": "random", "sha256": None, "input_px": 32},
        extract={"batch_size": 4, "device": "cpu", "runtime": "torch"},
    )
    suggest_images(2, f"s3://{BUCKET}/new", OUT)
    assert len(read_sheet(OUT)) == 2
    assert (OUT.with_suffix(".html")).read_text().count("data:image/jpeg") > 2


def failing_after(monkeypatch, number):
    """Let the connection break after so many objects."""
    read, count = s3.read_object, iter(range(10**6))

    def read_some(address, *bounds):
        if next(count) >= number:
            raise s3.UnreachableError(f"{address} cannot be read (gone); check the connection")
        return read(address, *bounds)

    monkeypatch.setattr("stages.graft.data.class_folder.read_object", read_some)


@pytest.mark.parametrize("copy", [True, False])
@pytest.mark.parametrize(
    ("prefix", "message"),
    [("nowhere", "s3://graft/nowhere holds nothing"), ("plates/hole", "at least two classes"), ("plates", "gone")],
)
def test_what_goes_wrong_is_a_line_and_leaves_nothing(ingested, tmp_path, monkeypatch, prefix, message, copy):
    failing_after(monkeypatch, 100)  # no damaged image: the stage must not go on without it
    with pytest.raises(SystemExit, match=rf"^ingest: error: .*{message}") as caught:
        ingested(prefix, copy=copy)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "project/data").glob("*"))


def test_wrong_keys_are_said_in_a_line(ingested, server, tmp_path):
    server.look_at_keys(0)
    try:
        with pytest.raises(
            SystemExit, match=r"^ingest: error: s3://graft/plates is refused \(.+\); are these the right"
        ):
            ingested()
    finally:
        server.look_at_keys(10**9)
    assert not list((tmp_path / "project/data").glob("*"))


def test_a_sha256_is_refused(ingested):
    with pytest.raises(SystemExit, match=r"`ingest\.sha256` cannot be checked for a folder \(s3://graft/plates\)"):
        ingested(sha256="0" * 64)
