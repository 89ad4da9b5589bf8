"""Opens a source of any kind: candidates with labels, sorted; their bytes are read on request."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

from stages.graft.core.errors import DataError, ParamsError
from stages.graft.data.archive import ARCHIVE_SUFFIXES, is_archive_name, open_archive
from stages.graft.data.candidates import LIST_SUFFIXES, Contents, Source, has_image_suffix, make_source
from stages.graft.data.class_folder import list_folder, list_remote_folder
from stages.graft.data.csv_list import read_list
from stages.graft.data.generated import open_spec
from stages.graft.data.label_rules import USUAL, LabelRules, label_contents, without_wrapper
from stages.graft.data.litter import is_hidden
from stages.graft.data.split_names import split_words
from stages.graft.storage.downloads import fetch, is_address
from stages.graft.storage.hashing import check_sha256
from stages.graft.storage.locks import shared_lock
from stages.graft.storage.s3 import SCHEME, is_remote

KINDS = (
    f"a folder with one sub-folder per class, an archive of one ({', '.join(ARCHIVE_SUFFIXES)}), "
    "a .csv list, a .yaml spec, s3:// and the folder's address there, or the http(s):// address of an archive"
)

_A_LIST = "save it as CSV UTF-8, a table with the columns path,label"
_UNPACKED = "unpack it and point the source at the folder"
_OTHER_FILES = {
    **dict.fromkeys((".xlsx", ".xls", ".xlsm", ".ods"), f"is a spreadsheet; {_A_LIST}"),
    **dict.fromkeys((".txt", ".json", ".jsonl", ".xml", ".parquet"), f"is not a list that Graft reads; {_A_LIST}"),
    **dict.fromkeys((".rar", ".7z"), f"is an archive that Graft does not read; {_UNPACKED}"),
}
"""By suffix, what is wrong with a file, and what to do."""


@contextmanager
def open_source(
    source: str | Path, cache: Path, sha256: str | None = None, rules: LabelRules = USUAL
) -> Iterator[Source]:
    """Open a source; its candidates can be read as long as it is open.

    Args:
        source: a class folder (one sub-folder per class, or splits around them), a zip or tar file of one, a folder of
            such archives, a CSV list, a YAML spec, the s3 address of a class folder, or the http(s) address of an
            archive, unless the images are without labels.
        cache: folder for downloads and nameless temporary files.
        sha256: of the file, hex; a must for an address, checked for other files if given.
        rules: where labels come from.
    Raises:
        DataError: the source is missing, of no known kind, damaged, or in a layout that can be read in several ways.
        ParamsError: sha256 is missing or does not fit, or may not be given; a value of the spec is not allowed.
        UnreachableError: an s3 address holds nothing, or may not be listed.
    """
    name, path = str(source), Path(source)
    if sha256 is not None and (is_remote(name) or path.is_dir()):
        raise ParamsError(f"`ingest.sha256` cannot be checked for a folder ({name}); set it to null")
    opened: AbstractContextManager[Source]
    if is_address(name):
        if not rules.needs_labels:
            raise ParamsError(f"images without labels are not fetched from {name}: download it, and name the file")
        opened = _opened_archive(_fetched(name, sha256, cache / "downloads"), name, cache / "scratch", rules)
    elif name.lower().startswith(SCHEME) and name.lower().endswith((*LIST_SUFFIXES, *ARCHIVE_SUFFIXES)):
        raise DataError(
            f"source {name} is a file; in S3, Graft reads folders: copy it here (a list may name images at {SCHEME}…)"
        )
    elif is_remote(name):
        opened = nullcontext(label_contents(name.rstrip("/"), list_remote_folder(name.rstrip("/")), rules))
    elif path.is_dir():
        opened = _opened_folder(path, name, cache / "scratch", rules)
    else:
        opened = _opened_file(path, name, cache / "scratch", sha256, rules)
    with opened as source_:
        yield source_ if rules.needs_labels else _without_labels(source_)


def _without_labels(source: Source) -> Source:
    """Take labels and splits away, such as those of a list or of generated images."""
    return replace(source, candidates=tuple(replace(one, label="", split="") for one in source.candidates), classes=())


def _fetched(address: str, sha256: str | None, folder: Path) -> Path:
    if sha256 is None:
        raise ParamsError(f"`ingest.sha256` is missing: {address} is only taken with the SHA-256 of the file there")
    shared_lock(folder, sys.modules[__name__])  # until the process ends
    return fetch(address, sha256, folder)


def _opened_folder(folder: Path, name: str, scratch: Path, rules: LabelRules) -> AbstractContextManager[Source]:
    visible = sorted(path for path in _entries(folder) if not is_hidden(path.name))
    archives = [path for path in visible if is_archive_name(path.name) and path.is_file()]
    if archives and not any(path.is_dir() for path in visible):
        return _opened_archives(archives, name, scratch, rules)
    return nullcontext(label_contents(name, list_folder(folder), rules))


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise DataError(f"{folder} cannot be listed: {error.strerror}") from None


@contextmanager
def _opened_archive(path: Path, name: str, scratch: Path, rules: LabelRules) -> Iterator[Source]:
    with open_archive(path, name, scratch) as contents:
        yield label_contents(name, contents, rules)


@contextmanager
def _opened_archives(paths: Sequence[Path], name: str, scratch: Path, rules: LabelRules) -> Iterator[Source]:
    """Open archives as one source: each is a split or a class, or else a part with classes of its own."""
    with ExitStack() as stack:
        parts = {path.name: stack.enter_context(open_archive(path, path.name, scratch)) for path in paths}
        folders = [name.partition(".")[0] for name in parts]
        are_splits = len(split_words(folders)) == len(set(folders)) == len(parts)
        are_classes = not any("/" in found.file for part in parts.values() for found in part.files)
        if rules.label_pattern is not None or not rules.needs_labels:
            yield label_contents(name, _joined(list(parts.items())), rules)
        elif are_splits:
            inner = [(top, without_wrapper(part)) for top, part in zip(folders, parts.values(), strict=True)]
            yield label_contents(name, _joined(inner), rules)
        elif are_classes:
            yield label_contents(name, _joined(list(zip(folders, parts.values(), strict=True))), rules)
        else:
            yield _union(name, {file: label_contents(f"{name}/{file}", part, rules) for file, part in parts.items()})


def _joined(parts: Sequence[tuple[str, Contents]]) -> Contents:
    """Put the contents of each archive in a folder of its name."""
    return Contents(
        files=[replace(found, file=f"{top}/{found.file}") for top, part in parts for found in part.files],
        folders=[f"{top}/{folder}" for top, part in parts for folder in part.folders],
    )


def _union(name: str, parts: dict[str, Source]) -> Source:
    """Make one source of several: classes of one name are one class."""
    candidates = (
        replace(candidate, file=f"{top}/{candidate.file}")
        for top, part in parts.items()
        for candidate in part.candidates
    )
    classes = (label for part in parts.values() for label in part.classes)
    return make_source(name, candidates, classes, num_hidden=sum(part.num_hidden for part in parts.values()))


def _opened_file(
    path: Path, name: str, scratch: Path, sha256: str | None, rules: LabelRules
) -> AbstractContextManager[Source]:
    if "://" in name or not path.is_file():
        problem = "is neither a file nor a folder" if path.exists() else "does not exist"
        raise DataError(f"source {name} {problem} (looked in {Path.cwd()}); expected {KINDS}")
    if sha256 is not None:
        check_sha256(path, sha256, "`ingest.sha256`", ParamsError)
    suffix = path.suffix.lower()
    if suffix in LIST_SUFFIXES:
        return nullcontext(read_list(path, name, rules))
    if suffix in (".yaml", ".yml"):
        return open_spec(path, name, scratch)
    if suffix in _OTHER_FILES:
        raise DataError(f"source {name} {_OTHER_FILES[suffix]}")
    if has_image_suffix(name):
        raise DataError(
            f"source {name} is one image; `ingest.source` takes many with their classes: {KINDS}. "
            "To classify one image, run `graft predict` on it"
        )
    return _opened_archive(path, name, scratch, rules)
