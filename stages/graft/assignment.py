"""Who goes to train, val and test: stratified, whole groups, decided by hashes of ids, not by order or file names."""

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from stages.graft.errors import DataError
from stages.graft.splits import SPLITS, UNUSED

GIVEN = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""How a manifest may name a split, in any case of letters."""


@dataclass(frozen=True, kw_only=True)
class Unit:
    """Images that must stay together: a group, or one image without a group."""

    key: str
    """Hash of the seed and the group's name or the image's id; the order in which units are drawn."""
    rows: tuple[int, ...]
    """Rows of the manifest."""
    num_images: Counter[str]
    """Images of each class."""
    split: str
    """The split the manifest gives, empty when it gives none."""
    name: str
    """The group's name, or the image's id."""


def assign_splits(
    manifest: pd.DataFrame, seed: int, val_fraction: float, test_fraction: float, train_per_class: int | None = None
) -> pd.DataFrame:
    """Put every image in train, val or test; a few-shot run's other train images are unused.

    The images of each class meet the fractions within one image; with groups, as near as whole groups come.
    A split the manifest gives is kept, for the image's whole group; the other images fill up what is missing.

    Args:
        manifest: columns id, label and, when there are any, group and split; empty text means none.
        seed: another seed, another split.
        val_fraction: share of each class in val, in [0, 1); 0 leaves it to the manifest's split column.
        test_fraction: share of each class in test, likewise.
        train_per_class: keep this many train images per class, the same first ones for every value; None keeps all.
    Returns:
        Columns id, label, split; sorted by id.
    Raises:
        DataError: a class cannot be in all three, a group is given two splits, or a split's name is not known.
    """
    units = _units(manifest, seed)
    draft = _Draft(units, {"test": test_fraction, "val": val_fraction})
    # Test is drawn from one end of the order and val from the other, so neither moves with the other's fraction.
    draft.fill("test", units)
    draft.fill("val", units[::-1])
    draft.repair("test", units)
    draft.repair("val", units[::-1])
    draft.close(units)
    draft.check()
    table = pd.DataFrame({"id": manifest["id"].to_list(), "label": manifest["label"].to_list()})
    table["split"] = pd.Series({row: draft.split_of[unit.key] for unit in units for row in unit.rows}, dtype=str)
    if train_per_class is not None:
        table = _limit_train(table, seed, train_per_class)
    return table.sort_values("id", ignore_index=True)


class _Draft:
    """Splits being filled; the counts of each class so far."""

    def __init__(self, units: list[Unit], fractions: dict[str, float]) -> None:
        self.total = _sum(unit.num_images for unit in units)
        self.targets = {split: _targets(self.total, fraction) for split, fraction in fractions.items()}
        self.split_of = {unit.key: unit.split for unit in units if unit.split}
        self.counts = {split: _sum(unit.num_images for unit in units if unit.split == split) for split in SPLITS}
        self.num_free = Counter(label for unit in units if not unit.split for label in unit.num_images)
        self.num_units = Counter(label for unit in units for label in unit.num_images)

    def fill(self, split: str, units: list[Unit]) -> None:
        """Walk the units in order and take each that brings the split nearer to its target."""
        for unit in units:
            if self._cost(unit, split) < 0 and self._is_allowed(unit, split):
                self._take(unit, split)

    def repair(self, split: str, units: list[Unit]) -> None:
        """Give each class the split still lacks the unit that overshoots least: its groups are all large."""
        for label in sorted(self.total):
            if self.counts[split][label] or not self.targets[split][label]:
                continue
            able = [unit for unit in units if label in unit.num_images and self._is_allowed(unit, split)]
            if able:
                self._take(min(able, key=lambda unit: self._cost(unit, split)), split)

    def close(self, units: list[Unit]) -> None:
        """Leave the rest to train."""
        for unit in units:
            if unit.key not in self.split_of:
                self._take(unit, "train")

    def check(self) -> None:
        """Refuse a class that is not in all three."""
        for label in sorted(self.total):
            lacking = [split for split in SPLITS if not self.counts[split][label]]
            if lacking:
                raise DataError(self._explain(label, lacking))

    def _cost(self, unit: Unit, split: str) -> int:
        """How much farther from its target, in images, the split would be with the unit; negative is nearer."""
        need = {label: self.targets[split][label] - self.counts[split][label] for label in unit.num_images}
        return sum(abs(need[label] - n) - abs(need[label]) for label, n in unit.num_images.items())

    def _is_allowed(self, unit: Unit, split: str) -> bool:
        """Whether the unit is free and leaves enough units for the other splits that lack one of its classes."""
        if unit.key in self.split_of:
            return False
        others = [self.counts[other] for other in SPLITS if other != split]
        return all(self.num_free[label] > sum(not counts[label] for counts in others) for label in unit.num_images)

    def _take(self, unit: Unit, split: str) -> None:
        self.split_of[unit.key] = split
        self.counts[split].update(unit.num_images)
        self.num_free.subtract(unit.num_images.keys())

    def _explain(self, label: str, lacking: list[str]) -> str:
        num_images, num_units = self.total[label], self.num_units[label]
        counts = ", ".join(f"{self.counts[split][label]} {split}" for split in SPLITS)
        if num_images < len(SPLITS):
            advice = "needs at least 3, one each for train, val and test: add images or leave the class out"
        elif num_units < len(SPLITS):
            advice = f"in {num_units} groups, needs at least 3 groups, one each for train, val and test"
        else:
            advice = (
                f"and none left for {' and '.join(lacking)} ({counts}): leave `split` empty for some of its images, "
                "with a fraction above 0, or try another seed"
            )
        return f"class {label!r} has {num_images} image{'s' * (num_images != 1)}, {advice}"


def _targets(total: Counter[str], fraction: float) -> dict[str, int]:
    """Round half up; a class is in every split, however small, unless the manifest alone is to fill the split."""
    least = 1 if fraction > 0 else 0
    return {label: max(least, int(n * fraction + 0.5)) for label, n in total.items()}


def _units(manifest: pd.DataFrame, seed: int) -> list[Unit]:
    """Gather the manifest's rows into units, in the order they are drawn."""
    labels = manifest["label"].to_list()
    given = _given_splits(manifest)
    groups = manifest["group"].to_list() if "group" in manifest else [""] * len(labels)
    rows_of: dict[tuple[str, str], list[int]] = {}
    for row, (id_, group) in enumerate(zip(manifest["id"], groups, strict=True)):
        rows_of.setdefault(("group", group) if group else ("image", id_), []).append(row)
    units = [
        Unit(
            key=_hash(f"{seed}:{kind}:{name}"),
            rows=tuple(rows),
            num_images=Counter(labels[row] for row in rows),
            split=_one_split(name, {given[row] for row in rows}),
            name=name,
        )
        for (kind, name), rows in rows_of.items()
    ]
    return sorted(units, key=lambda unit: unit.key)


def _given_splits(manifest: pd.DataFrame) -> list[str]:
    """Read the manifest's split column into this module's names."""
    if "split" not in manifest:
        return [""] * len(manifest)
    names = [str(name).strip().lower() for name in manifest["split"]]
    unknown = sorted({name for name in names if name and name not in GIVEN})
    if unknown:
        raise DataError(f"the split column has {unknown}; allowed are {', '.join(GIVEN)}, or nothing")
    return [GIVEN.get(name, "") for name in names]


def _one_split(group: str, given: set[str]) -> str:
    splits = sorted(given - {""})
    if len(splits) > 1:
        found = " and ".join(splits)
        raise DataError(f"group {group!r} is given in {found}; a group stays on one side: mend its `group` or `split`")
    return splits[0] if splits else ""


def _limit_train(table: pd.DataFrame, seed: int, train_per_class: int) -> pd.DataFrame:
    """Keep the first train images of each class in the order of their hashes, so that 5 shots are among 10."""
    train = table[table["split"] == "train"]
    order = train["id"].map(lambda id_: _hash(f"{seed}:image:{id_}")).sort_values().index
    place = train.loc[order].groupby("label").cumcount()
    left_out = place[place >= train_per_class].index
    return table.assign(split=table["split"].mask(table.index.isin(left_out), UNUSED))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _sum(counts: Iterable[Counter[str]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    return total
