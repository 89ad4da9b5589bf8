"""Layout of a folder of images: which level of its folders are the classes, and which the splits, if any.

A layout that only its owner can read is refused: the message says what was seen and what to do.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NoReturn

from stages.graft.core.errors import DataError
from stages.graft.data.class_names import check_names, normal_form
from stages.graft.data.folder_tree import FolderTree, join
from stages.graft.data.split_names import TRAIN, WORDS, split_words

_IMAGES = frozenset(("images", "image", "imgs", "img", "jpegimages"))
_ANNOTATIONS = frozenset(
    [
        "labels",
        "label",
        "annotations",
        "annotation",
        "annots",
        "masks",
        "mask",
        "segmentationclass",
        "segmentation",
        "segmentations",
        "groundtruth",
        "gt",
        "boxes",
        "bboxes",
        "imagesets",
        "labelimages",
    ]
)
"""Names beside each other in a data set for detection or segmentation, without what is no letter."""

_UNLABELLED = frozenset(
    ("unlabeled", "unlabelled", "unlabeleddata", "unlabelleddata", "unsup", "unannotated", "nolabel")
)

_SERIAL = re.compile(
    r"(batch|part|day|week|month|year|session|run|lot|roll|coil|series|seq|sequence|video|clip|scene|patient|subject|"
    r"person|id|case|visit|scan|sample|specimen|plate|slide|sheet|shift|set|group|folder|dir|page|tile|site|shot|[a-z])?"
    r"s?[\W_]*\d[\d\W_]*"
)
"""A batch, a day or a number: many classes may have folders of such a name."""

_SHOWN = 4
"""As many names are listed in a message."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How the folders of a path are read."""

    wrapper: str = ""
    """Folders around all others, with a slash at their end; they are left out of the names."""
    splits: Mapping[str, str] = field(default_factory=dict)
    """The split of each folder that is one; empty when none is given."""
    splits_above: bool = True
    """Whether the splits are the first level and the classes the second, or the reverse."""

    def place(self, file: str) -> tuple[str, str]:
        """Give the class and the split of a path as the source has it; each is empty where there is none."""
        if not file.startswith(self.wrapper):
            return "", ""
        folders = file[len(self.wrapper) :].split("/", 2)[:-1]
        first, second = [*folders, "", ""][:2]
        if not self.splits:
            return normal_form(first), ""
        label, split = (second, first) if self.splits_above else (first, second)
        return (normal_form(label), self.splits[split]) if split in self.splits else ("", "")


def read_layout(files: Iterable[str], folders: Iterable[str], where: str) -> Layout:
    """Find out which folders are classes and which are splits.

    Args:
        files: paths of all files, none hidden.
        folders: paths of all folders, likewise.
        where: name of the source, for messages.
    Raises:
        DataError: several readings are possible, or none.
    """
    tree = FolderTree(files, folders)
    _check_annotations(tree, where)
    base = _wrapper(tree)
    tops = tree.with_images(base)
    words = split_words(tops)
    if tops and len(words) == len(tops):
        layout = _splits_above(tree, base, words, where)
    elif len({WORDS[word] for word in words.values()}) > 1:
        others = [name for name in tops if name not in words]
        _refuse(
            where,
            f"its folders {_quoted(words)} are splits, and {_quoted(others)} {_is(others)} not",
            f"move {_quoted(others)} out of the source; or, if all are classes, {_level_pattern(base, 1)}",
        )
    else:
        layout = _splits_below(tree, base, where) or Layout(wrapper=_with_slash(base))
    _check_unlabelled(tree, layout, where)
    return layout


def read_splits_above(files: Iterable[str], folders: Iterable[str]) -> Layout:
    """Find the splits alone, for files whose labels do not come from folders: one without splits if there are none."""
    tree = FolderTree(files, folders)
    base = _wrapper(tree)
    tops = tree.with_images(base)
    words = split_words(tops)
    splits = {name: WORDS[word] for name, word in words.items()} if len(words) == len(tops) else {}
    return Layout(wrapper=_with_slash(base), splits=splits)


def _wrapper(tree: FolderTree) -> str:
    """Give the path of the folder whose folders are classes or splits: a folder alone around others is none itself."""
    base = ""
    while True:
        tops = tree.with_images(base)
        if len(tops) != 1 or split_words(tops) or any(tree.is_empty(join(base, name)) for name in tree.inner(base)):
            return base
        inner = tree.with_images(join(base, tops[0]))
        if not inner or all(_is_serial(name) for name in inner):
            return base  # one class, with or without batches
        base = join(base, tops[0])


def _splits_above(tree: FolderTree, base: str, words: Mapping[str, str], where: str) -> Layout:
    flat = [name for name in words if not tree.with_images(join(base, name))]
    if flat:
        num_images = sum(tree.num_images(join(base, name)) for name in flat)
        _refuse(
            where,
            f"{_quoted(flat)} {_are_splits(flat)}, and {_hold(flat)} {num_images} images and no class folder",
            "put them in class folders, take the labels from the file names with `ingest.label_pattern`, "
            f"or move {_quoted(flat)} out of the source"
            + (f"; if {tree.lists[0]} has the labels, make it the source" if tree.lists else ""),
        )
    pairs = [(label, name) for name in words for label in tree.with_images(join(base, name))]
    _check_splits(pairs, words, where)
    splits = {name: WORDS[word] for name, word in words.items()}
    return Layout(wrapper=_with_slash(base), splits=splits)


def _splits_below(tree: FolderTree, base: str, where: str) -> Layout | None:
    """Give the layout of classes that hold splits; None when their folders are no splits."""
    tops = tree.with_images(base)
    pairs = [(top, name) for top in tops for name in tree.with_images(join(base, top))]
    words = split_words({name for _, name in pairs})
    direct = [f"{top}/…" for top in tops if tree.num_direct(join(base, top))]
    outside = [f"{top}/{name}" for top, name in pairs if name not in words] + direct
    if pairs and not outside:
        _check_splits(pairs, words, where)
        splits = {name: WORDS[word] for name, word in words.items()}
        return Layout(wrapper=_with_slash(base), splits=splits, splits_above=False)
    if len({WORDS[word] for word in words.values()}) > 1:
        inside = [f"{top}/{name}" for top, name in pairs if name in words]
        _refuse(
            where,
            f"{_quoted(inside)} {_are_splits(inside)}, and {_quoted(outside)} {_is(outside)} not",
            f"put every image in a split's folder; or, to pay no attention to them, {_level_pattern(base, 1)}",
        )
    if not direct:
        _check_shared(pairs, base, where)
    return None


def _check_splits(pairs: list[tuple[str, str]], words: Mapping[str, str], where: str) -> None:
    """Refuse splits with two words, without training images, or with other classes than the others.

    Args:
        pairs: the folder's name of each class in each split, and that of the split.
        words: the word in the name of each split.
        where: name of the source, for messages.
    """
    splits = {name: WORDS[word] for name, word in words.items()}
    for split in sorted(set(splits.values())):
        names = [name for name in words if splits[name] == split]
        if len({words[name] for name in names}) > 1:
            _refuse(where, f"its folders {_quoted(names)} mean the same split, {split}", "rename or join them")
    if TRAIN not in splits.values():
        _refuse(
            where,
            f"{_quoted(words)} {_are_splits(list(words))}, and there is none to train on",
            f"add a folder `{TRAIN}`, or point the source at one of them, to draw the splits from it",
        )
    classes = {normal_form(label) for label, _ in pairs}
    check_names(classes, where)
    found = {split: {normal_form(label) for label, name in pairs if splits[name] == split} for split in splits.values()}
    lacking = [f"{_quoted(sorted(classes - some))} not in {split}" for split, some in found.items() if classes - some]
    if lacking:
        _refuse(
            where,
            f"its splits {_quoted(words)} do not hold the same classes: {', '.join(lacking)}",
            "add images of them there, or leave these classes out of all",
        )


def _check_shared(pairs: list[tuple[str, str]], base: str, where: str) -> None:
    """Refuse folders that hold mostly the same folders, of which either may be the classes."""
    counts = Counter(normal_form(name).casefold() for _, name in pairs)
    if counts.keys() != {str(number) for number in range(len(counts))}:  # those may be numbers of classes
        counts = Counter({name: n for name, n in counts.items() if not (_is_serial(name) or name in _IMAGES)})
    shared = {name: num for name, num in counts.items() if num > 1}
    if len(counts) > 1 and 2 * sum(shared.values()) > sum(counts.values()):
        tops = sorted({top for top, name in pairs if normal_form(name).casefold() in shared})
        _refuse(
            where,
            f"its folders {_quoted(tops)} hold folders of the same names, {_quoted(sorted(shared))}, and either "
            "may be the classes",
            f"{_level_pattern(base, 1)} takes the first, {_level_pattern(base, 2)} the second; "
            "or point the source at one of them",
        )


def _check_annotations(tree: FolderTree, where: str) -> None:
    """Refuse images beside boxes or masks: their folders are not classes, and masks are no images of a class."""
    for folder in tree.all_folders():
        letters = {name: _letters(name) for name in tree.inner(folder) if not tree.is_empty(join(folder, name))}
        images = [name for name, text in letters.items() if text in _IMAGES]
        annotations = [name for name, text in letters.items() if text in _ANNOTATIONS]
        if images and annotations:
            _refuse(
                where,
                f"it holds `{join(folder, images[0])}` beside `{join(folder, annotations[0])}`, as data sets for "
                "detection or segmentation do",
                "Graft needs one class for each image: sort the images into class folders or list them in a .csv, "
                "without boxes and masks",
            )


def _check_unlabelled(tree: FolderTree, layout: Layout, where: str) -> None:
    base = layout.wrapper.rstrip("/")
    above = [join(base, name) for name in layout.splits] if layout.splits and layout.splits_above else [base]
    found = [
        join(folder, name) for folder in above for name in tree.with_images(folder) if _letters(name) in _UNLABELLED
    ]
    if found:
        _refuse(
            where,
            f"{_quoted(found)} {_hold(found)} images without a label, which is no class",
            "move it out of the source; `graft predict` can classify them later",
        )


def _is_serial(name: str) -> bool:
    return _SERIAL.fullmatch(name.casefold()) is not None


def _letters(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalpha())


def _with_slash(base: str) -> str:
    return f"{base}/" if base else ""


def _level_pattern(base: str, level: int) -> str:
    """Write the parameter that takes the first or the second level of folders as labels."""
    above = re.escape(_with_slash(base)) + "[^/]+/" * (level - 1)
    return f"`ingest.label_pattern: '^{above}(?P<label>[^/]+)/'`"


def _quoted(names: Iterable[str]) -> str:
    names = list(names)
    more = [f"{len(names) - _SHOWN} more"] if len(names) > _SHOWN else []
    return ", ".join([f"`{name}`" for name in names[:_SHOWN]] + more)


def _is(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _are_splits(names: list[str]) -> str:
    return "is a split" if len(names) == 1 else "are splits"


def _hold(names: list[str]) -> str:
    return "holds" if len(names) == 1 else "hold"


def _refuse(where: str, seen: str, advice: str) -> NoReturn:
    raise DataError(f"{where}: {seen}; {advice}")
