"""Corrected images: a folder for each class, as `ingest` reads labelled images."""

import hashlib
import re
import shutil
import threading
from pathlib import Path

from stages.graft.core.errors import DataError
from stages.graft.core.memory import one_image
from stages.graft.data.class_names import check_names, normal_form
from stages.graft.data.litter import is_hidden
from stages.graft.data.split_names import split_named
from stages.graft.images.inspection import inspect
from stages.graft.serving.limits import RefusedError, check_duration
from stages.graft.storage.files import atomic_path

MAX_NAME_BYTES = 100
"""Of a class's name in UTF-8: file systems allow 255."""

MIN_FREE_BYTES = 2**30
"""Room on the disk below which nothing more is saved."""

_UNSAFE = re.compile(r'[/\\:*?"<>|]')
"""Characters that some file system does not allow in a name."""

_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
"""Names that Windows does not allow."""


class Corrections:
    """Saves images with the class that a person gave them."""

    def __init__(self, folder: Path, classes: tuple[str, ...]) -> None:
        """Save in a folder, which need not exist yet; `classes` are the model's."""
        self._folder, self._known = folder, classes
        self._lock = threading.Lock()

    @property
    def classes(self) -> list[str]:
        """Name the model's classes and those that people have added."""
        added = [path.name for path in self._folder.iterdir() if path.is_dir()] if self._folder.is_dir() else []
        return sorted({*self._known, *(normal_form(name) for name in added if not is_hidden(name))})

    def save(self, data: bytes, label: str, may_be_new: bool, max_pixels: int) -> str:
        """Save an image; one that was saved with another class before is moved to this one.

        Args:
            data: the image file.
            label: its class.
            may_be_new: whether the class may be one that is not known.
            max_pixels: as in `images.decode`.
        Returns:
            The class in normal form.
        Raises:
            RefusedError: it is no image, the class is not known or its name cannot be used, or the disk is nearly full.
        """
        label = normal_form(" ".join(label.split()))
        self._check_label(label, may_be_new)
        try:
            with one_image():
                suffix = inspect(check_duration(data), max_pixels=max_pixels).format.lower()
        except DataError as error:
            raise RefusedError(422, str(error)) from None
        with self._lock:
            self._write(data, label, f"{hashlib.sha256(data).hexdigest()}.{suffix}")
        return label

    def _check_label(self, label: str, may_be_new: bool) -> None:
        if label in self.classes:
            return
        if (problem := _problem_of(label)) is not None:
            raise RefusedError(422, f"this cannot be the name of a class: {problem}")
        try:
            check_names([*self.classes, label], "the name is taken")
        except DataError as error:
            raise RefusedError(422, str(error)) from None
        if not may_be_new:
            raise RefusedError(409, f"there is no class {label}; the classes are {', '.join(self.classes)}")

    def _write(self, data: bytes, label: str, name: str) -> None:
        target = self._folder / label / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(self._folder).free < MIN_FREE_BYTES + len(data):
            raise RefusedError(507, "the disk of the server is nearly full; nothing was saved")
        with atomic_path(target) as temporary:
            temporary.write_bytes(data)
        for other in self._folder.glob(f"*/{name}"):
            if other.parent.name != label:
                other.unlink(missing_ok=True)


def _problem_of(label: str) -> str | None:
    """Say why a name cannot be that of a folder and a class; None when it can."""
    if not label:
        return "it is empty"
    if len(label.encode("utf-8", "replace")) > MAX_NAME_BYTES:
        return f"it is longer than {MAX_NAME_BYTES} bytes"
    if not label.isprintable():
        return "it has a character that shows nothing"
    if _UNSAFE.search(label) or _RESERVED.fullmatch(label):
        return 'not every system allows it; leave out / \\ : * ? " < > |'
    if label.startswith(".") or label.endswith(".") or is_hidden(label):
        return "it begins or ends with a dot, or is a folder that systems make"
    if split_named(label) is not None:
        return "it is the name of a split, as train and test are"
    return None
