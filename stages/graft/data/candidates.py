"""Candidates of a source: files that may be images, with labels, in order; their bytes are read on request."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from operator import attrgetter

from stages.graft.data.class_names import check_names

READ_SUFFIXES = frozenset((
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".webp", ".tif", ".tiff", ".gif",
    ".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".jp2", ".j2k", ".jpf", ".jpx", ".heic", ".heif", ".hif", ".dcm", ".dicom",
))  # fmt: skip
"""Usual for the formats that Graft reads, some of them with another package."""

OTHER_SUFFIXES = frozenset((".jxl", ".psd", ".tga", ".dng"))
"""Of images that Graft does not read: bad images then, not something else that may lie beside images."""

LIST_SUFFIXES = (".csv", ".tsv")
"""Of lists of images."""

DOCUMENT_SUFFIXES = frozenset(
    [
        ".txt",
        ".md",
        ".rst",
        ".csv",
        ".tsv",
        ".json",
        ".jsonl",
        ".xml",
        ".yaml",
        ".yml",
        ".html",
        ".htm",
        ".pdf",
        ".log",
        ".doc",
        ".docx",
        ".xls",
        ".xlsx",
        ".ods",
        ".ini",
        ".db",
        ".py",
        ".ipynb",
        ".m",
        ".sh",
        ".toml",
        ".cfg",
        ".names",
        ".url",
    ]
)
"""Of files that lie beside images; a folder that holds nothing else is no class."""

_DOCUMENTS = frozenset(("README", "LICENSE", "LICENCE", "NOTICE", "MAKEFILE", "CHANGELOG"))

DATA_SUFFIXES = frozenset(
    [".zip", ".tar", ".gz", ".mp4", ".avi", ".mov", ".npy", ".npz", ".mat", ".pkl", ".h5", ".pt", ".pth", ".onnx"]
)
"""Of files that are no images either, but may be all that a class has."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundFile:
    """A file in a folder or an archive, before it has a label."""

    file: str
    """As the candidate's."""
    read: Callable[[], bytes]
    """As the candidate's."""
    address: str = ""
    """As the candidate's."""
    is_watched: bool = True
    """Whether DVC notices a change: not in a linked folder, which DVC does not enter."""


@dataclass(frozen=True, kw_only=True)
class Contents:
    """All that a folder or an archive holds, hidden files included."""

    files: list[FoundFile]
    """The files, in any order."""
    folders: list[str]
    """Paths of the folders, as those of the files; also the empty ones."""
    num_special: int = 0
    """Sockets, pipes and devices."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A file that may be an image."""

    file: str
    """Path inside the source as the user knows it, with forward slashes."""
    label: str
    """Class name; empty for a file that has none."""
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
    fault: str = ""
    """Why it cannot be used when it is an image, such as a missing label; empty: it can."""

    @property
    def claims_to_be_image(self) -> bool:
        """Whether the user or the file's suffix says that it is an image, of any format."""
        return self.listed or has_image_suffix(self.file)


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
    """Files passed over, as `litter.count_hidden` counts them."""
    num_special: int = 0
    """Sockets, pipes and devices passed over."""
    unwatched: tuple[str, ...] = field(default=(), repr=False)
    """Addresses of files whose changes DVC does not notice, sorted."""


def make_source(
    name: str,
    candidates: Iterable[Candidate],
    classes: Iterable[str] = (),
    *,
    num_hidden: int = 0,
    num_special: int = 0,
    unwatched: Iterable[str] = (),
) -> Source:
    """Sort the candidates; the classes are those given and those of the candidates.

    Raises:
        DataError: two classes are one for a person.
    """
    ordered = tuple(sorted(candidates, key=attrgetter("file", "label")))
    labels = {*classes, *(candidate.label for candidate in ordered)} - {""}
    check_names(labels, name)
    return Source(
        name=name,
        candidates=ordered,
        classes=tuple(sorted(labels)),
        num_hidden=num_hidden,
        num_special=num_special,
        unwatched=tuple(sorted(unwatched)),
    )


def has_image_suffix(file: str) -> bool:
    """Say whether a file has the suffix of an image, of any format."""
    return _suffix(file) in READ_SUFFIXES | OTHER_SUFFIXES


def may_be_image(file: str) -> bool:
    """Say whether a file may be an image by its name: also one without a suffix, or with an unknown one."""
    return not is_document(file) and _suffix(file) not in DATA_SUFFIXES


def is_document(file: str) -> bool:
    """Say whether a file is a text or a table by its name."""
    suffix = _suffix(file)
    return suffix in DOCUMENT_SUFFIXES if suffix else file[file.rfind("/") + 1 :].upper() in _DOCUMENTS


def readable_name(name: str) -> str:
    """Give a file name as one line of UTF-8: line ends and bytes that are no UTF-8 are escaped, the rest stays."""
    one_line = name.replace("\n", "\\n").replace("\r", "\\r")
    return one_line.encode("utf-8", "backslashreplace").decode("utf-8")


def with_slashes(name: str) -> str:
    """Give a path with forward slashes: some Windows tools write backslashes, and then no slash at all."""
    return name if "/" in name else name.replace("\\", "/")


def _suffix(file: str) -> str:
    name = file[file.rfind("/") + 1 :]
    dot = name.rfind(".")
    return name[dot:].lower() if dot > 0 else ""
