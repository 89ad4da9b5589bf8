"""What the packs in data/images hold, as any zip program reads it."""

import zipfile
from pathlib import Path


def packed_images(folder: Path) -> dict[str, bytes]:
    """Name and bytes of every image in the packs of a folder; each pack is whole."""
    found = {}
    for path in sorted(folder.glob("*.zip")):
        with zipfile.ZipFile(path) as pack:
            found |= {name: pack.read(name) for name in pack.namelist()}
    return found
