"""Which of the store's entries a repository uses: in its branches, tags and experiments, and in its workspace."""

import json
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from stages.graft.store_contents import Entry
from stages.graft.weights import FINETUNED

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
    revisions = _git(root, "for-each-ref", "--format=%(objectname)").decode().split()
    prefix = _git(root, "rev-parse", "--show-prefix").decode().strip()
    asked = "".join(f"{revision}:{prefix}{path}\n" for revision in dict.fromkeys(["HEAD", *revisions]))
    objects = [line.split() for line in _git(root, "cat-file", "--batch-check", given=asked).decode().splitlines()]
    found: Iterable[str] = dict.fromkeys(words[0] for words in objects if words[1:2] == ["blob"])
    for name in found:
        yield _git(root, "cat-file", "blob", name)


def _git(root: Path, *arguments: str, given: str = "") -> bytes:
    """What git prints; nothing where there is no repository."""
    command = ["git", "--no-optional-locks", *arguments]
    return subprocess.run(command, cwd=root, input=given.encode(), capture_output=True, check=False).stdout


def _part(record: Mapping[str, Any], keys: Iterable[str] | None) -> dict[str, Any]:
    chosen = record.keys() - ADDED if keys is None else keys
    return {key: record.get(key) for key in chosen}
