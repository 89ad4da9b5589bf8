"""Pruning of the store: which entries a repository uses, in any revision, and removal of others."""

import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from stages.graft.backbone.weights import FINETUNED
from stages.graft.core.errors import GraftError
from stages.graft.core.git import ask_git
from stages.graft.core.params import parse_yaml
from stages.graft.duplicates.description import IMAGES_KIND
from stages.graft.duplicates.finding import PAIRS_KIND
from stages.graft.maintenance.store_inventory import Entry
from stages.graft.storage.files import temporary_folder
from stages.graft.storage.locks import try_exclusive

EXTRACTED, PARAMS = "reports/extract.json", "params.yaml"

ADDED = {"decoder", "format", "openvino", "torch", "torchvision"}
"""Keys of the store's records that the report does not have."""

BACKBONE = ("name", "weights", "sha256", "preprocessing", "layers", "pooling", "views")
"""Keys of a record that describe the backbone."""


@dataclass(frozen=True, kw_only=True)
class InUse:
    """What the revisions of a repository use."""

    records: tuple[Mapping[str, Any], ...]
    """Records of backbone and runtime, each once."""
    downloads: frozenset[str]
    """SHA-256 of the archives in the parameters."""

    def needs(self, entry: Entry) -> bool | None:
        """Tell whether a revision uses an entry; None when that is unknown."""
        if entry.cache_key.get("name") in (IMAGES_KIND, PAIRS_KIND):
            return None  # git does not record the versions of what near-duplicates were found with
        if not entry.cache_key or entry.cache_key.get("weights") == FINETUNED:
            return None  # git does not record which fine-tuned weights a revision has
        if entry.kind == "download":
            return entry.cache_key["sha256"] in self.downloads
        if entry.kind == "weights":
            return entry.cache_key.get("sha256") in [record.get("sha256") for record in self.records]
        keys = None if entry.kind == "features" else BACKBONE
        return _part(entry.cache_key, keys) in [_part(record, keys) for record in self.records]


def read_use(root: Path) -> InUse:
    """Read what every branch, tag and experiment of a repository, and its workspace, use."""
    reports = [(report.get("backbone"), report.get("runtime")) for report in _contents(root, EXTRACTED, json.loads)]
    records = [{**first, **second} for first, second in reports if isinstance(first, dict) and isinstance(second, dict)]
    sections = [params.get("ingest") for params in _contents(root, PARAMS, parse_yaml)]
    hashes = [section.get("sha256") for section in sections if isinstance(section, dict)]
    return InUse(
        records=tuple({json.dumps(record, sort_keys=True): record for record in records}.values()),
        downloads=frozenset(str(sha256).lower() for sha256 in hashes if sha256),
    )


def _contents(root: Path, path: str, parse: Callable[[bytes], Any]) -> Iterator[dict[str, Any]]:
    """The contents of a file's versions, without those that are no mapping, such as a committed conflict."""
    for data in _versions(root, path):
        try:
            content = parse(data)
        except (ValueError, yaml.YAMLError):
            continue
        if isinstance(content, dict):
            yield content


def _versions(root: Path, path: str) -> Iterator[bytes]:
    """The contents of a file in the workspace and in every named revision, each once."""
    if (root / path).is_file():
        yield (root / path).read_bytes()
    revisions = _lines(root, "for-each-ref", "--format=%(objectname)")
    prefix = "".join(_lines(root, "rev-parse", "--show-prefix"))
    asked = "".join(f"{revision}:{prefix}{path}\n" for revision in dict.fromkeys(["HEAD", *revisions]))
    objects = [line.split() for line in _lines(root, "cat-file", "--batch-check", given=asked)]
    for name in dict.fromkeys(words[0] for words in objects if words[1:2] == ["blob"]):
        yield ask_git(root, "cat-file", "blob", name) or b""


def _lines(root: Path, *arguments: str, given: str = "") -> list[str]:
    """The lines git prints; none without a repository."""
    return (ask_git(root, *arguments, given=given) or b"").decode().splitlines()


def _part(record: Mapping[str, Any], keys: Iterable[str] | None) -> dict[str, Any]:
    chosen = record.keys() - ADDED if keys is None else keys
    return {key: record.get(key) for key in chosen}


SECONDS = {"h": 3600, "d": 86400, "w": 7 * 86400}


def seconds_of(age: str) -> float:
    """Read an age such as 12h, 30d or 4w.

    Raises:
        GraftError: it is no age.
    """
    match = re.fullmatch(r"(\d+)([hdw])", age)
    if match is None:
        raise GraftError(f"an age is a number of hours, days or weeks, such as 12h, 30d or 4w, not {age!r}")
    return float(match[1]) * SECONDS[match[2]]


def to_prune(entries: Iterable[Entry], before: float | None, in_use: InUse | None) -> list[Entry]:
    """Choose the entries to remove: those that fit every condition, and what killed processes left.

    Args:
        entries: the store's.
        before: time of the last use must be before this, in seconds since 1970; None for no condition.
        in_use: entries that are in use, or may be, stay; None for no condition.
    Raises:
        GraftError: there is no condition.
    """
    if before is None and in_use is None:
        raise GraftError("say what may go: --older-than 30d, --unused, or both (what fits both goes)")
    return [entry for entry in entries if entry.kind == "leftover" or _fits(entry, before, in_use)]


def _fits(entry: Entry, before: float | None, in_use: InUse | None) -> bool:
    is_old = before is None or entry.last_used < before
    return is_old and (in_use is None or in_use.needs(entry) is False)


def prune(entries: Iterable[Entry], store: Path) -> Iterator[tuple[Entry, bool]]:
    """Remove entries and give each with whether it was removed: it stays while a process has it open.

    Raises:
        GraftError: this user cannot remove it.
    """
    for entry in entries:
        with try_exclusive(entry.locked_by) as is_locked:
            if is_locked:
                _remove(entry.path, store)
        yield entry, is_locked


def _remove(path: Path, store: Path) -> None:
    """Move it away first, since an incomplete folder would look damaged."""
    try:
        with temporary_folder(store, path.name) as trash:
            shutil.move(path, trash / path.name)
    except FileNotFoundError:
        return  # another process removed it
    except OSError as error:
        raise GraftError(f"{path} cannot be removed ({error.strerror or error}); ask its owner") from None
