"""The store's files against the hashes they carry: fragments, records, converted networks, downloads, weights."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from stages.graft.core.errors import DataError
from stages.graft.core.progress import bar
from stages.graft.storage.feature_backends import DAMAGED, RECORD, SUFFIX, FolderBackend, S3Backend
from stages.graft.storage.feature_store import Fragment
from stages.graft.storage.files import read_json
from stages.graft.storage.hashing import fingerprint_of, sha256_of
from stages.graft.storage.s3 import objects_below, read_object

CHECKPOINT = re.compile(r"-([0-9a-f]{8,64})\.pth$")
"""How torchvision names a weights file: the first digits of its SHA-256 last."""

Found = tuple[Path, str]
"""A file, and what is wrong with it."""


def damaged_files(store: Path, checkpoints: Path) -> Iterator[Found]:
    """Read everything that carries a hash; give what does not fit it.

    Args:
        store: the store's folder.
        checkpoints: where torchvision's weights are.
    """
    checks: list[tuple[Path, Callable[[Path], str | None]]] = [
        *((path, _fragment_problem) for path in _of(store, f"{'[0-9a-f]' * 32}/*.safetensors")),
        *((path, _record_problem) for path in _of(store, f"{'[0-9a-f]' * 32}/{RECORD}")),
        *((path, _network_problem) for path in _of(store, "networks/*/network.json")),
        *((path, _download_problem) for path in _of(store, f"downloads/{'[0-9a-f]' * 64}")),
        *((path, _hub_problem) for path in _of(store, "weights/*/file.json")),
        *((path, _checkpoint_problem) for path in _of(checkpoints, "*.pth") if CHECKPOINT.search(path.name)),
    ]
    for path, problem_of in bar(checks, desc="verify the store", unit="files"):
        if problem := problem_of(path):
            yield path, problem


def left_aside(store: Path) -> list[Path]:
    """Fragments that were found damaged and set aside when they were opened."""
    return _of(store, f"{'[0-9a-f]' * 32}/*.damaged")


def damaged_objects(root: str) -> Iterator[tuple[str, str]]:
    """Read the features that are in S3; give the addresses of those that are damaged, and what is wrong with each.

    Args:
        root: s3://….
    Raises:
        UnreachableError: they cannot be had.
    """
    addresses = [one.address for one in objects_below(root)]
    for address in bar(addresses, desc="verify the store in S3", unit="objects"):
        if problem := _object_problem(address):
            yield address, problem


def _object_problem(address: str) -> str | None:
    folder, _, name = address.rpartition("/")
    fingerprint = folder.rpartition("/")[2]
    if not re.fullmatch("[0-9a-f]{32}", fingerprint):
        return None
    if name.endswith(DAMAGED):
        return f"{address} was found damaged and set aside; nothing reads it"
    if name.endswith(SUFFIX):
        return Fragment(S3Backend(folder), name).problem()
    if name == RECORD and not _is_record_of(fingerprint, read_object(address)):
        return f"{address} is damaged: it does not fit its folder's name"
    return None


def _is_record_of(fingerprint: str, data: bytes) -> bool:
    try:
        return fingerprint_of(json.loads(data)) == fingerprint
    except ValueError:
        return False


def _of(folder: Path, pattern: str) -> list[Path]:
    return sorted(path for path in folder.glob(pattern) if path.is_file())


def _fragment_problem(path: Path) -> str | None:
    return Fragment(FolderBackend(path.parent), path.name).problem()


def _record_problem(path: Path) -> str | None:
    try:
        fits = fingerprint_of(read_json(path)) == path.parent.name
    except DataError as error:
        return str(error)
    return None if fits else f"{path} is damaged: it does not fit its folder's name"


def _network_problem(path: Path) -> str | None:
    """A converted network: its record fits the folder's name, its files the record."""
    try:
        record = read_json(path)
        fits = fingerprint_of(record["made_from"]) == path.parent.name
    except (DataError, KeyError) as error:
        return str(error)
    if not fits:
        return f"{path} is damaged: it does not fit its folder's name"
    expected = record["sha256"]
    if not isinstance(expected, dict):  # it could not be converted, or an older version did it: nobody reads it
        return None
    bad = (path.with_name(name) for name, its in expected.items() if _sha256(path.with_name(name)) != its)
    return next((f"{one} is missing or damaged" for one in bad), None)


def _sha256(path: Path) -> str | None:
    return sha256_of(path) if path.is_file() else None


def _download_problem(path: Path) -> str | None:
    return None if sha256_of(path) == path.name else f"{path} is damaged: its SHA-256 is not its name"


def _hub_problem(path: Path) -> str | None:
    """Weights fetched from the hub, beside the record of their hash."""
    try:
        expected = read_json(path)["sha256"]
    except (DataError, KeyError) as error:
        return str(error)
    files = [file for file in path.parent.iterdir() if file.suffix == ".safetensors"]
    wrong = [file for file in files if sha256_of(file) != expected]
    return f"{wrong[0]} is damaged: its SHA-256 is not {expected}" if wrong else None


def _checkpoint_problem(path: Path) -> str | None:
    digits = CHECKPOINT.search(path.name)
    fits = digits is not None and sha256_of(path).startswith(digits[1])
    return None if fits else f"{path} is damaged: its SHA-256 does not begin as its name says"


def weights_problem(weights: str, sha256: str | None) -> str | None:
    """Say what is wrong with a weights file named in the parameters; None when all is well, or no file is named."""
    path = Path(weights)
    if sha256 is None or not path.is_file():
        return None
    found = sha256_of(path)
    return None if found == sha256.lower() else f"{path} is damaged: SHA-256 {found}, `backbone.sha256` says {sha256}"


def to_remove(path: Path) -> Path:
    """What goes when a file is damaged: a converted network and weights of the hub as a whole, else the file."""
    return path.parent if path.name in ("network.json", "file.json") else path
