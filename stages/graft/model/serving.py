"""A bundle as MLflow serves it: a table of images in, a table with an answer for each image out.

MLflow imports this module and the packages that it needs from a logged model's folder, and calls `_load_pyfunc`.
"""

import base64
import binascii
import os
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pandas as pd

from stages.graft.core.errors import DataError, one_line
from stages.graft.data.class_folder import read_file
from stages.graft.model.bundle import load_bundle
from stages.graft.model.predictor import ImageFile, Predictor
from stages.graft.storage.regular_files import check_size

IMAGE = "image"
"""The column that is read: an image file as base64 text, as a `data:` address, as bytes (in Python) or, where this is
allowed, as the `file:` address of a file on this machine."""

READ_PATHS = "read_paths"
"""The setting that allows `file:` addresses, off by default: with it, every client of a server can ask which files the
server has."""


TIME_LIMIT = "MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT"
"""The variable in which MLflow's server has the seconds after which it gives up a request; no variable, no limit."""

_SPACES = b" \t\n\r\v\f"
"""Between the letters of base64: `base64` breaks lines."""


class ServedModel:
    """A bundle that is called through MLflow."""

    def __init__(self, folder: Path, *, read_paths: bool = False) -> None:
        """Load the bundle in a folder; `read_paths` allows `file:` addresses."""
        self._predictor = Predictor(load_bundle(folder))
        self._read_paths = read_paths

    @property
    def columns(self) -> list[str]:
        """Columns of the answers: label, confidence, unsure, unknown, distance, p_<class> for each class, error."""
        return [name for name in self._predictor.columns if name != "file"]

    def predict(self, model_input: pd.DataFrame) -> pd.DataFrame:
        """Classify the images in the column `image` of a table.

        Nothing is decoded after the time when the server has given up the request, since no client waits for it.

        Returns:
            A row for each image, with its index; for a bad image only the error, the rest is None.
        """
        read = partial(self._read, deadline=time.monotonic() + float(os.environ.get(TIME_LIMIT) or "inf"))
        files = (ImageFile(name="", read=partial(read, value)) for value in model_input[IMAGE])
        rows = [[row[name] for name in self.columns] for row in self._predictor.predict(files)]
        # As objects, None stays None, which JSON can express, and does not become NaN, which it cannot.
        return pd.DataFrame(rows, columns=self.columns, index=model_input.index, dtype=object)

    def _read(self, value: Any, deadline: float) -> bytes:
        if time.monotonic() > deadline:
            raise DataError(f"too late: the server has given up the request ({TIME_LIMIT})")
        return read_image(value, self._read_paths)


def read_image(value: Any, read_paths: bool) -> bytes:
    """Give the bytes of the image file in a cell of the column `image`; `read_paths` allows `file:` addresses.

    Raises:
        DataError: the cell holds no image file, or the file cannot be read.
    """
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if not isinstance(value, str):
        raise DataError(f"expected an image file as base64 text, got {type(value).__name__}")
    scheme, mark, rest = value[:100].partition(":")
    if not mark:
        return _decoded(value)
    if scheme.lower() == "data" and "," in rest:
        return _decoded(value[value.index(",") + 1 :])
    if scheme.lower() == "file":
        return _read_address(value, read_paths)
    raise DataError("expected base64 text, a data: or a file: address")


def _decoded(text: str) -> bytes:
    check_size(3 * len(text) // 4)
    try:
        return base64.b64decode(text.encode("ascii").translate(None, _SPACES), validate=True)
    except (binascii.Error, ValueError) as error:
        raise DataError(f"not base64: {one_line(error)}") from None


def _read_address(address: str, read_paths: bool) -> bytes:
    if not read_paths:
        setting = f'model_config={{"{READ_PATHS}": True}}'
        raise DataError(f"files of this machine are not read; send base64, or load the model with {setting}")
    try:
        parts = urlsplit(address)
    except ValueError as error:
        raise DataError(f"not an address: {one_line(error)}") from None
    if parts.netloc not in ("", "localhost"):
        raise DataError("a file: address begins with three slashes")
    return read_file(Path(url2pathname(parts.path)))


def _load_pyfunc(data_path: str, model_config: Mapping[str, Any] | None = None) -> ServedModel:
    """Load the model; MLflow calls this."""
    return ServedModel(Path(data_path), read_paths=bool((model_config or {}).get(READ_PATHS, False)))
