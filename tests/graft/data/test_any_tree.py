"""Any tree of folders, names and litter, on disk or packed, is read as a slow, plain reader reads it, or is refused."""

import shutil
import tarfile
import unicodedata
import zipfile
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stages.graft.core.errors import DataError
from stages.graft.data.ingestion import ingest
from stages.graft.data.open_source import open_source
from tests.support.ingestion import ingest_params
from tests.support.pictures import png, write

CLASSES = ("cat", "dog", "car", "Cat", "dog ", "caf\u00e9", "cafe\u0301")
SPLITS = {"train": "train", "training2": "train", "Valid": "val", "eval": "val", "test_set": "test"}
SAME_WORD = {"training2": "training", "test_set": "test"}
BATCHES = ("batch1", "batch2", "day 3")
OTHERS = ("data", "images", "masks", "unlabeled", "docs")
LITTER = ("@eaDir", ".git", "lost+found", "__MACOSX", ".DS_Store")
TEXTS = ("notes.txt", "README")
FILES = ("0.png", "1.png", "no suffix", *TEXTS, ".DS_Store")

Tree = dict[str, "Tree | None"]
"""The folders of a folder, each with its tree, and its files, each with None."""


class RefusedError(Exception):
    """The plain reader does not know what is meant."""


def plain_read(tree: Tree) -> set[tuple[str, str, str]]:
    """Read a tree as docs/sources.md says: path, class and split of each picture."""
    tree = without_litter(tree)
    check_masks(tree)
    while True:  # a folder around all others
        tops = with_pictures(tree)
        if len(tops) != 1 or tops[0] in SPLITS or any(not files(sub) for sub in folders(tree).values()):
            break
        inner = with_pictures(folders(tree)[tops[0]])
        if not inner or set(inner) <= set(BATCHES):
            break
        tree = folders(tree)[tops[0]]
    rows = [row for row in read_levels(tree, tops) if row[0].rpartition("/")[2] not in TEXTS]
    if len({label for _, label, _ in rows}) < 2:
        raise RefusedError("too few classes")
    return set(rows)


def read_levels(tree: Tree, tops: list[str]) -> list[tuple[str, str, str]]:
    splits = {name for name in tops if name in SPLITS}
    if tops and splits == set(tops):
        return read_splits(tree)
    if len({SPLITS[name] for name in splits}) > 1:
        raise RefusedError("splits beside others")
    seconds = [(top, name) for top in tops for name in with_pictures(folders(tree)[top])]
    direct = any(is_picture(name, sub) for top in tops for name, sub in folders(tree)[top].items())
    given_splits = {name for _, name in seconds if name in SPLITS}
    if seconds and not direct and all(name in SPLITS for _, name in seconds):
        turned: Tree = {
            split: {top: folders(sub)[split] for top, sub in folders(tree).items() if split in folders(sub)}
            for split in given_splits
        }
        return [("/".join(turn(path)), label, split) for path, label, split in read_splits(turned)]
    if len({SPLITS[name] for name in given_splits}) > 1:
        raise RefusedError("splits below some classes only")
    names = [normal(name).casefold() for _, name in seconds if name not in BATCHES and name != "images"]
    shared = [name for name in names if names.count(name) > 1]
    if not direct and len(set(names)) > 1 and len(shared) > len(names) / 2:
        raise RefusedError("either level may be the classes")
    return read_classes({"": tree})


def read_splits(tree: Tree) -> list[tuple[str, str, str]]:
    parts = {name: folders(tree)[name] for name in with_pictures(tree)}
    words: dict[str, set[str]] = {}
    classes: dict[str, set[str]] = {}
    for name, part in parts.items():
        words.setdefault(SPLITS[name], set()).add(SAME_WORD.get(name, name))
        classes.setdefault(SPLITS[name], set()).update(map(normal, with_pictures(part)))
        if not with_pictures(part):
            raise RefusedError("a split without class folders")
    if "train" not in words or any(len(some) > 1 for some in words.values()):
        raise RefusedError("nothing to train on, or two words for one split")
    if len({frozenset(some) for some in classes.values()}) > 1:
        raise RefusedError("splits with other classes")
    return read_classes(parts)


def read_classes(parts: dict[str, Tree]) -> list[tuple[str, str, str]]:
    """Read the classes of each split; the split without a name is none."""
    rows = [
        ("/".join(filter(None, (split, label, file))), normal(label), SPLITS.get(split, ""))
        for split, part in parts.items()
        for label, sub in folders(part).items()
        for file in files(sub) or [""]
    ]
    labels = {label for _, label, _ in rows}
    if len({" ".join(label.split()).casefold() for label in labels}) < len(labels):
        raise RefusedError("two classes are one for a person")
    if labels - {label for path, label, _ in rows if path.rpartition("/")[2] in FILES}:
        raise RefusedError("an empty class")
    if any("unlabeled" in with_pictures(part) for part in parts.values()):
        raise RefusedError("no class")
    return [row for row in rows if row[0].rpartition("/")[2] in FILES]


def normal(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def turn(path: str) -> list[str]:
    first, second, rest = path.split("/", 2)
    return [second, first, rest]


def is_picture(name: str, sub: Tree | None) -> bool:
    return sub is None and name not in TEXTS


def folders(tree: Tree) -> dict[str, Tree]:
    return {name: sub for name, sub in tree.items() if sub is not None}


def files(tree: Tree) -> list[str]:
    found = []
    for name, sub in tree.items():
        found += [name] if sub is None else [f"{name}/{file}" for file in files(sub)]
    return found


def with_pictures(tree: Tree) -> list[str]:
    return [name for name, sub in folders(tree).items() if any(f.rpartition("/")[2] not in TEXTS for f in files(sub))]


def without_litter(tree: Tree) -> Tree:
    kept = {name: sub for name, sub in tree.items() if name not in LITTER}
    return {name: None if sub is None else without_litter(sub) for name, sub in kept.items()}


def check_masks(tree: Tree) -> None:
    if {"images", "masks"} <= {name for name, sub in folders(tree).items() if files(sub)}:
        raise RefusedError("masks")
    for sub in folders(tree).values():
        check_masks(sub)


NAMES = st.sampled_from(CLASSES)
LEAF = st.dictionaries(st.sampled_from(FILES), st.none(), min_size=1, max_size=3)
PART = st.one_of(LEAF, LEAF, LEAF, st.dictionaries(st.sampled_from(BATCHES), LEAF, min_size=1))
ODD = st.recursive(
    st.just({}) | LEAF,
    lambda inner: st.dictionaries(st.sampled_from((*CLASSES, *SPLITS, *BATCHES, *OTHERS, *LITTER)), inner, max_size=3),
    max_leaves=5,
)


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    """A usual layout with odd ends, or an odd one, in a folder or not."""
    classes = draw(st.sampled_from([("cat", "dog"), ("car", "caf\u00e9")]) | st.lists(NAMES, max_size=3, unique=True))
    splits = draw(st.sampled_from([("train", "Valid"), ("training2", "eval", "test_set"), tuple(SPLITS)]))
    levels = draw(st.sampled_from([(), (classes,), (splits, classes), (classes, splits), (classes, OTHERS[:2])]))

    def grown(levels: tuple[Sequence[str], ...]) -> Tree:
        return {name: grown(levels[1:]) for name in levels[0]} if levels else draw(PART)

    tree = grown(levels)
    tree |= {name: sub for name, sub in draw(ODD).items() if name not in tree}
    for name in draw(st.sampled_from([(), (), ("data",), ("set", "data")])):
        tree = {name: tree}
    return tree


def write_tree(tree: Tree, folder: Path) -> None:
    folder.mkdir()
    for number, file in enumerate(sorted(files(tree))):
        write(folder / file, b"x" if file.rpartition("/")[2] in (*TEXTS, ".DS_Store") else png(number))
    for path in empty_folders(tree):
        (folder / path).mkdir(parents=True)


def empty_folders(tree: Tree) -> list[str]:
    found = [name for name, sub in folders(tree).items() if not sub]
    return found + [f"{name}/{path}" for name, sub in folders(tree).items() for path in empty_folders(sub)]


def packed(folder: Path) -> list[Path]:
    """The folder, and archives of what it holds."""
    with zipfile.ZipFile(folder.with_suffix(".zip"), "w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file() or not any(path.iterdir()):
                archive.write(path, path.relative_to(folder))
    with tarfile.open(folder.with_suffix(".tar"), "w") as archive:
        for path in sorted(folder.iterdir()):
            archive.add(path, path.name)
    return [folder, folder.with_suffix(".zip"), folder.with_suffix(".tar")]


def ingested(source: Path) -> set[tuple[str, str, str]]:
    images = source.parent / "images"
    shutil.rmtree(images, ignore_errors=True)
    with open_source(source, source.parent / "cache") as opened:
        rows = ingest(opened, images, ingest_params(max_bad_fraction=1.0)).rows
    return {(row.file, row.label, row.split) for row in rows}


@settings(deadline=None, max_examples=40, derandomize=True)
@given(trees())
@example({"train": {"cat": {"0.png": None}, "dog": {"1.png": None}}, "lost+found": {}})
@example({"cat": {"0.png": None, ".DS_Store": None}, "dog": {"1.png": None}, "pit": {".DS_Store": None}})
def test_a_tree_is_read_as_a_plain_reader_reads_it_or_refused(tree: Tree) -> None:
    with TemporaryDirectory() as scratch:
        write_tree(tree, Path(scratch) / "tree")
        for source in packed(Path(scratch) / "tree"):
            try:
                expected = plain_read(tree)
            except RefusedError:
                with pytest.raises(DataError):
                    ingested(source)
            else:
                assert ingested(source) == expected
