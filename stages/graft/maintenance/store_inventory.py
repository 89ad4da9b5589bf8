"""Inventory of the store: an entry for each file or folder that can be removed, with its size and last use."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError, safe_open

from stages.graft.core.errors import DataError
from stages.graft.storage.cache_folder import STATES
from stages.graft.storage.feature_backends import DAMAGED, RECORD
from stages.graft.storage.files import abandoned_files, read_json
from stages.graft.storage.sealed import NAMED

Kind = Literal["features", "network", "activations", "training", "weights", "download", "leftover"]

FINGERPRINT = "[0-9a-f]" * 32
"""Pattern of a name that is a fingerprint."""


UNREAD = (
    f"{FINGERPRINT}/*{DAMAGED}",
    f"{STATES}/{FINGERPRINT}.safetensors",
    f"weights/{FINGERPRINT}.safetensors",
    f"weights/{FINGERPRINT}.sha256",
)
"""Patterns of files that nothing reads: damaged fragments, and those without a hash that older versions wrote."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A file or folder of the store that is removed as a whole."""

    kind: Kind
    """features: rows of one backbone; network: one converted for OpenVINO; activations: those of the frozen layers in
    fine-tuning; training: the state of an interrupted one; leftover: of a killed process, or a file that nothing reads
    any more."""
    path: Path
    """The file or folder."""
    locked_by: Path
    """The file or folder whose lock its users share."""
    cache_key: Mapping[str, Any]
    """Records of the backbone and the runtime it was made with, as far as it has them."""
    num_rows: int | None
    """Rows of features; None for other kinds."""
    num_bytes: int
    """Size of the files, in bytes."""
    last_used: float
    """Time of the last use, seconds since 1970."""


def read_entries(store: Path) -> list[Entry]:
    """List the entries of the store."""
    if not store.is_dir():
        return []
    return [*_computed(store), *_fetched(store), *_leftovers(store)]


def _computed(store: Path) -> Iterator[Entry]:
    for folder in sorted(store.glob(FINGERPRINT)):
        record = folder / RECORD
        num_rows = sum(_num_rows(path) for path in folder.glob("*.safetensors"))
        yield _entry("features", folder, record, _record(record), num_rows=num_rows)
    for folder in sorted(store.glob(f"networks/{FINGERPRINT}")):
        record = folder / "network.json"
        made_from = _record(record).get("made_from", {})
        shown = {"runtime": f"openvino {made_from.get('openvino', '?')}", "precision": "int8" * ("int8" in made_from)}
        yield _entry("network", folder, record, made_from | shown)
    for folder in sorted(store.glob(f"activations/{FINGERPRINT}")):
        record = folder / "activations.json"
        yield _entry("activations", folder, record, _record(record).get("made_with", {}).get("weights", {}))
    for path in sorted(store.glob(f"{STATES}/{NAMED}.safetensors")):
        yield _entry("training", path, path, {}, locked_by=path.parent)


def _fetched(store: Path) -> Iterator[Entry]:
    """Weights from timm's hub, those that bundles got, and archives; notes on torchvision's weights are too small."""
    for record in sorted(store.glob("weights/*/file.json")):
        cache_key = {"name": record.parent.name.replace("--", "/"), **_record(record)}
        yield _entry("weights", record.parent, record, cache_key, locked_by=store / "weights")
    for path in sorted(store.glob(f"weights/{NAMED}.safetensors")):
        yield _entry("weights", path, path, {}, locked_by=store / "weights")
    for path in sorted(store.glob("downloads/[!.]*")):
        if path.suffix != ".lock":  # of an older version
            yield _entry("download", path, path, {"sha256": path.stem}, locked_by=path.parent)


def _leftovers(store: Path) -> Iterator[Entry]:
    folders = [store, *(path for path in store.glob("[!.]*") if path.is_dir())]
    folders += [path for path in store.glob("*/[!.]*") if path.is_dir()]
    abandoned = [path for folder in folders for path in abandoned_files(folder)]
    unread = [path for pattern in UNREAD for path in store.glob(pattern)]
    for path in (*abandoned, *unread):
        yield _entry("leftover", path, path, {})


def _entry(
    kind: Kind,
    path: Path,
    used: Path,
    cache_key: Mapping[str, Any],
    *,
    num_rows: int | None = None,
    locked_by: Path | None = None,
) -> Entry:
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    return Entry(
        kind=kind,
        path=path,
        locked_by=locked_by or path,
        cache_key=cache_key,
        num_rows=num_rows,
        num_bytes=sum(file.stat().st_size for file in files),
        last_used=(used if used.exists() else path).stat().st_mtime,
    )


def _record(path: Path) -> dict[str, Any]:
    """Read a record; empty when it is missing or damaged, which `graft verify` reports."""
    try:
        return read_json(path)
    except DataError:
        return {}


def _num_rows(path: Path) -> int:
    try:
        with safe_open(path, framework="numpy") as file:
            return int(file.get_slice("ids").get_shape()[0])
    except (OSError, SafetensorError):
        return 0
