"""Where images are, from a manifest in any order."""

from pathlib import Path

import pandas as pd
import pytest

from stages.graft.data.image_locations import ImageLocations, image_path
from tests.graft.data.test_manifest import row


def test_image_path():
    assert image_path(Path("data/images"), "ab12", "JPEG") == Path("data/images/ab12.jpeg")


def test_locations_are_found_in_any_order_of_rows(tmp_path):
    rows = [row(f"{n}.png", format="PNG" if n % 2 else "JPEG") for n in range(20)]
    manifest = pd.DataFrame({"id": [one.id for one in rows], "format": [one.format for one in rows], "mode": "RGB"})
    for table in (manifest, manifest.sort_values("id"), manifest.sort_values("format", ignore_index=True)):
        locate = ImageLocations(table, tmp_path)
        assert [locate(one.id) for one in rows] == [tmp_path / f"{one.id}.{one.format.lower()}" for one in rows]
        for unknown in ("0" * 64, "f" * 64, rows[0].id[:-1] + "x".replace("x", "0" if rows[0].id[-1] != "0" else "1")):
            with pytest.raises(KeyError):
                locate(unknown)
