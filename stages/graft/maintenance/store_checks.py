"""Checks of the store: fragments, records, converted networks, downloads and weights against the hashes they carry."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from stages.graft.core.errors import DataError
from stages.graft.core.progress import bar
from stages.graft.maintenance.store_inventory import FINGERPRINT
from stages.graft.storage.feature_backends import DAMAGED, RECORD, SUFFIX, FolderBackend, S3Backend
from stages.graft.storage.feature_store import Fragment
from stages.graft.storage.files import read_json
from stages.graft.storage.hashing import fingerprint_of, sha256_of
from stages.graft.storage.s3 import objects_below, read_object

CHECKPOINT = re.compile(r"-([0-9a-f]{8,64})\.pth$")
"""End of the name of a torchvision weights file, with the first digits of its SHA-256."""

WRONG_FOLDER = "is damaged: it does not fit its folder's name"


def damaged_files(store: Path, checkpoints: Path) -> Iterator[tuple[Path, str]]:
    """Check every file that has a known hash; give the damaged ones and what is wrong with each.

    Args:
        store: the store's folder.
        checkpoints: the folder of torchvision's weights.
    """
    patterns: list[tuple[Path, str, Callable[[Path], str | None]]] = [
        (store, f"{FINGERPRINT}/*{SUFFIX}", _fragment_problem),
        (store, f"{FINGERPRINT}/{RECORD}", _record_problem),
        (store, "networks/*/network.json", _network_problem),
        (store, f"downloads/{FINGERPRINT}{FINGERPRINT}", _download_problem),
        (store, "weights/*/file.json", _hub_problem),
        (checkpoints, "*.pth", _checkpoint_problem),
    ]
    checks = [(path, check) for folder, pattern, check in patterns for path in _files(folder, pattern)]
    for path, check in bar(checks, desc="verify the store", unit="files"):
        if problem := check(path):
            yield path, problem


def left_aside(store: Path) -> list[Path]:
    """List fragments that were damaged when they were opened, and set aside."""
    return _files(store, f"{FINGERPRINT}/*{DAMAGED}")


def damaged_objects(root: str) -> Iterator[tuple[str, str]]:
    """Check the features in S3; give the addresses of damaged objects and what is wrong with each.

    Args:
        root: s3://….
    Raises:
        UnreachableError: S3 does not list or read them.
    """
    addresses = [found.address for found in objects_below(root)]
    for address in bar(addresses, desc="verify the store in S3", unit="objects"):
        if problem := _object_problem(address):
            yield address, problem


def weights_problem(weights: str, sha256: str | None) -> str | None:
    """Say what is wrong with a weights file named in the parameters; None when nothing is, or no file is named."""
    path = Path(weights)
    if sha256 is None or not path.is_file():
        return None
    actual = sha256_of(path)
    return None if actual == sha256.lower() else f"{path} is damaged: SHA-256 {actual}, `backbone.sha256` says {sha256}"


def to_remove(path: Path) -> Path:
    """Give what to remove for a damaged file: the folder of a converted network or of hub weights, else the file."""
    return path.parent if path.name in ("network.json", "file.json") else path


def _files(folder: Path, pattern: str) -> list[Path]:
    return sorted(path for path in folder.glob(pattern) if path.is_file())


def _object_problem(address: str) -> str | None:
    folder, _, name = address.rpartition("/")
    fingerprint = folder.rpartition("/")[2]
    if not re.fullmatch(FINGERPRINT, fingerprint):
        return None
    if name.endswith(DAMAGED):
        return f"{address} was found damaged and set aside; nothing reads it"
    if name.endswith(SUFFIX):
        return Fragment(S3Backend(folder), name).problem()
    if name == RECORD and not _is_record_of(fingerprint, read_object(address)):
        return f"{address} {WRONG_FOLDER}"
    return None


def _is_record_of(fingerprint: str, data: bytes) -> bool:
    try:
        return fingerprint_of(json.loads(data)) == fingerprint
    except ValueError:
        return False


def _fragment_problem(path: Path) -> str | None:
    return Fragment(FolderBackend(path.parent), path.name).problem()


def _record_problem(path: Path) -> str | None:
    return None if _is_record_of(path.parent.name, path.read_bytes()) else f"{path} {WRONG_FOLDER}"


def _network_problem(path: Path) -> str | None:
    """Check a converted network: its record against the folder's name, its files against the record."""
    try:
        record = read_json(path)
        is_own_record = fingerprint_of(record["made_from"]) == path.parent.name
    except (DataError, KeyError) as error:
        return str(error)
    if not is_own_record:
        return f"{path} {WRONG_FOLDER}"
    expected = record["sha256"]
    if not isinstance(expected, dict):  # not convertible, or written by an older version; nothing reads it
        return None
    for name, sha256 in expected.items():
        file = path.with_name(name)
        if not file.is_file() or sha256_of(file) != sha256:
            return f"{file} is missing or damaged"
    return None


def _download_problem(path: Path) -> str | None:
    return None if sha256_of(path) == path.name else f"{path} is damaged: its SHA-256 is not its name"


def _hub_problem(path: Path) -> str | None:
    """Check weights of the hub against the record beside them."""
    try:
        expected = read_json(path)["sha256"]
    except (DataError, KeyError) as error:
        return str(error)
    damaged = [file for file in _files(path.parent, "*.safetensors") if sha256_of(file) != expected]
    return f"{damaged[0]} is damaged: its SHA-256 is not {expected}" if damaged else None


def _checkpoint_problem(path: Path) -> str | None:
    digits = CHECKPOINT.search(path.name)
    if digits is None or sha256_of(path).startswith(digits[1]):
        return None
    return f"{path} is damaged: its SHA-256 does not begin as its name says"
