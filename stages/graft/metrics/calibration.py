"""Temperature scaling: make the confidence of a classifier agree with its accuracy; the ranking does not change.

Letters: n images, c classes.
"""

import math

import numpy as np
import pandas as pd

from stages.graft.metrics.classification import Float, Labels, confidence_bins, group_interval, log_loss, softmax

PRIOR_DEVIATION = 0.5
"""Standard deviation of the normal prior of the temperature's logarithm, with mean 0. When every validation image is
correct, the log loss keeps falling towards temperature 0, where the first wrong test image costs hundreds of nats."""

MIN_GAIN = 1.92
"""Smallest gain in log loss, in nats over all validation images, for which the temperature changes: half the 95% point
of chi-squared with one degree of freedom, the likelihood-ratio test. A head chosen by validation log loss is already
calibrated: over 144 heads of two data sets, always fitting a temperature made the test log loss worse as often as
better."""

MAX_LOG = 3.0
"""Largest absolute logarithm of the temperature, which lies between 0.05 and 20."""

NUM_HALVINGS = 30
"""How often the search halves the interval of the temperature's logarithm."""


def fit_temperature(logits: Float, y: Labels) -> float:
    """Find the temperature that gives the lowest log loss when the validation logits (n, c) are divided by it.

    Returns:
        The temperature; 1 when the gain is not significant, or without images.
    Source:
        Guo et al., On Calibration of Modern Neural Networks, ICML 2017, section 4.2; the test: Wilks, Annals of
        Mathematical Statistics 1938.
    """
    if not len(y):
        return 1.0
    low, high = -MAX_LOG, MAX_LOG
    for _ in range(NUM_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if _slope(logits, y, middle) > 0 else (middle, high)
    temperature = math.exp((low + high) / 2)
    gain = len(y) * (log_loss(logits, y) - log_loss(logits / temperature, y))
    return temperature if gain >= MIN_GAIN else 1.0


def reliability_table(probabilities: Float, y: Labels, groups: Labels, confidence_level: float) -> pd.DataFrame:
    """Compare confidence and accuracy of probabilities (n, c) in bins of equal width; empty bins are left out.

    Returns:
        Columns confidence (mean of the bin), accuracy, accuracy_low and accuracy_high (of groups), num_images.
    """
    confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == y
    bins = confidence_bins(confidence)
    rows = []
    for inside in (bins == k for k in np.unique(bins)):
        num_images, num_correct = int(inside.sum()), int(correct[inside].sum())
        interval = group_interval(correct[inside], groups[inside], confidence_level)
        rows.append((float(confidence[inside].mean()), num_correct / num_images, *interval, num_images))
    return pd.DataFrame(rows, columns=["confidence", "accuracy", "accuracy_low", "accuracy_high", "num_images"])


def _slope(logits: Float, y: Labels, log_temperature: float) -> float:
    """Derivative of log loss plus prior with respect to the temperature's logarithm."""
    scaled = logits.astype(np.float64) / math.exp(log_temperature)
    expected = (softmax(scaled) * scaled).sum(axis=1)
    return float((scaled[np.arange(len(y)), y] - expected).sum()) + log_temperature / PRIOR_DEVIATION**2
