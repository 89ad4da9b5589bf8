"""Checks of the store: fragments, records, converted networks, downloads and weights against the hashes they carry."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from stages.graft.core.progress import bar
from stages.graft.maintenance.store_inventory import FINGERPRINT
from stages.graft.storage.feature_backends import DAMAGED, RECORD, SUFFIX, FolderBackend, S3Backend
from stages.graft.storage.feature_store import Fragment
from stages.graft.storage.hashing import fingerprint_of, sha256_of
from stages.graft.storage.s3 import objects_below, read_object
from stages.graft.storage.sealed import NAMED, named_problem, sealed_problem

CHECKPOINT = re.compile(r"-([0-9a-f]{8,64})\.pth$")
"""End of the name of a torchvision weights file, with the first digits of its SHA-256."""

FOLDER_RECORDS = ("network.json", "activations.json", "file.json")
"""Names of the sealed records that describe a folder: a converted network, activations, weights from a hub."""

SEALED = (
    "networks/*/network.json",
    "activations/*/activations.json",
    "weights/*/file.json",
    "weights/*.json",
    "precision/*.json",
)
"""Patterns of the sealed records in the store."""

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
        *((store, pattern, sealed_problem) for pattern in SEALED),
        (store, f"*/{NAMED}.*", named_problem),
        (store, f"downloads/{FINGERPRINT}{FINGERPRINT}", _download_problem),
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
    """Give what to remove for a damaged file: the folder that a sealed record describes, else the file."""
    return path.parent if path.name in FOLDER_RECORDS else path


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


def _download_problem(path: Path) -> str | None:
    return None if sha256_of(path) == path.name else f"{path} is damaged: its SHA-256 is not its name"


def _checkpoint_problem(path: Path) -> str | None:
    digits = CHECKPOINT.search(path.name)
    if digits is None or sha256_of(path).startswith(digits[1]):
        return None
    return f"{path} is damaged: its SHA-256 does not begin as its name says"
