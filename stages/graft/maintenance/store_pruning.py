"""Which of the store's entries a repository uses: in its branches, tags and experiments, and in its workspace."""

import json
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from stages.graft.backbone.weights import FINETUNED
from stages.graft.core.errors import GraftError
from stages.graft.core.git import ask_git
from stages.graft.maintenance.store_inventory import Entry
from stages.graft.storage.files import temporary_folder
from stages.graft.storage.locks import try_exclusive

EXTRACTED, PARAMS = "reports/extract.json", "params.yaml"

ADDED = {"decoder", "format", "openvino", "torch", "torchvision"}
"""What the store's records hold beside the report's."""

BACKBONE = ("name", "weights", "sha256", "preprocessing", "layers", "pooling")
"""The part of a record that tells of the backbone alone."""


@dataclass(frozen=True, kw_only=True)
class InUse:
    """What a repository's revisions were made with."""

    records: tuple[Mapping[str, Any], ...]
    """Of backbone and runtime, one for each revision that differs."""
    downloads: frozenset[str]
    """SHA-256 of the archives that revisions name."""

    def needs(self, entry: Entry) -> bool | None:
        """Say whether a revision uses an entry; None when nobody can tell."""
        if not entry.made_with or entry.made_with.get("weights") == FINETUNED:
            return None  # git does not say which fine-tuned weights a revision has
        if entry.kind == "download":
            return entry.made_with["sha256"] in self.downloads
        if entry.kind == "weights":
            return entry.made_with.get("sha256") in [record.get("sha256") for record in self.records]
        keys = None if entry.kind == "features" else BACKBONE
        return _part(entry.made_with, keys) in [_part(record, keys) for record in self.records]


def read_use(root: Path) -> InUse:
    """Read what every branch, tag and experiment of a repository, and its workspace, were made with."""
    records = {json.dumps(record, sort_keys=True): record for record in _records(root)}
    sections = [params.get("ingest") for params in _params(root)]
    hashes = [section.get("sha256") for section in sections if isinstance(section, dict)]
    return InUse(records=tuple(records.values()), downloads=frozenset(str(one).lower() for one in hashes if one))


def _records(root: Path) -> Iterator[Mapping[str, Any]]:
    for data in _versions(root, EXTRACTED):
        try:
            report = json.loads(data)
            yield {**report["backbone"], **report["runtime"]}
        except (ValueError, KeyError, TypeError):
            continue  # of another pipeline, or a conflict that was committed


def _params(root: Path) -> Iterator[Mapping[str, Any]]:
    for data in _versions(root, PARAMS):
        try:
            params = yaml.safe_load(data)
        except yaml.YAMLError:
            continue
        if isinstance(params, dict):
            yield params


def _versions(root: Path, path: str) -> Iterator[bytes]:
    """A file's contents in the workspace and in every revision that has a name, each once."""
    if (root / path).is_file():
        yield (root / path).read_bytes()
    revisions = _lines(root, "for-each-ref", "--format=%(objectname)")
    prefix = "".join(_lines(root, "rev-parse", "--show-prefix"))
    asked = "".join(f"{revision}:{prefix}{path}\n" for revision in dict.fromkeys(["HEAD", *revisions]))
    objects = [line.split() for line in _lines(root, "cat-file", "--batch-check", given=asked)]
    for name in dict.fromkeys(words[0] for words in objects if words[1:2] == ["blob"]):
        yield ask_git(root, "cat-file", "blob", name) or b""


def _lines(root: Path, *arguments: str, given: str = "") -> list[str]:
    """The lines git prints; none where there is no repository."""
    return (ask_git(root, *arguments, given=given) or b"").decode().splitlines()


def _part(record: Mapping[str, Any], keys: Iterable[str] | None) -> dict[str, Any]:
    chosen = record.keys() - ADDED if keys is None else keys
    return {key: record.get(key) for key in chosen}


SECONDS = {"h": 3600, "d": 86400, "w": 7 * 86400}


def seconds_of(age: str) -> float:
    """Read an age such as 12h, 30d or 4w.

    Raises:
        GraftError: it is none.
    """
    found = re.fullmatch(r"(\d+)([hdw])", age)
    if found is None:
        raise GraftError(f"an age is a number of hours, days or weeks, such as 12h, 30d or 4w, not {age!r}")
    return float(found[1]) * SECONDS[found[2]]


def to_prune(entries: Iterable[Entry], before: float | None, in_use: InUse | None) -> list[Entry]:
    """Choose what to remove: what fits every condition given, and what killed processes left.

    Args:
        entries: of the store.
        before: last used before then, seconds since 1970; None for no condition.
        in_use: what is used, so not that, nor what nobody can tell of; None for no condition.
    Raises:
        GraftError: there is no condition.
    """
    if before is None and in_use is None:
        raise GraftError("say what may go: --older-than 30d, --unused, or both (what fits both goes)")
    return [one for one in entries if one.kind == "leftover" or _fits(one, before, in_use)]


def _fits(entry: Entry, before: float | None, in_use: InUse | None) -> bool:
    is_old = before is None or entry.last_used < before
    return is_old and (in_use is None or in_use.needs(entry) is False)


def prune(entries: Iterable[Entry], store: Path) -> Iterator[tuple[Entry, bool]]:
    """Remove entries, one by one; say of each whether it went: it stays while a process has it open.

    Raises:
        GraftError: it may not be removed.
    """
    for entry in entries:
        with try_exclusive(entry.locked_by) as free:
            if free:
                _remove(entry.path, store)
        yield entry, free


def _remove(path: Path, store: Path) -> None:
    """Take it away as a whole first: half a folder would be taken for damaged."""
    try:
        with temporary_folder(store, path.name) as trash:
            shutil.move(path, trash / path.name)
    except FileNotFoundError:
        return  # somebody else was faster
    except OSError as error:
        raise GraftError(f"{path} cannot be removed ({error.strerror or error}); ask its owner") from None
