"""Two models' answers to the same test images: which became right or wrong, and whether chance alone explains it."""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields

import numpy as np

from stages.graft.metrics.paired_comparison import MAX_P_VALUE, mcnemar, unit_changes
from stages.graft.storage.spreadsheets import from_spreadsheet

MIN_SHARED = 0.5
"""Share of either model's test images that the other must have been tested on too: otherwise the data are others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """A model's answer on one test image."""

    label: str
    """The true class."""
    predicted: str
    """The predicted class."""
    file: str = ""
    """Path inside the source; empty when it is not on record."""
    group: str = ""
    """Images of one group show the same thing; empty: the image stands alone."""


FIELDS = tuple(field.name for field in fields(Prediction))

Predictions = Mapping[str, Prediction]
"""A model's answers on its test images, by id."""


@dataclass(frozen=True, kw_only=True)
class AnswerChanges:
    """A model against an earlier one, on the test images that both were tested on."""

    num_now: int
    """Test images of this model."""
    num_before: int
    """Test images of the earlier one."""
    num_shared: int
    """Test images of both."""
    num_right: int
    """Shared images that this model has right."""
    gained: tuple[str, ...]
    """Ids of shared images that only this model has right."""
    lost: tuple[str, ...]
    """Ids of shared images that only the earlier one has right."""
    groups_gained: int
    """Groups, or images alone, of which this model has more right."""
    groups_lost: int
    """Those of which it has fewer right."""

    @property
    def same_test(self) -> bool:
        """Whether both were tested on the same images."""
        return 0 < self.num_shared == self.num_now == self.num_before

    @property
    def same_data(self) -> bool:
        """Whether enough test images are shared for a comparison of the models."""
        return 0 < self.num_shared >= MIN_SHARED * max(self.num_now, self.num_before)

    @property
    def accuracy(self) -> float:
        """This model's accuracy on the shared images, of which there is at least one."""
        return self.num_right / self.num_shared

    @property
    def accuracy_before(self) -> float:
        """The earlier one's."""
        return (self.num_right - len(self.gained) + len(self.lost)) / self.num_shared

    @property
    def p_value(self) -> float:
        """McNemar's exact test, in which a group counts once: how likely chance alone splits the changes like this."""
        return mcnemar(self.groups_gained, self.groups_lost)

    @property
    def may_be_chance(self) -> bool:
        """Whether chance alone explains the difference."""
        return self.p_value > MAX_P_VALUE


def parse_predictions(lines: Iterable[str]) -> Predictions:
    """Read a CSV table of predictions with the columns id, label, predicted, and perhaps file and group; else empty."""
    rows = csv.DictReader(lines)
    if not {"id", "label", "predicted"} <= set(rows.fieldnames or ()):
        return {}
    return {row["id"]: Prediction(**{name: from_spreadsheet(row.get(name) or "") for name in FIELDS}) for row in rows}


def compare_answers(before: Predictions, now: Predictions) -> AnswerChanges:
    """Compare two models; both are judged by the labels of now, which are today's if one was corrected."""
    shared = [id_ for id_ in now if id_ in before]
    right = np.array([now[id_].predicted == now[id_].label for id_ in shared], dtype=np.bool_)
    was_right = np.array([before[id_].predicted == now[id_].label for id_ in shared], dtype=np.bool_)
    groups = unit_changes(was_right, right, [now[id_].group or id_ for id_ in shared]) if shared else (0, 0)
    return AnswerChanges(
        num_now=len(now),
        num_before=len(before),
        num_shared=len(shared),
        num_right=int(right.sum()),
        gained=tuple(shared[k] for k in np.flatnonzero(right & ~was_right)),
        lost=tuple(shared[k] for k in np.flatnonzero(was_right & ~right)),
        groups_gained=groups[0],
        groups_lost=groups[1],
    )
