"""Where images are, from a manifest in any order."""

import hashlib
import json
from pathlib import Path

import pandas as pd
import pytest

from stages.graft.core.errors import DataError
from stages.graft.data.image_locations import ImageLocations, image_name, image_path
from stages.graft.images.location import location_record, read_image_bytes, read_location
from stages.graft.storage.packs import PackWriter, WaitingFile
from tests.graft.data.test_manifest import row


def test_image_path():
    assert image_path(Path("data/images"), "ab12", "JPEG") == Path("data/images/ab12.jpeg")


def test_copies_are_found_in_packs_or_as_files_of_before_packs(tmp_path):
    table = pd.DataFrame({"id": [hashlib.sha256(b"image").hexdigest()], "format": ["PNG"], "mode": ["RGB"]})
    [id_] = table["id"]
    (tmp_path / f"{id_}.png").write_bytes(b"image")
    assert read_image_bytes(ImageLocations(table, tmp_path)(id_)) == b"image"
    with PackWriter(tmp_path / "packs") as packs:
        packs.folder.mkdir()
        packs.add(WaitingFile.of(id_, image_name(id_, "PNG"), b"image", packs.folder))
    location = ImageLocations(table, tmp_path / "packs")(id_)
    assert str(location) == f"{tmp_path}/packs/{id_[:16]}.zip/{id_}.png"
    assert read_location(json.loads(json.dumps(location_record(location)))) == location
    assert read_image_bytes(location) == b"image"
    location.pack.write_bytes(b"")
    with pytest.raises(DataError, match=rf"{id_}\.png: {id_[:16]}\.zip is damaged.*`dvc checkout` or"):
        read_image_bytes(location)
    other = table.assign(id=["0" * 64])
    with pytest.raises(DataError, match=r"index\.csv does not have 0{64}\.png; `dvc checkout` or"):
        ImageLocations(other, tmp_path / "packs")("0" * 64)


def test_locations_are_found_in_any_order_of_rows(tmp_path):
    rows = [row(f"{n}.png", format="PNG" if n % 2 else "JPEG") for n in range(20)]
    manifest = pd.DataFrame({"id": [one.id for one in rows], "format": [one.format for one in rows], "mode": "RGB"})
    for table in (manifest, manifest.sort_values("id"), manifest.sort_values("format", ignore_index=True)):
        locate = ImageLocations(table, tmp_path)
        assert [locate(one.id) for one in rows] == [tmp_path / f"{one.id}.{one.format.lower()}" for one in rows]
        for unknown in ("0" * 64, "f" * 64, rows[0].id[:-1] + "x".replace("x", "0" if rows[0].id[-1] != "0" else "1")):
            with pytest.raises(KeyError):
                locate(unknown)
