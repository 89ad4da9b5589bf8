"""Networks compared by what the default head makes of their features, on training and validation images alone.

Letters: n images, d features, c classes.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from stages.graft.heads.auto import fit_auto
from stages.graft.heads.class_weights import class_weights
from stages.graft.heads.cross_validation import HeldOut, score_held_out
from stages.graft.heads.features import FeatureSet, select_rows
from stages.graft.heads.head import Float32
from stages.graft.heads.head_params import TrainHeadParams
from stages.graft.metrics.classification import log_loss, wilson_interval
from stages.graft.metrics.paired_comparison import holm, mcnemar, unit_changes

NUM_FOLDS = 5
"""Parts of the images; each is scored by heads that were fitted to the others."""

MAX_IMAGES = 2000
"""Largest number of images that networks are compared on; more make fits slow and change the order little."""

MAX_P_VALUE = 0.05
"""A network with a larger corrected p-value could be as good as the best."""

FASTER = 0.5
"""A network that could be as good as the best is taken in its place when it needs at most this part of its time."""

NUM_DIGITS = 6
"""Of every number in the table."""


@dataclass(frozen=True, kw_only=True)
class ScoredNetwork:
    """A network, and how the default head classifies images by its features."""

    name: str
    """As in `backbone.name`."""
    weights: str
    """As in `backbone.weights`."""
    held_out: HeldOut
    """Every image, scored by a head that was fitted without it and its group."""
    seconds_per_1000: float
    """Seconds to decode and embed 1,000 images."""
    num_features: int
    """d."""


def cross_validate_default_head(images: FeatureSet, params: TrainHeadParams, on_fit: Callable[[], None]) -> HeldOut:
    """Score every image by the default head, fitted without it and its group, as `train_head.kind: auto` fits it.

    Args:
        images: at most MAX_IMAGES of training and validation.
        params: the section `train_head`; the kind is auto, whatever it says.
        on_fit: called after each of NUM_FOLDS fits.
    Raises:
        DataError: no class has two images, or two groups.
    """
    nothing = select_rows(images, np.arange(0))

    def score(train: FeatureSet, x: Float32) -> Iterator[Float32]:
        weights = class_weights(train.y, train.classes, params.class_weight)
        head, _ = fit_auto(train, nothing, params.l2_grid, weights, max(2, params.num_folds))
        on_fit()
        yield head.logits(x)

    return next(score_held_out(score, images, nothing, NUM_FOLDS))


def compare_networks(networks: Sequence[ScoredNetwork], units: Mapping[str, str]) -> pd.DataFrame:
    """Compare networks with the best of them, by the same images.

    Args:
        networks: at least one, scored on the same images in the same order.
        units: of each image's id, the name of its group, or the id itself.
    Returns:
        A row for each network, the best first: network, weights, accuracy with its interval, log_loss, num_features,
        seconds_per_1000, num_better and num_worse (groups in which the best gets more, or fewer, images right),
        p_value (sign test of these, corrected for the number of networks), could_be_best, num_images. Of equal
        accuracies, the lower log loss comes first.
    """
    ordered = sorted(networks, key=lambda network: (-_correct(network).mean(), _log_loss(network)))
    best, ids = _correct(ordered[0]), ordered[0].held_out.ids
    changes = [unit_changes(_correct(network), best, [units[id_] for id_ in ids]) for network in ordered]
    p_values = [1.0, *holm([mcnemar(*change) for change in changes[1:]])]
    rows = [
        {
            "network": network.name,
            "weights": network.weights,
            "accuracy": _correct(network).mean(),
            **_interval(network),
            "log_loss": _log_loss(network),
            "num_features": network.num_features,
            "seconds_per_1000": network.seconds_per_1000,
            "num_better": change[0],
            "num_worse": change[1],
            "p_value": p_value,
            "could_be_best": p_value > MAX_P_VALUE,
            "num_images": len(ids),
        }
        for network, change, p_value in zip(ordered, changes, p_values, strict=True)
    ]
    return pd.DataFrame(rows).round(NUM_DIGITS)


def choose_network(table: pd.DataFrame) -> "pd.Series[Any]":
    """Give the row of the network to take: the best, or one that could be as good in a fraction FASTER of its time."""
    seconds = table["seconds_per_1000"]
    is_faster = table["could_be_best"] & (seconds <= FASTER * seconds.iloc[0])
    return table[is_faster].iloc[0] if is_faster.any() else table.iloc[0]


def _correct(network: ScoredNetwork) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return np.asarray(network.held_out.logits.argmax(axis=1) == network.held_out.y)


def _log_loss(network: ScoredNetwork) -> float:
    return log_loss(network.held_out.logits, network.held_out.y)


def _interval(network: ScoredNetwork) -> dict[str, float]:
    correct = _correct(network)
    low, high = wilson_interval(int(correct.sum()), len(correct))
    return {"accuracy_low": low, "accuracy_high": high}
