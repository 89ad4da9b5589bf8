"""Shell commands that bring a damaged file back; a person reads them before he runs them."""

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from stages.graft.core.errors import DataError
from stages.graft.core.progress import bar
from stages.graft.maintenance.dvc_cache import (
    Hasher,
    abandoned_dvc_files,
    all_objects,
    cache_folder,
    committed_md5,
    committed_tree,
    has_remote,
    index_lock,
    object_folders,
    object_path,
    read_tree,
    tree_list,
    tree_md5,
    without_ignored,
)
from stages.graft.maintenance.dvc_lock import FOLDER, LOCK, LockEntry, read_lock_entries
from stages.graft.storage.files import abandoned_files, atomic_path

MANY = 5
"""More damaged files of one folder than this, and the whole folder goes."""


def remove(paths: Sequence[Path], folder: Path | None = None) -> list[str]:
    """Remove files, or the folder they are in where they are many; nothing for no files."""
    if folder is not None and len(paths) > MANY:
        return [f"rm -rf {quoted(folder)}"]
    return [f"rm -f {' '.join(map(quoted, paths))}"] if paths else []


def refill_command(path: str) -> str:
    """Put an output's good files in the place of objects that DVC's cache has lost."""
    return f"graft verify --refill {quoted(path)}"


def checkout(path: str) -> str:
    """Bring an output back from DVC's cache."""
    return f"dvc checkout --force {quoted(path)}"


def pull_or_make(path: str, stage: str, has_remote: bool) -> str:
    """Bring an output back from the remote, or make it anew; the same bytes either way."""
    make = f"dvc repro --force --single-item {stage}"
    return f"dvc pull --force {quoted(path)} || {make}" if has_remote else make


def from_git(path: str) -> str:
    """Bring a file back as the last commit holds it."""
    return f"git checkout HEAD -- {quoted(path)}"


def quoted(path: str | Path) -> str:
    """A path as the shell takes it."""
    return shlex.quote(str(path))


GONE, OTHER, EXTRA = "is not there", "has other bytes", "does not belong there"


@dataclass(frozen=True, kw_only=True)
class Damage:
    """Something that is not as it should be."""

    what: str
    """Which file, and what is wrong with it; a line for each."""
    repair: tuple[str, ...]
    """Shell commands that bring it back, in their order."""


@dataclass(frozen=True)
class Repository:
    """Where to look, and what has been read there."""

    root: Path
    """Its folder."""
    hasher: Hasher = field(default_factory=Hasher)
    """Reads each file once."""

    @cached_property
    def cache(self) -> Path:
        """DVC's cache."""
        return cache_folder(self.root)

    @cached_property
    def has_remote(self) -> bool:
        """Whether there is a remote to pull from."""
        return has_remote(self.root)

    def problem(self, path: Path, md5: str) -> str | None:
        """Say what is wrong with a file, or with a folder's list in the cache."""
        found = self.hasher.md5(path)
        return GONE if found is None else None if found == md5.removesuffix(FOLDER) else OTHER


def check_dvc(root: Path) -> Iterator[Damage]:
    """Look at what DVC itself writes as it goes, which a full disk or a power cut can leave half-written."""
    locks = root / ".dvc/tmp/rwlock"
    try:
        json.loads(locks.read_bytes() or b"{}")
    except FileNotFoundError:
        pass
    except ValueError:
        yield Damage(what=f"{locks} is half-written: DVC cannot tell who is at work, and starts nothing",
                     repair=tuple(remove([locks])))  # fmt: skip
    index = index_lock(root)
    if index is not None:
        yield Damage(what=f"{index} stops git and DVC; unless git is at work now, DVC left it when it failed:",
                     repair=tuple(remove([index])))  # fmt: skip
    try:
        read_lock_entries(root)
    except DataError as error:
        if committed_md5(root, str(LOCK)) is None:
            raise
        yield Damage(what=str(error), repair=(from_git(str(LOCK)),))


def check_left_behind(repository: Repository) -> Iterator[Damage]:
    """Look for what killed processes were writing, beside every output and in DVC's cache."""
    claims = read_lock_entries(repository.root)
    folders = {(repository.root / claim.path).parent for claim in claims if claim.is_out}
    found = {
        path: "a process that was killed" for folder in folders if folder.is_dir() for path in abandoned_files(folder)
    }
    places = [*folders, *object_folders(repository.cache)]
    found |= {path: "DVC, unless it is at work now" for place in places for path in abandoned_dvc_files(place)}
    for path, who in sorted(found.items()):
        yield Damage(what=f"{path} was left half-written by {who}", repair=(f"rm -rf {quoted(path)}",))


def check_lock_entries(repository: Repository) -> Iterator[Damage]:
    """Hash every output and dependency of dvc.lock, in the order of the stages.

    Raises:
        DataError: there is no readable dvc.lock.
    """
    for claim in bar(read_lock_entries(repository.root), desc="verify dvc.lock", unit="entries"):
        found = _cached(claim, repository) if claim.is_cached else _uncached(claim, repository)
        if found is not None:
            yield found


def problem_here(claim: LockEntry, repository: Repository) -> str | None:
    """Say what is wrong with a file or folder where it lies; None when its bytes are those of dvc.lock."""
    path = repository.root / claim.path
    if not claim.is_folder:
        return repository.problem(path, claim.md5)
    return None if _is_as_claimed(claim, repository) else OTHER if path.is_dir() else GONE


def check_objects(repository: Repository) -> Iterator[Damage]:
    """Hash what else lies in DVC's cache: of other branches and of older states."""
    claimed = {path for claim in read_lock_entries(repository.root) for path in _objects(claim, repository)}
    others = [(md5, path) for md5, path in all_objects(repository.cache) if path not in claimed]
    for md5, path in bar(others, desc="verify DVC's cache", unit="objects"):
        if repository.problem(path, md5):
            where = "another branch or an older state, where `dvc pull` or `dvc repro` replaces it"
            yield Damage(what=f"{path} {OTHER}; it is of {where}", repair=tuple(remove([path])))


def refill(repository: Repository, path: str) -> int:
    """Put good files of the workspace where DVC's cache has lost an output's, or has them damaged.

    Returns:
        How many.
    Raises:
        DataError: the path is no output that DVC keeps; or as in `check_claims`.
    """
    claims = [claim for claim in read_lock_entries(repository.root) if claim.path == path and claim.is_cached]
    if not claims:
        raise DataError(f"{path} is no output that dvc.lock names and DVC's cache keeps")
    contents = _contents(claims[0], repository)
    sources = _sources(contents, repository)
    bad = {place: md5 for place, md5 in _bad_there(contents, repository).items() if md5 in sources}
    for place, md5 in bad.items():
        source = sources[md5]
        with atomic_path(place) as temporary:
            temporary.write_bytes(source.read_bytes() if isinstance(source, Path) else source)
            temporary.chmod(0o444)  # DVC's mark of an object that is whole
    return len(bad)


@dataclass(frozen=True, kw_only=True)
class _Contents:
    """What an output is made of, as far as anybody knows."""

    files: Mapping[Path, str]
    """The MD5 each file must have; of a folder whose list is lost, its own."""
    listed: Mapping[str, bytes | None]
    """Of a folder: its own MD5, and its list where that can be told."""


def _cached(claim: LockEntry, repository: Repository) -> Damage | None:
    """Compare an output that DVC keeps with its claim, file by file, here and in the cache."""
    contents = _contents(claim, repository)
    bad_here = {path: found for path, md5 in contents.files.items() if (found := repository.problem(path, md5))}
    bad_here |= dict.fromkeys(_extra(claim, repository, contents.files), EXTRA)
    bad_there = _bad_there(contents, repository)
    if not (bad_here or bad_there):
        return None
    sources = _sources(contents, repository) if bad_there else {}
    lost = [path for path, md5 in bad_there.items() if md5 not in sources]
    commands = [refill_command(claim.path)] if len(lost) < len(bad_there) else []
    commands += remove([path for path, problem in bad_here.items() if problem != GONE], repository.root / claim.path)
    commands += remove([path for path in lost if path.exists()])
    if lost:
        commands.append(pull_or_make(claim.path, claim.stage, repository.has_remote))
    elif bad_here:
        commands.append(checkout(claim.path))
    problems = {path: repository.problem(path, md5) or OTHER for path, md5 in bad_there.items()}
    lines = _in_words(claim.path, bad_here) + _in_words("DVC's cache", problems)
    return Damage(what="\n".join(lines), repair=tuple(commands))


def _uncached(claim: LockEntry, repository: Repository) -> Damage | None:
    """Compare what git or its user keeps with its claim."""
    problem = problem_here(claim, repository)
    if problem is None:
        return None
    if claim.is_folder and tree_md5(tree := committed_tree(repository.root, claim.path)) == claim.md5:
        return _of_git(claim, repository, tree)
    what = f"{claim.path} {problem} than dvc.lock says" if problem == OTHER else f"{claim.path} {problem}"
    if committed_md5(repository.root, claim.path) == claim.md5:
        return Damage(what=what, repair=(from_git(claim.path),))
    if claim.is_out:
        return Damage(what=what, repair=(f"dvc repro --force --single-item {claim.stage}",))
    return Damage(what=f"{what}, and git does not have those; if the change is meant:", repair=("dvc repro",))


def _of_git(claim: LockEntry, repository: Repository, tree: Mapping[str, str]) -> Damage:
    """Name what is wrong in a folder that git keeps; what is new there may be somebody's work, and is not removed."""
    files = {repository.root / claim.path / name: md5 for name, md5 in tree.items()}
    bad = {path: found for path, md5 in files.items() if (found := repository.problem(path, md5))}
    if bad:
        places = [claim.path] if len(bad) > MANY else [path.relative_to(repository.root).as_posix() for path in bad]
        return Damage(what="\n".join(_in_words(claim.path, bad)), repair=tuple(map(from_git, places)))
    new = dict.fromkeys(_extra(claim, repository, files), "is new, and not in dvc.lock")
    lines = [*_in_words(claim.path, new), "if that is meant:"]
    return Damage(what="\n".join(lines), repair=("dvc repro",))


def _contents(claim: LockEntry, repository: Repository) -> _Contents:
    """Read the list of an output's files from the cache; where that is bad, from the folder itself if it fits."""
    here = repository.root / claim.path
    if not claim.is_folder:
        return _Contents(files={here: claim.md5}, listed={})
    path = object_path(repository.cache, claim.md5)
    if repository.problem(path, claim.md5) is None:
        tree, data = read_tree(path), path.read_bytes()
    else:
        tree = repository.hasher.tree(here)
        data = tree_list(tree)
        if tree_md5(tree) != claim.md5:  # nobody knows what was in it: the folder as a whole is bad
            return _Contents(files={here: claim.md5}, listed={claim.md5: None})
    return _Contents(files={here / name: md5 for name, md5 in tree.items()}, listed={claim.md5: data})


def _bad_there(contents: _Contents, repository: Repository) -> dict[Path, str]:
    """The objects of an output that DVC's cache lacks or holds damaged, with the MD5 each must have."""
    wanted = [*contents.listed, *(md5 for md5 in contents.files.values() if md5 not in contents.listed)]
    objects = {object_path(repository.cache, md5): md5 for md5 in wanted}
    return {path: md5 for path, md5 in objects.items() if repository.problem(path, md5)}


def _sources(contents: _Contents, repository: Repository) -> dict[str, Path | bytes]:
    """What objects of the cache can be made from here, by their MD5: good files, and a folder's list."""
    files = ((md5, path) for path, md5 in contents.files.items() if repository.problem(path, md5) is None)
    return {**dict(files), **{md5: data for md5, data in contents.listed.items() if data is not None}}


def _extra(claim: LockEntry, repository: Repository, files: Mapping[Path, str]) -> list[Path]:
    """Files in an output's folder that are not its own, nor left aside by .dvcignore."""
    here = repository.root / claim.path
    if not claim.is_folder or here in files:
        return []
    found = [path for path in here.rglob("*") if path.is_file() and path not in files]
    return [Path(path) for path in without_ignored(repository.root, [str(path) for path in sorted(found)])]


def _is_as_claimed(claim: LockEntry, repository: Repository) -> bool:
    """Compare a folder with its claim: all of it, else without what .dvcignore names."""
    tree = repository.hasher.tree(repository.root / claim.path)
    if tree_md5(tree) == claim.md5:
        return True
    kept = set(without_ignored(repository.root, [f"{claim.path}/{name}" for name in tree]))
    return tree_md5({name: md5 for name, md5 in tree.items() if f"{claim.path}/{name}" in kept}) == claim.md5


def _objects(claim: LockEntry, repository: Repository) -> list[Path]:
    """Where DVC's cache keeps an output."""
    if not claim.is_cached:
        return []
    return [object_path(repository.cache, md5) for md5 in (claim.md5, *_contents(claim, repository).files.values())]


def _in_words(place: str, bad: Mapping[Path, str]) -> list[str]:
    """A line for each file, or one for all of them where they are many."""
    if len(bad) <= MANY:
        return [f"{path} {problem}" for path, problem in bad.items()]
    first = next(iter(bad))
    return [f"{place}: {len(bad)} files, the first of them {first}, which {bad[first]}"]
