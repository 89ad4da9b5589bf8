"""Opens a source of any kind: candidates with labels, sorted; their bytes are read on request."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

from stages.graft.core.errors import DataError, ParamsError
from stages.graft.data.archive import ARCHIVE_SUFFIXES, is_archive_name, open_archive
from stages.graft.data.candidates import Source, is_hidden, make_source
from stages.graft.data.class_folder import read_class_folder, read_remote_folder
from stages.graft.data.csv_list import read_list
from stages.graft.data.generated import open_spec
from stages.graft.storage.downloads import fetch, is_address
from stages.graft.storage.hashing import check_sha256
from stages.graft.storage.locks import shared_lock
from stages.graft.storage.s3 import is_remote

KINDS = (
    f"a folder with one sub-folder per class, an archive of one ({', '.join(ARCHIVE_SUFFIXES)}), "
    "a .csv list, a .yaml spec, s3:// and the folder's address there, or the http(s):// address of an archive"
)


@contextmanager
def open_source(source: str | Path, cache: Path, sha256: str | None = None) -> Iterator[Source]:
    """Open a source; its candidates can be read as long as it is open.

    Args:
        source: a class folder (one sub-folder per class), a zip or tar file of one, a folder of such archives, a CSV
            list, a YAML spec, the s3 address of a class folder, or the http(s) address of an archive.
        cache: folder for downloads and nameless temporary files.
        sha256: of the file, hex; a must for an address, checked for other files if given.
    Raises:
        DataError: the source is missing, of no known kind or damaged.
        ParamsError: sha256 is missing or does not fit; a value of the spec is not allowed.
        UnreachableError: an s3 address holds nothing, or may not be listed.
    """
    name, path = str(source), Path(source)
    if sha256 is not None and (is_remote(name) or path.is_dir()):
        raise ParamsError(f"`ingest.sha256` cannot be checked for a folder ({name}); set it to null")
    opened: AbstractContextManager[Source]
    if is_address(name):
        opened = open_archive(_fetched(name, sha256, cache / "downloads"), name, cache / "scratch")
    elif is_remote(name):
        opened = nullcontext(read_remote_folder(name.rstrip("/")))
    elif path.is_dir():
        opened = _opened_folder(path, name, cache)
    else:
        opened = _opened_file(path, name, cache / "scratch", sha256)
    with opened as source_:
        yield source_


@contextmanager
def open_sources(sources: Sequence[str | Path], cache: Path, name: str | None = None) -> Iterator[Source]:
    """Open several sources as one: classes of one name are one class, files are prefixed with their source's name.

    Args:
        sources: as in `open_source`, but no addresses.
        cache: as in `open_source`.
        name: of the union, for messages; by default all their names.
    Raises:
        DataError, ParamsError: as in `open_source`.
    """
    with ExitStack() as stack:
        parts = [stack.enter_context(open_source(source, cache)) for source in sources]
        prefixes = [Path(part.name).name for part in parts]
        if len(set(prefixes)) < len(parts):
            prefixes = [part.name for part in parts]
        candidates = [
            replace(candidate, file=f"{prefix}/{candidate.file}")
            for prefix, part in zip(prefixes, parts, strict=True)
            for candidate in part.candidates
        ]
        yield make_source(
            name or ", ".join(map(str, sources)),
            candidates,
            classes=(label for part in parts for label in part.classes),
            num_hidden=sum(part.num_hidden for part in parts),
            num_special=sum(part.num_special for part in parts),
        )


def _fetched(address: str, sha256: str | None, folder: Path) -> Path:
    if sha256 is None:
        raise ParamsError(f"`ingest.sha256` is missing: {address} is only taken with the SHA-256 of the file there")
    shared_lock(folder, sys.modules[__name__])  # until the process ends
    return fetch(address, sha256, folder)


def _opened_folder(folder: Path, name: str, cache: Path) -> AbstractContextManager[Source]:
    visible = sorted(path for path in folder.iterdir() if not is_hidden(path.name))
    archives = [path for path in visible if is_archive_name(path.name) and path.is_file()]
    if archives and not any(path.is_dir() for path in visible):
        return open_sources(archives, cache, name)
    return nullcontext(read_class_folder(folder, name))


def _opened_file(path: Path, name: str, scratch: Path, sha256: str | None) -> AbstractContextManager[Source]:
    if "://" in name or not path.is_file():
        problem = "is neither a file nor a folder" if path.exists() else "does not exist"
        raise DataError(f"source {name} {problem} (looked in {Path.cwd()}); expected {KINDS}")
    if sha256 is not None:
        check_sha256(path, sha256, "`ingest.sha256`", ParamsError)
    match path.suffix.lower():
        case ".csv":
            return nullcontext(read_list(path, name))
        case ".yaml" | ".yml":
            return open_spec(path, name, scratch)
    return open_archive(path, name, scratch)
