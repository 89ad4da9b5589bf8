"""A bundle as MLflow serves it: a table of images in, a table of answers out, a row for each, whatever the image.

MLflow imports this module from inside a logged model, with the others it needs beside it, and calls `_load_pyfunc`.
"""

import base64
import binascii
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pandas as pd

from stages.graft.core.errors import DataError
from stages.graft.data.class_folder import read_file
from stages.graft.model.bundle import load_bundle
from stages.graft.model.predictor import ImageFile, Predictor

IMAGE = "image"
"""The one column that is read: an image file as base64 text, as a `data:` address, as bytes (in Python) or, where it is
allowed, as the `file:` address of a file on this machine."""

READ_PATHS = "read_paths"
"""The one setting, off unless who loads the model turns it on: whether `file:` addresses are read. A server that reads
them lets everyone who can reach it ask which files it has."""


class ServedModel:
    """A bundle at work, asked through MLflow."""

    def __init__(self, folder: Path, *, read_paths: bool = False) -> None:
        """Load a bundle.

        Args:
            folder: the bundle's.
            read_paths: whether `file:` addresses are read.
        """
        self._predictor = Predictor(load_bundle(folder))
        self._read_paths = read_paths

    @property
    def columns(self) -> list[str]:
        """Of the answers: label, confidence, unsure, unknown, distance, p_<class> for each class, error."""
        return [name for name in self._predictor.columns if name != "file"]

    def predict(self, model_input: pd.DataFrame) -> pd.DataFrame:
        """Answer a table of images.

        Args:
            model_input: with the column `image`.
        Returns:
            The columns above, a row for each image, with its index; of a bad image only the error, the rest is None.
        """
        files = (ImageFile(name="", read=partial(read_image, value, self._read_paths)) for value in model_input[IMAGE])
        rows = [[row[name] for name in self.columns] for row in self._predictor.predict(files)]
        # Objects: None stays None, which JSON has a word for, and does not become NaN, which it has not.
        return pd.DataFrame(rows, columns=self.columns, index=model_input.index, dtype=object)


def read_image(value: Any, read_paths: bool) -> bytes:
    """Get at the bytes of an image file.

    Args:
        value: a cell of the column `image`.
        read_paths: whether `file:` addresses are read.
    Raises:
        DataError: it is nothing of that kind.
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
    try:
        return base64.b64decode("".join(text.split()), validate=True)  # split: `base64` breaks lines
    except (binascii.Error, ValueError) as error:
        raise DataError(f"not base64: {error}") from None


def _read_address(address: str, read_paths: bool) -> bytes:
    if not read_paths:
        setting = f'model_config={{"{READ_PATHS}": True}}'
        raise DataError(f"files of this machine are not read; send base64, or load the model with {setting}")
    parts = urlsplit(address)
    if parts.netloc not in ("", "localhost"):
        raise DataError("a file: address begins with three slashes")
    return read_file(Path(url2pathname(parts.path)))


def _load_pyfunc(data_path: str, model_config: Mapping[str, Any] | None = None) -> ServedModel:
    """Load the model; MLflow calls this."""
    return ServedModel(Path(data_path), read_paths=bool((model_config or {}).get(READ_PATHS, False)))
