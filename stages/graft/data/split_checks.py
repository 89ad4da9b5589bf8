"""What the source says about splits, and classes that cannot be in all three."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from stages.graft.core.errors import DataError
from stages.graft.data.splits import SPLITS

DRAWN = ("test", "val")
"""The splits that are drawn, in that order; the rest is train."""

_SHOWN = 100
"""As many classes are listed in an error; the rest is counted."""


@dataclass(frozen=True, kw_only=True)
class ClassCounts:
    """What there is of one class."""

    name: str
    """Of the class."""
    num_groups: int
    """Groups, where an image without a group is one of its own."""
    num_images: Mapping[str, int]
    """Images in each split."""

    @property
    def total(self) -> int:
        """Images in all splits."""
        return sum(self.num_images.values())

    @property
    def lacking(self) -> list[str]:
        """Splits without an image of the class."""
        return [split for split in SPLITS if not self.num_images[split]]


def splits_given(manifest: pd.DataFrame) -> list[str]:
    """List the splits that the manifest gives to at least one image."""
    given = set(manifest["split"].unique()) if "split" in manifest else set()
    return [split for split in SPLITS if split in given]


def describe_given(given: Sequence[str]) -> str:
    """Say which splits the source gives and which are drawn; empty when it gives none."""
    drawn = [split for split in DRAWN if split not in given]
    if not given:
        return ""
    line = f"; the source gives {' and '.join(given)}"
    return f"{line}, so {' and '.join(drawn)} {'is' if len(drawn) == 1 else 'are'} drawn from train" if drawn else line


def check_all_splits(classes: Sequence[ClassCounts], fractions: Mapping[str, float]) -> None:
    """Raise one DataError that names all classes that are not in all three splits.

    Args:
        classes: the counts of each class.
        fractions: the share of each drawn split, [0, 1).
    """
    lacking = [counts for counts in classes if counts.lacking]
    small = [counts for counts in lacking if counts.num_groups < len(SPLITS)]
    others = [counts for counts in lacking if counts.num_groups >= len(SPLITS)]
    problems = []
    if small:
        problems.append(
            f"too few images for train, val and test in class {_listed(map(_images_and_groups, small))}: each class "
            f"needs {len(SPLITS)}, of {len(SPLITS)} groups where images have groups or near-duplicates; add images, or "
            f"leave such classes out with `ingest.min_images_per_class: {len(SPLITS)}`"
        )
    if others:
        splits = [split for split in SPLITS if any(split in counts.lacking for counts in others)]
        shown = _listed(f"{counts.name!r} ({_per_split(counts)})" for counts in others)
        problems.append(f"no image is left for {' and '.join(splits)} of class {shown}: {_advice(splits, fractions)}")
    if problems:
        raise DataError("; ".join(problems))


def _advice(splits: Sequence[str], fractions: Mapping[str, float]) -> str:
    zero = [f"`split.{split}_fraction`" for split in splits if fractions.get(split) == 0]
    if zero:
        return f"set {' and '.join(zero)} above 0, or let the source give such images"
    return "add images of it there, leave the split of some of its images empty in the source, or try another seed"


def _listed(classes: Iterable[str]) -> str:
    """Join the classes; of more than a screen, the first."""
    names = list(classes)
    more = [f"{len(names) - _SHOWN} more"] if len(names) > _SHOWN else []
    return ", ".join([*names[:_SHOWN], *more])


def _images_and_groups(counts: ClassCounts) -> str:
    images = f"{counts.total} image{'s' * (counts.total != 1)}"
    groups = f" in {counts.num_groups} group{'s' * (counts.num_groups != 1)}" if counts.total >= len(SPLITS) else ""
    return f"{counts.name!r} ({images}{groups})"


def _per_split(counts: ClassCounts) -> str:
    return ", ".join(f"{counts.num_images[split]} {split}" for split in SPLITS)
