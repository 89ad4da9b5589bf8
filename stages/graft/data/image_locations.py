"""The location of every image: its copy in data/images or, for an image that stays in place, its address."""

from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from stages.graft.core.errors import DataError
from stages.graft.core.image_ids import Ids, as_keys, pack_ids
from stages.graft.data.manifest import ADDRESS, read_manifest
from stages.graft.images.location import BRING_BACK, ImageInPlace, ImageLocation
from stages.graft.storage.packs import PackIndex, has_packs
from stages.graft.storage.tables import texts

LOCATION_COLUMNS = ("id", "format", "mode", ADDRESS)
"""Columns of a manifest or a splits table that determine the locations, and how the images are decoded."""


def image_name(id_: str, format_: str) -> str:
    """Give the name of an image's copy: `<id>.<format in lower case>`."""
    return f"{id_}.{format_.lower()}"


def image_path(folder: Path, id_: str, format_: str) -> Path:
    """Give the path of a copy that is a file of its own, as in data/images of before packs."""
    return folder / image_name(id_, format_)


class ImageLocations:
    """Maps an id to the location of the image: its copy or, if the manifest has addresses, the image in place."""

    def __init__(self, manifest: pd.DataFrame, folder: Path) -> None:
        """Read the LOCATION_COLUMNS of a table, sorted by id or not; the folder is that of the copies."""
        self.ids = Ids(pack_ids(texts(manifest["id"])))
        """Ids of all images, in the manifest's order."""
        keys = as_keys(self.ids.packed)
        self._folder = folder
        self._order = None if np.all(keys[:-1] < keys[1:]) else np.argsort(keys)
        self._keys = keys if self._order is None else keys[self._order]
        self._addresses = manifest[ADDRESS].array if ADDRESS in manifest else None
        self._modes = [str(mode) for mode in manifest["mode"].unique()]
        codes, names = pd.factorize(manifest["format"])
        self._formats, self._names = codes.astype(np.int16), [str(name) for name in names]

    @property
    def decoder(self) -> str:
        """Name what decodes these images, for the fingerprint of their features."""
        from stages.graft.images.crop import decoder_of  # OpenCV takes 60 ms, and locations alone do not need it

        return decoder_of(self._names, self._modes)

    def __call__(self, id_: str) -> ImageLocation:
        """Give the location of an image; a KeyError for an id that is not in the manifest.

        Raises:
            DataError: data/images has packs, and the image is in none of them.
        """
        key = bytes.fromhex(id_)
        rank = int(np.searchsorted(self._keys, np.bytes_(key)))
        if rank == len(self._keys) or self._keys[rank : rank + 1].tobytes() != key:
            raise KeyError(id_)
        row = rank if self._order is None else int(self._order[rank])
        if self._addresses is not None:
            return ImageInPlace(str(self._addresses[row]), id_)
        name = image_name(id_, self._names[self._formats[row]])
        try:
            return self._folder / name if self._packs is None else self._packs.find(id_, name)
        except DataError as error:
            raise DataError(f"{error}; {BRING_BACK}") from None

    @cached_property
    def _packs(self) -> PackIndex | None:
        return PackIndex(self._folder) if has_packs(self._folder) else None


def image_locations(table: Path, folder: Path) -> ImageLocations:
    """Read the location of every image of the manifest or the splits table; the folder is that of the copies."""
    return ImageLocations(read_manifest(table, LOCATION_COLUMNS), folder)
