"""Where labels, groups and splits come from: folders, the columns of a list, or patterns of paths."""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

from stages.graft.core.errors import DataError
from stages.graft.core.params import Params
from stages.graft.data.candidates import Candidate, Contents, FoundFile, Source, make_source, may_be_image
from stages.graft.data.class_names import normal_form
from stages.graft.data.layout import read_layout, read_splits_above
from stages.graft.data.litter import above_hidden, count_hidden, is_hidden

_OUTSIDE = "it lies outside the class folders and so has no label"

_SHOWN = 3
"""As many files that do not match are named."""


class ColumnsParams(Params):
    """The section `ingest.columns`: the columns of a list, by their names in its first line."""

    path: str
    """Column of the images' paths."""
    label: str
    """Column of the class names; without one, `ingest.label_pattern` is needed."""
    group: str | None
    """Column of the groups; null, or no such column: none."""
    split: str | None
    """Column of the splits; null, or no such column: none."""
    suffix: str | None
    """What the paths lack at their end, such as .png."""
    root: str | None
    """Folder that relative paths count from, also s3://…; null: the list's own."""


DEFAULT_COLUMNS = ColumnsParams(path="path", label="label", group="group", split="split", suffix=None, root=None)
"""The usual names."""


@dataclass(frozen=True, kw_only=True)
class LabelRules:
    """How the labels of a source are found."""

    columns: ColumnsParams = DEFAULT_COLUMNS
    """Of a list."""
    label_pattern: str | None = None
    """Regular expression with a group named `label`, searched in the path; None: folders or the column."""
    group_pattern: str | None = None
    """Regular expression with a group named `group`, searched in the path; None: the column, or no groups."""
    needs_labels: bool = True
    """False: the images have none, whatever their folders and columns are called."""


USUAL = LabelRules()
"""Labels are names of folders, or those of a list."""


def label_contents(name: str, contents: Contents, rules: LabelRules = USUAL) -> Source:
    """Make a source of what a folder or an archive holds; hidden files are only counted.

    Args:
        name: of the source, for messages.
        contents: all files and folders.
        rules: where labels come from.
    Raises:
        DataError: the layout of the folders cannot be read, or two classes are one for a person.
    """
    files, hidden = list[FoundFile](), list[str]()
    for found in contents.files:
        if is_hidden(found.file):
            hidden.append(found.file)
        else:
            files.append(found)
    # A folder that holds hidden files alone is empty; an archive need not name it.
    around = set(map(above_hidden, hidden)) - {""}
    folders = [folder for folder in (*contents.folders, *sorted(around)) if not is_hidden(folder)]
    label = _by_pattern if rules.label_pattern else _by_folders if rules.needs_labels else _without_labels
    candidates, classes = label(files, folders, rules, name)
    return make_source(
        name,
        grouped(candidates, rules, name),
        classes,
        num_hidden=count_hidden(hidden, contents.folders),
        num_special=contents.num_special,
        unwatched=(found.address for found in files if not found.is_watched),
    )


def without_wrapper(contents: Contents) -> Contents:
    """Leave out a folder around all others, as in `train.zip` with a folder `train`; hidden files stay as they are."""
    visible = [found.file for found in contents.files if not is_hidden(found.file)]
    tops = {file.partition("/")[0] for file in visible if "/" in file}
    if len(tops) != 1 or not any(file.count("/") > 1 for file in visible):
        return contents
    wrapper = f"{tops.pop()}/"
    files = [replace(found, file=found.file.removeprefix(wrapper)) for found in contents.files]
    return Contents(
        files=files, folders=[f"{folder}/".removeprefix(wrapper).rstrip("/") for folder in contents.folders]
    )


def labelled(candidates: Sequence[Candidate], rules: LabelRules, name: str) -> Sequence[Candidate]:
    """Give candidates the labels that `label_pattern` finds; one without is a fault of an image.

    Raises:
        DataError: the pattern matches no file that may be an image.
    """
    if rules.label_pattern is None:
        return candidates
    labels = _found(candidates, rules.label_pattern, "label", name)
    return [
        replace(candidate, label=sys.intern(label), fault=_fault(label, "label"))
        for candidate, label in zip(candidates, labels, strict=True)
    ]


def grouped(candidates: Sequence[Candidate], rules: LabelRules, name: str) -> Sequence[Candidate]:
    """Give candidates the groups that `group_pattern` finds, as `labelled` does labels."""
    if rules.group_pattern is None:
        return candidates
    groups = _found(candidates, rules.group_pattern, "group", name)
    return [
        replace(candidate, group=group, fault=candidate.fault or _fault(group, "group"))
        for candidate, group in zip(candidates, groups, strict=True)
    ]


Labelled = tuple[Sequence[Candidate], set[str]]
"""Candidates, and the classes of folders, also of empty ones."""


def _by_folders(files: Sequence[FoundFile], folders: Sequence[str], rules: LabelRules, name: str) -> Labelled:
    layout = read_layout((found.file for found in files), folders, name)
    candidates = [
        _candidate(found, found.file.removeprefix(layout.wrapper), *layout.place(found.file)) for found in files
    ]
    return candidates, {layout.place(f"{folder}/")[0] for folder in folders}


def _by_pattern(files: Sequence[FoundFile], folders: Sequence[str], rules: LabelRules, name: str) -> Labelled:
    layout = read_splits_above((found.file for found in files), folders)
    found_there = [_candidate(found, found.file, *layout.place(found.file)) for found in files]
    candidates = labelled(found_there, rules, name)
    if any(candidate.label in layout.splits for candidate in candidates):  # the user takes these folders for classes
        candidates = [replace(candidate, split="") for candidate in candidates]
    return candidates, set()


def _without_labels(files: Sequence[FoundFile], folders: Sequence[str], rules: LabelRules, name: str) -> Labelled:
    return [replace(_candidate(found, found.file, "", ""), fault="") for found in files], set()


def _candidate(found: FoundFile, file: str, label: str, split: str) -> Candidate:
    fault = "" if label else _OUTSIDE
    return Candidate(
        file=file, label=sys.intern(label), read=found.read, split=split, address=found.address, fault=fault
    )


def _fault(text: str, key: str) -> str:
    return "" if text else f"its path does not match `ingest.{key}_pattern`"


def _found(candidates: Sequence[Candidate], pattern: str, key: str, name: str) -> list[str]:
    """Search each path; empty text where nothing is found."""
    compiled = re.compile(pattern)
    matches = [compiled.search(candidate.file) for candidate in candidates]
    found = [normal_form((match[key] or "").strip()) if match else "" for match in matches]
    if not any(found):
        images = [candidate.file for candidate in candidates if may_be_image(candidate.file)]
        shown = ", ".join(f"`{file}`" for file in images[:_SHOWN])
        raise DataError(
            f"{name}: `ingest.{key}_pattern` {pattern!r} matches none of {len(images)} images; the first are {shown}"
        )
    return found


def check_pattern(pattern: str | None, key: str) -> str | None:
    """Refuse, with a ValueError, a text that is no regular expression, or one without the named group."""
    if pattern is None:
        return None
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"should be a regular expression ({error})") from None
    if key not in compiled.groupindex:
        raise ValueError(f"should have a group of that name, such as (?P<{key}>[^/]+)")
    return pattern
