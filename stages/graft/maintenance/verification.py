"""Verification of dvc.lock: files that differ from it, in the workspace and in DVC's cache, with commands that help.

The commands are for the shell; a person reads them before running them.
"""

import json
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

from stages.graft.core.errors import DataError
from stages.graft.core.progress import bar
from stages.graft.maintenance.dvc_cache import (
    OBJECTS,
    Hasher,
    abandoned_dvc_files,
    all_objects,
    cache_folder,
    committed_folder,
    committed_md5,
    has_remote,
    index_lock,
    object_folders,
    object_path,
    read_folder_list,
    without_ignored,
)
from stages.graft.maintenance.dvc_lock import FOLDER, LOCK, REPAIR, LockEntry, read_lock_entries, repair_lock
from stages.graft.storage.files import abandoned_files, atomic_path
from stages.graft.storage.hashing import dvc_folder_list, dvc_folder_md5

MAX_LISTED = 5
"""More damaged files of one folder than this are shown and removed as a folder."""

EXPERIMENTS = ("tmp*", "standalone/tmp*")
"""Names of the folders in which DVC runs experiments; it removes them at the end."""

RUNNING = ".dvc/tmp/rwlock"
"""DVC's list of the commands that run."""

SECONDS_TO_WRITE = 1.0
"""A file that DVC writes is empty for less than this; one that stays empty was left by a DVC that was killed."""

MISSING, CHANGED, EXTRA = "is not there", "has other bytes", "does not belong there"


@dataclass(frozen=True, kw_only=True)
class Damage:
    """Something that is not as it should be."""

    message: str
    """The files and what is wrong with each, a line each."""
    commands: tuple[str, ...]
    """Shell commands that repair it, in their order."""


@dataclass(frozen=True)
class Repository:
    """The repository to verify, and what was read of it."""

    root: Path
    """Its folder."""
    hasher: Hasher = field(default_factory=Hasher)
    """Reads each file once."""

    @cached_property
    def cache(self) -> Path:
        """The folder of DVC's cache."""
        return cache_folder(self.root)

    @cached_property
    def has_remote(self) -> bool:
        """Whether DVC has a remote to pull from."""
        return has_remote(self.root)

    def problem(self, path: Path, md5: str) -> str | None:
        """Say what is wrong with a file, or with the list of a folder in the cache; None when nothing is."""
        actual = self.hasher.md5(path)
        return MISSING if actual is None else None if actual == md5.removesuffix(FOLDER) else CHANGED

    def problems(self, files: Mapping[Path, str]) -> dict[Path, str]:
        """Say what is wrong with each bad file of some, given with their MD5."""
        return {path: problem for path, md5 in files.items() if (problem := self.problem(path, md5))}


def quote_path(path: str | Path) -> str:
    """Quote a path for the shell."""
    return shlex.quote(str(path))


def remove_commands(paths: Sequence[Path], folder: Path | None = None) -> list[str]:
    """Give the command that removes files, or their folder when they are many; none for no files."""
    if folder is not None and len(paths) > MAX_LISTED:
        return [f"rm -rf {quote_path(folder)}"]
    return [f"rm -f {' '.join(map(quote_path, paths))}"] if paths else []


def repro_command(stage: str) -> str:
    """Give the command that makes the outputs of a stage again."""
    return f"dvc repro --force --single-item {stage}"


def git_checkout_command(path: str) -> str:
    """Give the command that restores a file as the last commit has it."""
    return f"git checkout HEAD -- {quote_path(path)}"


def check_dvc(root: Path) -> Iterator[Damage]:
    """Check the files that DVC writes as it works, which a full disk or a power cut leaves incomplete."""
    locks = root / RUNNING
    if is_half_written(locks):
        message = f"{locks} is half-written: DVC cannot tell which commands run, and starts nothing"
        yield Damage(message=message, commands=tuple(remove_commands([locks])))
    index = index_lock(root)
    if index is not None:
        message = f"{index} stops git and DVC; unless git is at work now, DVC left it when it failed:"
        yield Damage(message=message, commands=tuple(remove_commands([index])))
    try:
        read_lock_entries(root)
    except DataError as error:
        if committed_md5(root, str(LOCK)) is not None:
            yield Damage(message=str(error), commands=(git_checkout_command(str(LOCK)),))
        elif REPAIR in str(error):
            yield Damage(message=str(error), commands=("graft repro",))
        else:
            raise


def repair_dvc(root: Path) -> Iterator[str]:
    """Repair the notes that DVC writes in place, after a full disk or a kill; say what was done."""
    locks = root / RUNNING
    if is_half_written(locks):
        locks.unlink(missing_ok=True)
        yield f"{locks} was left half-written, so DVC could not tell which commands run: removed"
    elif names_only_ended(locks):
        locks.unlink(missing_ok=True)
    if done := repair_lock(root):
        yield done


def is_half_written(locks: Path) -> bool:
    """Tell whether DVC's list of the commands that run cannot be read."""
    try:
        if not locks.read_bytes():
            time.sleep(SECONDS_TO_WRITE)  # DVC may be writing it now
        content = json.loads(locks.read_bytes())
    except FileNotFoundError:
        return False
    except ValueError:
        return True
    return not isinstance(content, dict) or not all(isinstance(part, dict) for part in content.values())


def names_only_ended(locks: Path) -> bool:
    """Tell whether DVC's list names commands, all of which have ended.

    DVC drops those itself, but for a killed one that its parent has not asked for yet; in a container without an init
    process, that stays so.
    """
    content = json.loads(locks.read_bytes()) if locks.is_file() else {}
    users: list[Any] = [*content.get("write", {}).values(), *chain.from_iterable(content.get("read", {}).values())]
    pids = [user["pid"] for user in users if isinstance(user, dict) and isinstance(user.get("pid"), int)]
    if not users or len(pids) < len(users):
        return False
    import psutil  # seldom needed

    def runs(pid: int) -> bool:
        with suppress(psutil.NoSuchProcess):
            return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
        return False

    return not any(map(runs, pids))


def check_leftovers(repository: Repository) -> Iterator[Damage]:
    """Find what killed processes left beside the outputs and in DVC's cache."""
    parents = {(repository.root / entry.path).parent for entry in read_lock_entries(repository.root) if entry.is_out}
    folders = [folder for folder in parents if folder.is_dir()]
    writers = {path: "a process that was killed" for folder in folders for path in abandoned_files(folder)}
    for folder in (*folders, repository.cache / OBJECTS, *object_folders(repository.cache)):
        writers |= dict.fromkeys(abandoned_dvc_files(folder), "DVC, unless it is at work now")
    experiments = repository.root / ".dvc/tmp/exps"
    for pattern in EXPERIMENTS:
        writers |= dict.fromkeys(experiments.glob(pattern), "an experiment, unless it runs now")
    for path, writer in sorted(writers.items()):
        yield Damage(message=f"{path} was left half-written by {writer}", commands=(f"rm -rf {quote_path(path)}",))


def check_lock_entries(repository: Repository) -> Iterator[Damage]:
    """Hash every output and dependency in dvc.lock, in the order of the stages.

    Raises:
        DataError: there is no readable dvc.lock.
    """
    for entry in bar(read_lock_entries(repository.root), desc="verify dvc.lock", unit="entries"):
        damage = _check_cached(entry, repository) if entry.is_cached else _check_uncached(entry, repository)
        if damage is not None:
            yield damage


def workspace_problem(entry: LockEntry, repository: Repository) -> str | None:
    """Say what is wrong with a file or folder of the workspace; None when its bytes are those of dvc.lock.

    Files in a folder that .dvcignore names may be there or not.
    """
    path = repository.root / entry.path
    if not entry.is_folder:
        return repository.problem(path, entry.md5)
    if not path.is_dir():
        return MISSING
    files = repository.hasher.folder(path)
    if dvc_folder_md5(files) == entry.md5:
        return None
    kept = set(without_ignored(repository.root, [f"{entry.path}/{name}" for name in files]))
    files = {name: md5 for name, md5 in files.items() if f"{entry.path}/{name}" in kept}
    return None if dvc_folder_md5(files) == entry.md5 else CHANGED


def check_objects(repository: Repository) -> Iterator[Damage]:
    """Hash the objects in DVC's cache that dvc.lock does not name: those of other branches and of older states."""
    entries = [entry for entry in read_lock_entries(repository.root) if entry.is_cached]
    checked = {md5 for entry in entries for md5 in (entry.md5, *_read_contents(entry, repository).files.values())}
    others = [(md5, path) for md5, path in all_objects(repository.cache) if md5 not in checked]
    for md5, path in bar(others, desc="verify DVC's cache", unit="objects"):
        if repository.problem(path, md5):
            source = "another branch or an older state, where `dvc pull` or `dvc repro` replaces it"
            yield Damage(message=f"{path} {CHANGED}; it is of {source}", commands=tuple(remove_commands([path])))


def refill(repository: Repository, path: str) -> int:
    """Copy good files of an output to DVC's cache, where it has lost them or has them damaged.

    Returns:
        The number of files.
    Raises:
        DataError: the path is no output that DVC keeps, or there is no readable dvc.lock.
    """
    entries = [entry for entry in read_lock_entries(repository.root) if entry.path == path and entry.is_cached]
    if not entries:
        raise DataError(f"{path} is no output that dvc.lock names and DVC's cache keeps")
    contents = _read_contents(entries[0], repository)
    sources = _good_sources(contents, repository)
    targets = {target: md5 for target, md5 in _bad_objects(contents, repository).items() if md5 in sources}
    for target, md5 in targets.items():
        source = sources[md5]
        with atomic_path(target) as temporary:
            temporary.write_bytes(source.read_bytes() if isinstance(source, Path) else source)
            temporary.chmod(0o444)  # DVC takes a read-only object for complete
    return len(targets)


@dataclass(frozen=True, kw_only=True)
class _Contents:
    """The files of an output, as far as they are known."""

    files: Mapping[Path, str]
    """Expected MD5 by path; for a folder whose list is lost, the folder's own."""
    lists: Mapping[str, bytes | None]
    """For a folder: the list of its files by the folder's MD5; None when the list is lost."""


def _check_cached(entry: LockEntry, repository: Repository) -> Damage | None:
    """Compare an output that DVC keeps with its lock entry, file by file, in the workspace and in the cache."""
    contents = _read_contents(entry, repository)
    bad_files = repository.problems(contents.files)
    bad_files |= dict.fromkeys(_extra_files(entry, repository, contents.files), EXTRA)
    bad_objects = _bad_objects(contents, repository)
    if not (bad_files or bad_objects):
        return None
    sources = _good_sources(contents, repository) if bad_objects else {}
    lost = [path for path, md5 in bad_objects.items() if md5 not in sources]
    commands = [f"graft verify --refill {quote_path(entry.path)}"] if len(lost) < len(bad_objects) else []
    present = [path for path, problem in bad_files.items() if problem != MISSING]
    commands += remove_commands(present, repository.root / entry.path)
    commands += remove_commands([path for path in lost if path.exists()])
    if lost:
        pull = f"dvc pull --force {quote_path(entry.path)} || " if repository.has_remote else ""
        commands.append(pull + repro_command(entry.stage))
    elif bad_files:
        commands.append(f"dvc checkout --force {quote_path(entry.path)}")
    lines = _format_problems(entry.path, bad_files)
    lines += _format_problems("DVC's cache", repository.problems(bad_objects))
    return Damage(message="\n".join(lines), commands=tuple(commands))


def _check_uncached(entry: LockEntry, repository: Repository) -> Damage | None:
    """Compare a file or folder that git or the user keeps with its lock entry."""
    problem = workspace_problem(entry, repository)
    if problem is None:
        return None
    if entry.is_folder and dvc_folder_md5(files := committed_folder(repository.root, entry.path)) == entry.md5:
        return _check_committed_folder(entry, repository, files)
    message = f"{entry.path} {problem} than dvc.lock says" if problem == CHANGED else f"{entry.path} {problem}"
    if committed_md5(repository.root, entry.path) == entry.md5:
        return Damage(message=message, commands=(git_checkout_command(entry.path),))
    if entry.is_out:
        return Damage(message=message, commands=(repro_command(entry.stage),))
    return Damage(message=f"{message}, and git does not have those; if the change is meant:", commands=("dvc repro",))


def _check_committed_folder(entry: LockEntry, repository: Repository, committed: Mapping[str, str]) -> Damage:
    """Name what is wrong in a folder that git keeps; new files may be a user's work and are not removed."""
    files = {repository.root / entry.path / name: md5 for name, md5 in committed.items()}
    bad = repository.problems(files)
    if bad:
        paths = [path.relative_to(repository.root).as_posix() for path in bad]
        commands = map(git_checkout_command, [entry.path] if len(bad) > MAX_LISTED else paths)
        return Damage(message="\n".join(_format_problems(entry.path, bad)), commands=tuple(commands))
    new = dict.fromkeys(_extra_files(entry, repository, files), "is new, and not in dvc.lock")
    lines = [*_format_problems(entry.path, new), "if that is meant:"]
    return Damage(message="\n".join(lines), commands=("dvc repro",))


def _read_contents(entry: LockEntry, repository: Repository) -> _Contents:
    """Read the list of an output's files from the cache; where that is bad, from the folder itself if it fits."""
    path = repository.root / entry.path
    if not entry.is_folder:
        return _Contents(files={path: entry.md5}, lists={})
    object_ = object_path(repository.cache, entry.md5)
    if repository.problem(object_, entry.md5) is None:
        files = read_folder_list(object_)
    else:
        files = repository.hasher.folder(path)
        if dvc_folder_md5(files) != entry.md5:  # the list is lost, so the folder as a whole is bad
            return _Contents(files={path: entry.md5}, lists={entry.md5: None})
    return _Contents(files={path / name: md5 for name, md5 in files.items()}, lists={entry.md5: dvc_folder_list(files)})


def _bad_objects(contents: _Contents, repository: Repository) -> dict[Path, str]:
    """The objects of an output that DVC's cache has lost or has damaged, with their expected MD5."""
    objects = {object_path(repository.cache, md5): md5 for md5 in (*contents.lists, *contents.files.values())}
    return {path: objects[path] for path in repository.problems(objects)}


def _good_sources(contents: _Contents, repository: Repository) -> dict[str, Path | bytes]:
    """What objects of the cache can be made from, by MD5: good files of the workspace, and the list of a folder."""
    files = ((md5, path) for path, md5 in contents.files.items() if repository.problem(path, md5) is None)
    return {**dict(files), **{md5: data for md5, data in contents.lists.items() if data is not None}}


def _extra_files(entry: LockEntry, repository: Repository, files: Mapping[Path, str]) -> list[Path]:
    """Files in an output's folder that do not belong to it and that .dvcignore does not name."""
    folder = repository.root / entry.path
    if not entry.is_folder or folder in files:
        return []
    extra = [str(path) for path in sorted(folder.rglob("*")) if path.is_file() and path not in files]
    return [Path(path) for path in without_ignored(repository.root, extra)]


def _format_problems(place: str, bad: Mapping[Path, str]) -> list[str]:
    """A line for each file, or one line when they are many."""
    if len(bad) <= MAX_LISTED:
        return [f"{path} {problem}" for path, problem in bad.items()]
    first = next(iter(bad))
    return [f"{place}: {len(bad)} files, the first of them {first}, which {bad[first]}"]
