"""Candidates of a source: files that may be images, with labels, in order; their bytes are read on request."""

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import PurePosixPath

READ_SUFFIXES = frozenset((
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".webp", ".tif", ".tiff", ".gif",
    ".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".jp2", ".j2k", ".jpf", ".jpx", ".heic", ".heif", ".hif", ".dcm", ".dicom",
))  # fmt: skip
"""Usual for the formats that Graft reads, some of them with another package."""

OTHER_SUFFIXES = frozenset((".jxl", ".psd", ".tga", ".dng"))
"""Of images that Graft does not read: bad images then, not something else that may lie beside images."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A file that may be an image."""

    file: str
    """Path inside the source as the user knows it, with forward slashes."""
    label: str
    """Class name; empty for a file outside the class folders."""
    read: Callable[[], bytes]
    """Reads the whole file, from any thread; a DataError says why it cannot."""
    group: str = ""
    """Images of one group stay on one side of the split; empty: a group of its own."""
    split: str = ""
    """train, val or test when the source says so, else empty."""
    address: str = ""
    """Where the file can be read again when the source is closed, a path or s3://…; empty: nowhere."""
    listed: bool = False
    """Whether the user listed this very file as an image."""

    @property
    def claims_to_be_image(self) -> bool:
        """Whether the user or the file's suffix says that it is an image, of any format."""
        return self.listed or PurePosixPath(self.file).suffix.lower() in READ_SUFFIXES | OTHER_SUFFIXES


@dataclass(frozen=True, kw_only=True)
class Source:
    """All candidates of a source."""

    name: str
    """The source as the user wrote it, for messages."""
    candidates: tuple[Candidate, ...]
    """Sorted by file."""
    classes: tuple[str, ...]
    """Class names, sorted; also those of empty class folders."""
    num_hidden: int = 0
    """Files passed over because their name, or a folder's above them, begins with a dot or is __MACOSX."""
    num_special: int = 0
    """Sockets, pipes and devices passed over."""


def make_source(
    name: str, candidates: Iterable[Candidate], classes: Iterable[str] = (), num_hidden: int = 0, num_special: int = 0
) -> Source:
    """Sort the candidates; the classes are those given and those of the candidates."""
    ordered = tuple(sorted(candidates, key=attrgetter("file", "label")))
    labels = {*classes, *(candidate.label for candidate in ordered)} - {""}
    classes = tuple(sorted(labels))
    return Source(name=name, candidates=ordered, classes=classes, num_hidden=num_hidden, num_special=num_special)


def class_folder(name: str, files: Sequence[Candidate], folders: Iterable[str], num_special: int = 0) -> Source:
    """Make a source of the files in a class folder; hidden files are only counted.

    Args:
        name: of the source.
        files: all files below the class folder, as `candidate_in_folder` makes them.
        folders: all folders below it, to notice an empty class.
        num_special: what else lies there.
    """
    visible = [candidate for candidate in files if not is_hidden(candidate.file)]
    classes = (folder.split("/", 1)[0] for folder in folders if not is_hidden(folder))
    return make_source(name, visible, classes, len(files) - len(visible), num_special)


def candidate_in_folder(file: str, read: Callable[[], bytes], address: str = "") -> Candidate:
    """Make a candidate whose label is the first folder of its path, the same text for all files in it."""
    top, slash, _ = file.partition("/")
    return Candidate(file=file, label=sys.intern(top) if slash else "", read=read, address=address)


def is_hidden(file: str) -> bool:
    """Say whether a file or a folder above it is hidden, or left there by macOS."""
    return any(part.startswith(".") or part == "__MACOSX" for part in file.split("/"))


def readable_name(name: str) -> str:
    """Give a file name as one line of UTF-8: line ends and bytes that are no UTF-8 are escaped, the rest stays."""
    one_line = name.replace("\n", "\\n").replace("\r", "\\r")
    return one_line.encode("utf-8", "backslashreplace").decode("utf-8")
