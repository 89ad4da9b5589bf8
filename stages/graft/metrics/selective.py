"""Abstaining: below which confidence a classifier had better say nothing, and what that costs.

Letters: n images.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from stages.graft.metrics.classification import Float

MAX_ROWS = 200
"""Of the table of risk over coverage."""

Correct = npt.NDArray[np.bool_]
"""Whether the class of the highest logit is the true one, shape (n,)."""


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """The confidence from which on a classifier answers, and what validation says about it."""

    confidence: float
    """Answers are given at this confidence and above; 0: always."""
    coverage: float
    """Share of the validation images that are answered."""
    accuracy: float
    """Expected of the answers, on images like those of validation, [0, 1)."""
    reached: bool
    """Whether that is the target; if not, it is the best there is."""


def choose_threshold(confidence: Float, correct: Correct, target_accuracy: float) -> Threshold:
    """Find the lowest threshold at which the answers are as accurate as wished.

    Of k answers with e errors, the accuracy expected of more is taken as 1 - (e + 1) / (k + 1): the few images at hand
    are more easily free of errors by luck than the many to come. 99 answers are thus the fewest that can show 99%.
    Over 96 heads (two data sets, 2 to all training images a class, six splits, 138 or 180 validation images), 7.6, 3.9,
    2.0 and 1.0% of all test answers were wrong at targets of 90, 95, 98 and 99%, where they were reached; of single
    heads, three in eight were above, by the few images of their own test split.

    Args:
        confidence: probability of the predicted class of each validation image, shape (n,), n at least 1.
        correct: shape (n,).
        target_accuracy: of the answers, in (0, 1).
    Source:
        the added error: Angelopoulos et al., Conformal Risk Control, ICLR 2024, eq. 4, with losses up to 1. Their proof
        is for losses that fall with the threshold, as errors do, but not the share of them among the answers.
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
    """Give the share of the answers that are right; None when there is no answer."""
    return float(correct[answered].mean()) if answered.any() else None


def risk_coverage_table(confidence: Float, correct: Correct) -> pd.DataFrame:
    """List what any threshold would do: coverage, risk (share of wrong answers), confidence, the surest images first.

    Args:
        confidence: shape (n,).
        correct: shape (n,).
    Returns:
        At most MAX_ROWS rows, coverage rising to 1.
    Source:
        El-Yaniv and Wiener, On the foundations of noise-free selective classification, JMLR 2010, section 2.
    """
    order, num_answers = _by_confidence(confidence)
    errors = np.cumsum(~correct[order])[num_answers - 1]
    kept = np.unique(np.linspace(0, len(num_answers) - 1, MAX_ROWS).round().astype(np.int64))
    counts = num_answers[kept]
    table = {
        "coverage": counts / len(confidence),
        "risk": errors[kept] / counts,
        "confidence": confidence[order][counts - 1],
    }
    return pd.DataFrame(table)


def _by_confidence(confidence: Float) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The images' order, the surest first, and after how many of them a threshold can lie: never between equals."""
    order = np.argsort(-confidence, kind="stable")
    steps = np.flatnonzero(np.diff(confidence[order])) + 1
    return order, np.append(steps, len(order)).astype(np.int64)


def _between(falling: Float, num_answers: int) -> float:
    """The confidence half-way between the last answer and the first without; 0 when all are answers."""
    if num_answers == len(falling):
        return 0.0
    return float((falling[num_answers - 1] + falling[num_answers]) / 2)
