"""Abstaining: the confidence below which a classifier gives no answer, and the accuracy and coverage that result.

Letters: n images.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from stages.graft.metrics.classification import Float

MAX_ROWS = 200
"""Largest number of rows of the table of risk over coverage."""

Correct = npt.NDArray[np.bool_]
"""Whether the predicted class is the true one, shape (n,)."""


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """The confidence from which a classifier answers, and its results on validation."""

    confidence: float
    """Lowest confidence of an answer, in [0, 1]; 0: the classifier always answers."""
    coverage: float
    """Share of the validation images with an answer, in [0, 1]."""
    accuracy: float
    """Expected accuracy of the answers on images like those of validation, in [0, 1)."""
    reached: bool
    """Whether the accuracy meets the target; if not, it is the highest possible one."""


def choose_threshold(confidence: Float, correct: Correct, target_accuracy: float) -> Threshold:
    """Find the lowest threshold at which the answers reach the target accuracy.

    With e errors in k answers, the expected accuracy is 1 - (e + 1) / (k + 1), because a few images can be free of
    errors by chance. So at least 99 answers are needed to show 99%.
    Over 96 heads (two data sets, 2 to all training images a class, six splits, 138 or 180 validation images), 7.6, 3.9,
    2.0 and 1.0% of all test answers were wrong at targets of 90, 95, 98 and 99%, where the target was reached. Of the
    single heads, three in eight had more errors than that, because each test split has few images.

    Args:
        confidence: probability of the predicted class of each validation image, shape (n,), n at least 1.
        correct: shape (n,).
        target_accuracy: wanted accuracy of the answers, in (0, 1).
    Source:
        The added error: Angelopoulos et al., Conformal Risk Control, ICLR 2024, eq. 4, with losses up to 1. Their proof
        is for losses that fall with the threshold; errors do, but not the share of errors among the answers.
    """
    order, num_answers = _by_confidence(confidence)
    errors = np.cumsum(~correct[order])[num_answers - 1]
    expected = 1 - (errors + 1) / (num_answers + 1)
    good = np.flatnonzero(expected >= target_accuracy)
    chosen = int(good[-1]) if good.size else int(len(expected) - 1 - np.argmax(expected[::-1]))
    return Threshold(
        confidence=_between(confidence[order], int(num_answers[chosen])),
        coverage=float(num_answers[chosen] / len(confidence)),
        accuracy=float(expected[chosen]),
        reached=bool(good.size),
    )


def selective_accuracy(answered: Correct, correct: Correct) -> float | None:
    """Accuracy of the answers; None without answers."""
    return float(correct[answered].mean()) if answered.any() else None


def risk_coverage_table(confidence: Float, correct: Correct) -> pd.DataFrame:
    """List coverage, risk (share of wrong answers) and confidence of every threshold, highest confidence first.

    Returns:
        At most MAX_ROWS rows; coverage rises to 1.
    Source:
        El-Yaniv and Wiener, On the foundations of noise-free selective classification, JMLR 2010, section 2.
    """
    order, num_answers = _by_confidence(confidence)
    errors = np.cumsum(~correct[order])[num_answers - 1]
    kept = np.unique(np.linspace(0, len(num_answers) - 1, MAX_ROWS).round().astype(np.int64))
    counts = num_answers[kept]
    columns = {"coverage": counts / len(confidence), "risk": errors[kept] / counts}
    return pd.DataFrame(columns | {"confidence": confidence[order][counts - 1]})


def _by_confidence(confidence: Float) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Order the images, highest confidence first; count the answers at every threshold that separates no equal ones."""
    order = np.argsort(-confidence, kind="stable")
    steps = np.flatnonzero(np.diff(confidence[order])) + 1
    return order, np.append(steps, len(order)).astype(np.int64)


def _between(falling: Float, num_answers: int) -> float:
    """Confidence half-way between the last answer and the first image without one; 0 when all images have one."""
    if num_answers == len(falling):
        return 0.0
    return float((falling[num_answers - 1] + falling[num_answers]) / 2)
