"""Whether the files are the ones they are taken for: every byte is hashed again, and whatever is wrong is named.

DVC believes a cache file that is write-protected, and a workspace file whose size and time have not changed; nobody
looks into the store's fragments until they are read. So all of them are read here.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.graft.artifacts import read_json
from stages.graft.errors import DataError, GraftError
from stages.graft.params import read_yaml
from stages.graft.store import check_fragment

LOCK, CACHE = Path("dvc.lock"), Path("files/md5")

FINGERPRINT, NETWORK = "fingerprint.json", "network.json"


@dataclass(frozen=True, kw_only=True)
class Damage:
    """One thing that is not what it should be."""

    what: str
    """The file."""
    why: str
    """In words."""
    repair: str
    """The command that mends it."""


@dataclass(frozen=True, kw_only=True)
class LockedFile:
    """A path that dvc.lock gives a hash to."""

    path: str
    """Relative to the repository, or absolute."""
    md5: str
    """MD5 of the file, or of a folder's list with .dir behind it."""
    stage: str
    """Whose dep or out it is."""
    is_out: bool
    """Whether the stage made it."""


def locked_files(root: Path) -> list[LockedFile]:
    """Read dvc.lock; each path once, as an out where it is one.

    Raises:
        DataError: there is no dvc.lock, or it cannot be read.
    """
    if not (root / LOCK).exists():
        raise DataError(f"{root / LOCK} does not exist; `dvc repro` makes it, `git pull` fetches a colleague's")
    stages = read_yaml(root / LOCK).get("stages")
    if not isinstance(stages, dict):
        raise DataError(f"{root / LOCK} is no lock file of DVC; `git checkout -- {LOCK}` brings it back")
    found: dict[str, LockedFile] = {}
    for kind in ("deps", "outs"):
        for stage, entry in stages.items():
            for one in entry.get(kind, []):
                path, md5 = one["path"], one.get("md5")
                if md5 is not None:
                    found[path] = LockedFile(path=path, md5=md5, stage=stage, is_out=kind == "outs")
    return list(found.values())


def verify_workspace(root: Path, files: Iterable[LockedFile], cache: Path) -> Iterator[Damage | None]:
    """Hash each file and folder of dvc.lock where it lies, and say what differs; None for each that is right.

    Args:
        root: the repository.
        files: of its dvc.lock.
        cache: DVC's cache, for the lists of folders.
    """
    for one in files:
        path = root / one.path
        try:
            wrong = list(_differences(path, one.md5, cache))
        except OSError as error:
            wrong = [(path, f"cannot be read ({error.strerror})")]
        yield None
        for place, why in wrong:
            yield Damage(what=_shown(place, root), why=why, repair=_repair(one, _shown(place, root)))


def verify_cache(files: Iterable[LockedFile], cache: Path) -> Iterator[Damage | None]:
    """Hash what DVC's cache holds of the outs in dvc.lock; what is not there is no damage: `dvc pull` fetches it."""
    for one in files:
        if not one.is_out:
            continue
        yield None
        for md5 in [one.md5, *(entry["md5"] for entry in _listed(one.md5, cache) or [])]:
            place = cache_path(cache, md5)
            if place.exists() and _md5(place) != md5.removesuffix(".dir"):
                yield Damage(
                    what=str(place),
                    why=f"its bytes are not the ones of its name (part of {one.path})",
                    repair=f"rm -rf {place} {one.path}; dvc pull {one.path}, without a remote dvc repro {one.stage}",
                )


def verify_store(store: Path) -> Iterator[Damage | None]:
    """Read every fragment of every backbone, and the converted networks."""
    for folder in sorted(path.parent for path in store.glob(f"*/{FINGERPRINT}")):
        for path in sorted(folder.glob("*.safetensors")):
            yield None
            try:
                check_fragment(path)
            except DataError as error:
                yield Damage(what=str(path), why=str(error), repair=f"rm {path}; then dvc repro extract")
    for record in sorted(store.glob(f"networks/*/{NETWORK}")):
        yield None
        expected, path = read_json(record).get("sha256"), record.with_name("network.bin")
        if expected is not None and (not path.exists() or _hash(path, "sha256") != expected):
            yield Damage(what=str(path), why="missing, or its bytes are other ones", repair=f"rm -r {record.parent}")


def verify_weights(find: Callable[[], object], repair: str) -> Iterator[Damage | None]:
    """Prove the backbone's weights.

    Args:
        find: finds them and proves their SHA-256, without a connection.
        repair: the command that brings them back.
    """
    yield None
    try:
        find()
    except GraftError as error:
        yield Damage(what="the backbone's weights", why=str(error), repair=repair)


def cache_path(cache: Path, md5: str) -> Path:
    """Give the place of an object in DVC's cache."""
    return cache / CACHE / md5[:2] / md5[2:]


def _differences(path: Path, md5: str, cache: Path) -> Iterator[tuple[Path, str]]:
    """What is wrong with a file or folder, file by file where the folder's list is at hand."""
    if not path.exists():
        yield path, "missing"
    elif not md5.endswith(".dir"):
        if not path.is_file() or _md5(path) != md5:
            yield path, "its bytes are not the ones dvc.lock names"
    else:
        yield from _folder_differences(path, md5, cache)


def _folder_differences(folder: Path, md5: str, cache: Path) -> Iterator[tuple[Path, str]]:
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    listed = _listed(md5, cache)
    if listed is None:  # without the list there is one hash for all
        entries = [{"md5": _md5(path), "relpath": name} for name, path in sorted(found.items())]
        if folder_md5(entries) != md5.removesuffix(".dir"):
            yield folder, "it holds other bytes than dvc.lock names"
        return
    expected = {entry["relpath"]: entry["md5"] for entry in listed}
    for name in sorted(expected.keys() - found.keys()):
        yield folder / name, "missing"
    for name, path in sorted(found.items()):
        if name not in expected:
            yield path, "not among the files dvc.lock names"
        elif _md5(path) != expected[name]:
            yield path, "its bytes are not the ones dvc.lock names"


def folder_md5(entries: list[dict[str, str]]) -> str:
    """Hash a folder's list as DVC does: JSON with sorted keys, sorted by path."""
    text = json.dumps(sorted(entries, key=lambda entry: entry["relpath"]), sort_keys=True)
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _listed(md5: str, cache: Path) -> list[dict[str, str]] | None:
    """A folder's list, from the cache; None where it is not there or is damaged."""
    place = cache_path(cache, md5)
    if not md5.endswith(".dir") or not place.exists() or _md5(place) != md5.removesuffix(".dir"):
        return None
    entries: list[dict[str, str]] = json.loads(place.read_text(encoding="utf-8"))
    return entries


def _repair(one: LockedFile, place: str) -> str:
    if one.is_out:
        return f"rm -rf {place}; then dvc checkout --force {one.path}, or if that fails dvc repro {one.stage}"
    return f"git checkout -- {place} if it should be as committed; if the change is meant, dvc repro"


def _shown(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _md5(path: Path) -> str:
    return _hash(path, "md5")


def _hash(path: Path, kind: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()


def compare_locks(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """List the outs that two contents of dvc.lock give different hashes to."""

    def outs(lock: Mapping[str, Any]) -> dict[str, str]:
        stages = lock["stages"].values()
        return {one["path"]: one["md5"] for stage in stages for one in stage.get("outs", []) if "md5" in one}

    old, new = outs(before), outs(after)
    return sorted(path for path in old.keys() | new.keys() if old.get(path) != new.get(path))
