"""What the store holds, an entry for each thing that can go as a whole: made with what, how large, when last used."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError, safe_open

from stages.graft.core.errors import DataError
from stages.graft.storage.cache_folder import STATES
from stages.graft.storage.feature_backends import RECORD
from stages.graft.storage.files import abandoned_files, read_json

Kind = Literal["features", "network", "activations", "training", "weights", "download", "leftover"]

FINGERPRINT = "[0-9a-f]" * 32
"""A folder of features."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One thing in the store."""

    kind: Kind
    """features: rows of one backbone; network: converted for OpenVINO; activations: what fine-tuning computes once;
    training: what a killed one goes on from; leftover: of a killed process, or a fragment set aside as damaged."""
    path: Path
    """The file or folder."""
    locked_by: Path
    """Whose lock its users hold."""
    made_with: Mapping[str, Any]
    """The backbone's and the runtime's records, as far as they are written beside it."""
    num_rows: int | None
    """Of features."""
    num_bytes: int
    """On disk, without what the file system adds."""
    last_used: float
    """Seconds since 1970."""


def read_entries(store: Path) -> list[Entry]:
    """Look through the whole store."""
    if not store.is_dir():
        return []
    entries = [*_features(store), *_networks(store), *_activations(store), *_trainings(store)]
    return [*entries, *_fetched(store), *_leftovers(store)]


def _features(store: Path) -> Iterator[Entry]:
    for folder in sorted(store.glob(FINGERPRINT)):
        record = folder / RECORD
        num_rows = sum(_num_rows(path) for path in folder.glob("*.safetensors"))
        yield _entry("features", folder, record, _record(record), num_rows=num_rows)


def _networks(store: Path) -> Iterator[Entry]:
    for folder in sorted(store.glob(f"networks/{FINGERPRINT}")):
        record = folder / "network.json"
        made_from = _record(record).get("made_from", {})
        yield _entry("network", folder, record, made_from | {"runtime": f"openvino {made_from.get('openvino', '?')}"})


def _activations(store: Path) -> Iterator[Entry]:
    for folder in sorted(store.glob(f"activations/{FINGERPRINT}")):
        record = folder / "activations.json"
        yield _entry("activations", folder, record, _record(record).get("made_with", {}).get("weights", {}))


def _trainings(store: Path) -> Iterator[Entry]:
    for path in sorted(store.glob(f"{STATES}/*.safetensors")):
        yield _entry("training", path, path, {}, locked_by=path.parent)


def _fetched(store: Path) -> Iterator[Entry]:
    """Weights of timm's hub, and archives; the notes on torchvision's weights are too small to name."""
    for record in sorted(store.glob("weights/*/file.json")):
        made_with = {"name": record.parent.name.replace("--", "/"), **_record(record)}
        yield _entry("weights", record.parent, record, made_with, locked_by=store / "weights")
    for path in sorted(store.glob("downloads/[!.]*")):
        if path.suffix != ".lock":
            yield _entry("download", path, path, {"sha256": path.stem}, locked_by=path.parent)


def _leftovers(store: Path) -> Iterator[Entry]:
    folders = [store, *(path for path in store.glob("[!.]*") if path.is_dir())]
    folders += [path for path in store.glob("*/[!.]*") if path.is_dir()]
    for path in [
        *(path for folder in folders for path in abandoned_files(folder)),
        *store.glob(f"{FINGERPRINT}/*.damaged"),
    ]:
        yield _entry("leftover", path, path, {})


def _entry(
    kind: Kind,
    path: Path,
    used: Path,
    made_with: Mapping[str, Any],
    *,
    num_rows: int | None = None,
    locked_by: Path | None = None,
) -> Entry:
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    return Entry(
        kind=kind,
        path=path,
        locked_by=locked_by or path,
        made_with=made_with,
        num_rows=num_rows,
        num_bytes=sum(file.stat().st_size for file in files),
        last_used=(used if used.exists() else path).stat().st_mtime,
    )


def _record(path: Path) -> dict[str, Any]:
    """A readable record; nothing where there is none or it is damaged, which `graft verify` says."""
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
