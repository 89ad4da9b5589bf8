"""The default head: linear discriminant analysis, logistic regression or both, as cross-validation says.

Letters: n images, d features, c classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from stages.graft.heads.class_weights import ClassWeights
from stages.graft.heads.cross_validation import HeldOut, has_folds
from stages.graft.heads.features import FeatureSet
from stages.graft.heads.head import Head
from stages.graft.heads.lda import fit_lda
from stages.graft.heads.logistic import MAX_IMAGES, choose_penalty, fit_path, limited
from stages.graft.heads.standardisation import fit_standardisation
from stages.graft.metrics.classification import accuracy, log_loss

SHARES: Mapping[str, float] = {"lda": 1.0, "logistic": 0.0, "lda_and_logistic": 0.5}
"""Share of the discriminants in the logits of each candidate, the simplest first; the rest is of logistic regression.

Both are linear in the same limited features, so their mean is one linear layer too. Over draws of 5 to 60 images of
each class of steel and of clothes, the mean had the lowest log loss nearly everywhere, and never the highest.
"""

NUM_DIGITS = 6
"""Of the numbers in the report."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One of SHARES, on images that the fits left out."""

    kind: str
    """Its name."""
    log_loss: float
    """With the weights of the classes, in nats."""
    accuracy: float
    """In [0, 1]."""


def fit_auto(
    train: FeatureSet, val: FeatureSet, l2_grid: Sequence[float], weights: ClassWeights, num_folds: int
) -> tuple[Head, dict[str, float | str]]:
    """Fit both to the training images, and keep the candidate with the lowest log loss on images that fits left out.

    A tie keeps the simpler one. The validation images take part in the choice alone, not in the fit: thresholds and
    fine-tuning need images that the head was not fitted to.

    Args:
        train, val, l2_grid, weights: as in `fit_logistic`.
        num_folds: as in `score_held_out`.
    Returns:
        The head, and everything that was tried, for the report.
    Source:
        Genest and Zidek, Combining probability distributions, Statistical Science 1986, section 3 (the mean of logits
        is the logarithmic opinion pool).
    """
    lda, choices, of_lda = fit_lda(train, val, weights, num_folds)
    l2, of_logistic = choose_penalty(train, val, l2_grid, weights, num_folds)
    softsign = fit_standardisation(train.x).to_softsign()
    logistic = next(fit_path(limited(train, softsign), [l2], weights))
    if not has_folds(train, num_folds):  # then this very fit leaves out the same images
        of_logistic = HeldOut(logits=logistic.head.logits(softsign.apply(val.x)), y=val.y)
    candidates = judge(of_lda, of_logistic, weights)
    best = min(candidates, key=lambda candidate: candidate.log_loss)  # of equal ones, the first
    head = replace(mean_head(lda, logistic.head, SHARES[best.kind]), kind=best.kind)
    record: dict[str, float | str] = {"chosen": best.kind, "num_held_out": len(of_lda.y)}
    for candidate in candidates:
        record[f"{candidate.kind}_log_loss"] = round(candidate.log_loss, NUM_DIGITS)
        record[f"{candidate.kind}_accuracy"] = round(candidate.accuracy, NUM_DIGITS)
    if len(train.y) > MAX_IMAGES:
        record["num_images_for_l2"] = MAX_IMAGES
    return head, record | choices | {"l2": l2, "converged": logistic.converged}


def judge(of_lda: HeldOut, of_logistic: HeldOut, weights: ClassWeights) -> list[Candidate]:
    """Score every candidate on the same images."""
    candidates = []
    for kind, share in SHARES.items():
        logits = share * of_lda.logits + (1 - share) * of_logistic.logits
        loss, share_correct = log_loss(logits, of_lda.y, weights), accuracy(logits.argmax(axis=1), of_lda.y)
        candidates.append(Candidate(kind=kind, log_loss=loss, accuracy=share_correct))
    return candidates


def mean_head(first: Head, second: Head, share: float) -> Head:
    """Mix two heads of one layer after the same softsign, which the first one has: one layer with the mean logits."""
    weight, bias = (
        (share * a + (1 - share) * b).astype(np.float32) for a, b in zip(first.layers[0], second.layers[0], strict=True)
    )
    return replace(first, layers=((weight, bias),))
