"""Checks that a source can be trained on; the message of a DataError says why not, and what to do."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from stages.graft.core.errors import DataError
from stages.graft.data.candidates import LIST_SUFFIXES, Source, is_document
from stages.graft.data.manifest import ManifestRow

_SHOWN_CONFLICTS, _SHOWN_BAD, _SHOWN_CLASSES = 10, 3, 20
"""As many are listed in an error; the rest is counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BadImage:
    """An image that is left out."""

    file: str
    """As the candidate's."""
    label: str
    """As the candidate's."""
    reason: str
    """Why, in words."""


def check_classes(source: Source) -> None:
    """Refuse, before any image is read, fewer than two classes and an empty one."""
    used = {candidate.label for candidate in source.candidates}
    if len(source.classes) < 2:
        check_number(source.classes, source.name, _hint(source))
    empty = [name for name in source.classes if name not in used]
    if empty:
        raise DataError(f"{source.name}: no image in class {quoted(empty)}; add images or remove the folder")


def check_number(classes: Sequence[str], where: str, hint: str = "") -> None:
    """Refuse fewer than two classes."""
    if len(classes) < 2:
        found = f"only `{classes[0]}`" if classes else "none"
        raise DataError(
            f"{where}: expected at least two classes, found {found}; "
            f"the source must be the folder whose sub-folders are the classes, or a list with two labels{hint}"
        )


def _hint(source: Source) -> str:
    """Point at what may have the labels: a list beside the images, or their names."""
    lists = [candidate.file for candidate in source.candidates if candidate.file.lower().endswith(LIST_SUFFIXES)]
    if lists:
        return f". If {lists[0]} names the images, make it the source"
    images = [candidate.file for candidate in source.candidates if candidate.claims_to_be_image]
    return f". If names such as {images[0]} hold the labels, set `ingest.label_pattern`" if images else ""


def check_bad(bad: Sequence[BadImage], num_good: int, max_bad_fraction: float) -> None:
    """Refuse a source of whose images more than `max_bad_fraction` are bad."""
    num_images = num_good + len(bad)
    if len(bad) > max_bad_fraction * num_images:
        raise DataError(
            f"{len(bad)} of {num_images} images are bad ({len(bad) / num_images:.1%}), more than "
            f"`ingest.max_bad_fraction` {max_bad_fraction:g} allows; {_examples(bad)}"
        )


def check_conflicts(conflicts: Sequence[Sequence[ManifestRow]]) -> None:
    """Refuse images that are there under two labels or splits; `conflicts` has the files of each."""
    if not conflicts:
        return
    shown = [
        "  " + " = ".join(f"{row.file} ({', '.join(filter(None, (row.label, row.split)))})" for row in files)
        for files in conflicts[:_SHOWN_CONFLICTS]
    ]
    if len(conflicts) > _SHOWN_CONFLICTS:
        shown.append(f"  and {len(conflicts) - _SHOWN_CONFLICTS} more")
    raise DataError(
        f"{len(conflicts)} images are there under two labels or splits; correct them, or leave all of them out with "
        "`ingest.on_conflict: drop`\n" + "\n".join(shown)
    )


def folders_of_documents(source: Source, with_images: Iterable[str]) -> set[str]:
    """Name the folders that are no classes: they hold texts and tables, and none of the images found."""
    others = {candidate.label for candidate in source.candidates if not is_document(candidate.file)}
    return {*source.classes} - {*with_images} - others


def check_kept(classes: Iterable[str], source: Source, rows: Sequence[ManifestRow], bad: Sequence[BadImage]) -> None:
    """Refuse a class that has no good image."""
    kept = {row.label for row in rows}
    lost = [name for name in classes if name not in kept]
    if lost:
        of_them = [image for image in bad if image.label in lost]
        file = next(candidate.file for candidate in source.candidates if candidate.label in lost)
        why = f"files such as {file} are no images, or conflict with other classes; move what is no class out"
        raise DataError(
            f"{source.name}: no good image in class {quoted(lost)}; {_examples(of_them) if of_them else why}"
        )


def quoted(names: Iterable[str]) -> str:
    """Give names in backquotes, with commas; of very many, the first."""
    names = list(names)
    more = [f"{len(names) - _SHOWN_CLASSES} more"] if len(names) > _SHOWN_CLASSES else []
    return ", ".join([f"`{name}`" for name in names[:_SHOWN_CLASSES]] + more)


def _examples(bad: Sequence[BadImage]) -> str:
    """One image of each kind of reason, and how many more there are."""
    kinds: dict[str, list[BadImage]] = {}
    for image in bad:
        kinds.setdefault(image.reason.split(" (")[0], []).append(image)
    shown = [
        f"{images[0].file}{f' and {len(images) - 1} more' if images[1:] else ''}: {images[0].reason}"
        for images in list(kinds.values())[:_SHOWN_BAD]
    ]
    return "; ".join([*shown, "…"] if len(kinds) > _SHOWN_BAD else shown)
