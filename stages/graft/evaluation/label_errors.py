"""Labels that may be wrong: a classifier fitted without the image predicts another class."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from cleanlab.filter import find_label_issues  # type: ignore[import-untyped]
from cleanlab.rank import get_label_quality_scores  # type: ignore[import-untyped]

from stages.graft.evaluation.linear_probe import MAX_IMAGES, Probabilities, cross_validate
from stages.graft.heads.features import FeatureSet
from stages.graft.metrics.classification import Labels
from stages.graft.metrics.label_doubt import MAX_PROBABILITY

NUM_DIGITS = 6
"""Of every number written."""

Flags = npt.NDArray[np.bool_]

PENALTY_PER_IMAGE = 0.5
"""Of the heads that judge labels: factor of half the sum of squared weights, for each image."""


def find_label_errors(images: FeatureSet, table: pd.DataFrame, num_folds: int) -> tuple[Labels, pd.DataFrame]:
    """Judge all labels; give the class predicted without each image, shape (n,), and the table of doubtful labels.

    Args:
        images: as in `judge_labels`, in the order of the table.
        table: as in `label_errors_table`, with a column group.
        num_folds: as in `judge_labels`.
    """
    is_checked = table["is_checked"].to_numpy(dtype=bool)
    first, second = judge_labels(images, table["group"].to_list(), num_folds, is_checked)
    return first.argmax(axis=1), label_errors_table(table, images.y, images.classes, second)


def judge_labels(
    images: FeatureSet, groups: Sequence[str], num_folds: int, is_checked: Flags | None = None
) -> tuple[Probabilities, Probabilities]:
    """Score every image by a head fitted without it and its group; then again, by heads without suspected labels.

    The penalty is strong, so that a head does not learn wrong labels by heart.

    Args:
        images: all of them, n; the labels of few are wrong.
        groups: name of each one's group; "" for none.
        num_folds: heads to fit each time.
        is_checked: whose label a person has checked, so that no head goes without it, shape (n,); None: nobody's.
    Returns:
        probabilities of the first and of the second time, shape (n, c).
    """
    l2 = PENALTY_PER_IMAGE * min(len(images.y), MAX_IMAGES)
    first = cross_validate(images, groups, l2, num_folds)
    usable = ~suspect_labels(images.y, first)
    if is_checked is not None:
        usable |= is_checked
    usable |= ~np.isin(images.y, images.y[usable])  # a class keeps its images when all are suspected
    return first, cross_validate(images, groups, l2, num_folds, usable)


def label_errors_table(images: pd.DataFrame, y: Labels, classes: tuple[str, ...], p: Probabilities) -> pd.DataFrame:
    """List the images whose label is not the predicted class, without those that a person has checked.

    Args:
        images: columns id, file, label, split and is_checked; n rows.
        y: their classes, shape (n,); every one of c has an image.
        classes: class names, c of them.
        p: probabilities from classifiers that were fitted without the image, shape (n, c).
    Returns:
        Columns id, file, label, suggested, score, suspected, split, mark. The mark is empty, for a person to fill with
        right, wrong or the name of a class, and `graft labels import`. The score is the probability of the label as
        given, the lowest first; suspected are those below MAX_PROBABILITY that confident learning finds.
    Source:
        Northcutt, Jiang and Chuang, Confident Learning, JAIR 2021: sections 3.1 (the counts of wrong labels) and 3.2
        (prune by noise rate), in cleanlab's implementation.
    """
    suspected = suspect_labels(y, p) & (p[np.arange(len(y)), y] < MAX_PROBABILITY)
    best = p.argmax(axis=1)
    table = images[["id", "file", "label"]].assign(
        suggested=[classes[k] for k in best],
        score=get_label_quality_scores(y, p, method="self_confidence").round(NUM_DIGITS),
        suspected=suspected,
        split=images["split"],
        mark="",
    )
    listed: pd.DataFrame = table[(suspected | (best != y)) & ~images["is_checked"].to_numpy(dtype=bool)]
    return listed.sort_values(["score", "id"])


def format_label_errors(report: Mapping[str, Any]) -> str:
    """Say how many labels look wrong, and how often the label is the predicted class.

    Args:
        report: num_suspected and num_checked labels; cross_validated_accuracy, the share of the images whose label is
            the class predicted without them.
    """
    number, num_checked = report["num_suspected"], report["num_checked"]
    doubt = f"{number} label{'s look' if number > 1 else ' looks'} wrong (reports/label_errors.csv)"
    checked = f" besides {num_checked} that a person has checked" if num_checked else ""
    right = f"{report['cross_validated_accuracy']:.1%} right in cross-validation"
    return f"{doubt if number else 'no label looks wrong'}{checked}; {right}"


def suspect_labels(y: Labels, p: Probabilities) -> Flags:
    """Tell which labels confident learning takes for wrong, shape (n,)."""
    suspected = np.zeros(len(y), dtype=np.bool_)
    suspected[find_label_issues(y, p, return_indices_ranked_by="self_confidence", n_jobs=1)] = True
    return suspected
