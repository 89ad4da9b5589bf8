"""Assigns images to train, val and test: stratified, in whole groups, by hashes of ids, not by order or file names.

Letters: n images, u units, p pairs of a unit and a class that it has images of. A unit is a group, or one image without
a group; units are numbered in the order in which they are drawn. All is held in arrays: there may be millions of them.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from stages.graft.core.errors import DataError
from stages.graft.core.image_ids import Keys
from stages.graft.data.split_checks import DRAWN, ClassCounts, check_all_splits, splits_given
from stages.graft.data.splits import SPLIT_NAMES, SPLITS
from stages.graft.storage.tables import texts

FREE = 0
"""Number of an image without a split; the number of a split is its index in SPLITS plus 1."""

_TRAIN = SPLITS.index("train") + 1
_STEPS = {"test": 1, "val": -1}
"""Test is drawn from the start of the order, val from its end."""

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Units:
    """Images that must stay together, and their classes."""

    of_row: Integers
    """The unit of each row of the manifest, shape (n,)."""
    classes: tuple[str, ...]
    """Class names, sorted."""
    units: Integers
    """The unit of each pair, ascending, shape (p,)."""
    labels: Integers
    """The class of each pair, shape (p,)."""
    nums: Integers
    """Images of each pair, shape (p,)."""
    starts: Integers
    """Where each unit's pairs begin, and p, shape (u + 1,)."""
    given: bytearray
    """The number of the split that the manifest gives each unit, u of them; FREE when it gives none."""

    def __len__(self) -> int:
        return len(self.given)

    def totals(self, chosen: npt.NDArray[np.bool_]) -> list[int]:
        """Count the images of each class in the pairs chosen, shape (p,)."""
        counts = np.bincount(self.labels[chosen], self.nums[chosen], len(self.classes))
        return [int(count) for count in counts]


def assign_splits(
    manifest: pd.DataFrame, seed: int, val_fraction: float, test_fraction: float, train_per_class: int | None = None
) -> "pd.Series[str]":
    """Put every image in train, val or test; a few-shot run's other train images are unused.

    The images of each class meet the fractions within one image; with groups, as near as whole groups come.
    A split the manifest gives is kept, for the image's whole group; the other images fill up what is missing. A split
    that it gives to no image is drawn from train, in a class whose images all have a split.

    Args:
        manifest: columns id, label and, when there are any, group and split; empty text means none.
        seed: another seed, another split.
        val_fraction: share of each class in val, in [0, 1); 0 leaves it to the manifest's split column.
        test_fraction: share of each class in test, likewise.
        train_per_class: keep this many train images per class, the same first ones for every value; None keeps all.
    Returns:
        The split of each row of the manifest.
    Raises:
        DataError: a class cannot be in all three, or a group is given two splits.
    """
    units = _units(manifest, seed)
    fractions = {"test": test_fraction, "val": val_fraction}
    draft = _Draft(units, fractions)
    given = splits_given(manifest)
    draft.draw([split for split in DRAWN if split in given])
    if drawn := [split for split in DRAWN if split not in given]:
        draft.free_train()
        draft.draw(drawn)
    draft.close()
    check_all_splits(draft.class_counts(), fractions)
    numbers = np.frombuffer(draft.split_of, np.uint8)[units.of_row]
    if train_per_class is not None:
        _limit_train(manifest, numbers, seed, train_per_class)
    names = np.array(["", *SPLIT_NAMES], dtype=object)
    return pd.Series(names[numbers], manifest.index, dtype=str)


class _Draft:
    """Splits that are being filled, with the counts of each class."""

    def __init__(self, units: Units, fractions: dict[str, float]) -> None:
        self.units, self.split_of = units, bytearray(units.given)
        given = np.frombuffer(units.given, np.uint8)[units.units]  # of each pair
        self.total = units.totals(np.full(len(given), True))
        self.targets = {split: _targets(self.total, fraction) for split, fraction in fractions.items()}
        self.counts = {split: units.totals(given == number) for number, split in enumerate(SPLITS, 1)}
        self.num_free = np.bincount(units.labels[given == FREE], minlength=len(units.classes)).tolist()
        self.num_units = np.bincount(units.labels, minlength=len(units.classes)).tolist()
        # Views that give Python's own numbers: quick to read one by one, and no copy.
        self._starts, self._labels, self._nums = (a.data for a in (units.starts, units.labels, units.nums))

    def free_train(self) -> None:
        """Give back the train images of classes that have no free one, for a split that the manifest gives to none."""
        split_of = np.frombuffer(self.split_of, np.uint8).copy()
        without = np.array(self.num_free) == 0
        freed = np.unique(self.units.units[without[self.units.labels] & (split_of[self.units.units] == _TRAIN)])
        split_of[freed] = FREE
        self.split_of = bytearray(split_of.tobytes())
        for unit in freed.tolist():
            for label, num in self._images(unit):
                self.counts["train"][label] -= num
                self.num_free[label] += 1

    def draw(self, splits: Sequence[str]) -> None:
        """Fill splits: each from its end of the order, so that none moves with the fraction of another."""
        for split in splits:
            self.fill(split, range(len(self.units))[:: _STEPS[split]])
        for split in splits:
            self.repair(split, _STEPS[split])

    def fill(self, split: str, units: Iterable[int]) -> None:
        """Take each unit, in order, that brings the split nearer to its target."""
        targets, counts = self.targets[split], self.counts[split]
        lacking = {label for label, target in enumerate(targets) if counts[label] < target}
        for unit in units:
            if not lacking:
                break  # none can bring it nearer
            if self.split_of[unit] == FREE and self._cost(unit, split) < 0 and self._is_allowed(unit, split):
                self._take(unit, split)
                lacking -= {label for label, _ in self._images(unit) if counts[label] >= targets[label]}

    def repair(self, split: str, step: int) -> None:
        """Give the split, for each class it lacks, the unit that exceeds the target least; step -1 goes backwards."""
        for label in range(len(self.total)):
            if self.counts[split][label] or not self.targets[split][label]:
                continue
            of_label = self.units.units[self.units.labels == label][::step].tolist()
            able = [unit for unit in of_label if self._is_allowed(unit, split)]
            if able:
                self._take(min(able, key=lambda unit: self._cost(unit, split)), split)

    def close(self) -> None:
        """Assign the other units to train."""
        split_of = np.frombuffer(self.split_of, np.uint8)
        left = self.units.totals(split_of[self.units.units] == FREE)
        self.counts["train"] = [a + b for a, b in zip(self.counts["train"], left, strict=True)]
        self.split_of = bytearray(np.where(split_of == FREE, _TRAIN, split_of).astype(np.uint8).tobytes())

    def class_counts(self) -> list[ClassCounts]:
        """Give the counts of each class."""
        return [
            ClassCounts(
                name=name,
                num_groups=self.num_units[label],
                num_images={split: self.counts[split][label] for split in SPLITS},
            )
            for label, name in enumerate(self.units.classes)
        ]

    def _images(self, unit: int) -> Iterator[tuple[int, int]]:
        """Give the classes of a unit with its number of images in each."""
        for pair in range(self._starts[unit], self._starts[unit + 1]):
            yield self._labels[pair], self._nums[pair]

    def _cost(self, unit: int, split: str) -> int:
        """How much farther from its target, in images, the split would be with the unit; negative is nearer."""
        targets, counts, cost = self.targets[split], self.counts[split], 0
        for label, num in self._images(unit):
            need = targets[label] - counts[label]
            cost += abs(need - num) - abs(need)
        return cost

    def _is_allowed(self, unit: int, split: str) -> bool:
        """Whether the unit is free and leaves enough units for the other splits that lack one of its classes."""
        if self.split_of[unit] != FREE:
            return False
        others = [self.counts[other] for other in SPLITS if other != split]
        return all(
            self.num_free[label] > sum(not counts[label] for counts in others) for label, _ in self._images(unit)
        )

    def _take(self, unit: int, split: str) -> None:
        self.split_of[unit] = SPLITS.index(split) + 1
        for label, num in self._images(unit):
            self.counts[split][label] += num
            self.num_free[label] -= 1


def _targets(total: Sequence[int], fraction: float) -> list[int]:
    """Round half up; a class is in every split, however small, unless the manifest alone is to fill the split."""
    least = 1 if fraction > 0 else 0
    return [max(least, int(num * fraction + 0.5)) for num in total]


def _units(manifest: pd.DataFrame, seed: int) -> Units:
    """Gather the manifest's rows into units, in the order they are drawn."""
    codes, classes = pd.factorize(manifest["label"], sort=True)
    drawn, keys = _keyed(manifest, seed)
    rank = np.empty(len(keys), np.int64)
    rank[np.argsort(keys, kind="stable")] = np.arange(len(keys))
    of_row = rank[drawn]
    pairs, nums = np.unique(of_row * len(classes) + codes, return_counts=True)
    units = pairs // len(classes)
    return Units(
        of_row=of_row,
        classes=tuple(map(str, classes)),
        units=units,
        labels=pairs % len(classes),
        nums=nums.astype(np.int64),
        starts=np.searchsorted(units, np.arange(len(keys) + 1)),
        given=_given_splits(manifest, of_row, len(keys)),
    )


def _keyed(manifest: pd.DataFrame, seed: int) -> tuple[Integers, Keys]:
    """A number for each row's unit, and each unit's key: a hash of the seed and the group's name or the image's id."""
    if "group" not in manifest:
        return np.arange(len(manifest)), _hashes(f"{seed}:image:", manifest["id"])
    ungrouped = (manifest["group"] == "").to_numpy(dtype=bool)
    codes, names = pd.factorize(manifest["group"][~ungrouped])
    drawn = np.empty(len(manifest), np.int64)
    drawn[~ungrouped], drawn[ungrouped] = codes, len(names) + np.arange(ungrouped.sum())
    groups = _hashes(f"{seed}:group:", pd.Series(names, dtype=str))
    return drawn, np.concatenate([groups, _hashes(f"{seed}:image:", manifest["id"][ungrouped])])


def _given_splits(manifest: pd.DataFrame, of_row: Integers, num_units: int) -> bytearray:
    """Read the manifest's split column: the number of each unit's split, FREE where none is given."""
    given = bytearray(num_units)
    if "split" not in manifest:
        return given
    codes, names = pd.factorize(manifest["split"])
    numbers = np.array([SPLITS.index(name) + 1 if name else FREE for name in names], np.uint8)[codes]
    of_unit = np.frombuffer(given, np.uint8)
    rows = np.flatnonzero(numbers)
    of_unit[of_row[rows]] = numbers[rows]
    differing = rows[of_unit[of_row[rows]] != numbers[rows]]
    if len(differing):
        first = int(np.flatnonzero(np.isin(of_row, of_row[differing]))[0])
        theirs = set(numbers[of_row == of_row[first]].tolist()) - {FREE}
        found_in = " and ".join(sorted(SPLITS[number - 1] for number in theirs))
        group = str(manifest["group"].iloc[first])
        raise DataError(
            f"group {group!r} is given in {found_in}; a group stays on one side: correct its `group` or `split`"
        )
    return given


def _limit_train(manifest: pd.DataFrame, numbers: npt.NDArray[np.uint8], seed: int, train_per_class: int) -> None:
    """Keep the first train images of each class in the order of their hashes, so that 5 shots are among 10."""
    rows = np.flatnonzero(numbers == SPLITS.index("train") + 1)
    rows = rows[np.argsort(_hashes(f"{seed}:image:", manifest["id"].iloc[rows]), kind="stable")]
    rank = manifest["label"].iloc[rows].groupby(manifest["label"].iloc[rows].to_numpy()).cumcount().to_numpy()
    numbers[rows[rank >= train_per_class]] = len(SPLITS) + 1


def _hashes(prefix: str, names: "pd.Series[str]") -> Keys:
    """Hash each name after the prefix, shape (len(names),)."""
    start = hashlib.sha256(prefix.encode())

    def digest(name: str) -> bytes:
        one = start.copy()
        one.update(name.encode())
        return one.digest()

    return np.fromiter((digest(name) for name in texts(names)), "S32", len(names))
