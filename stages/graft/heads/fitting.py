"""Heads by their kind: the fit that the section `train_head` asks for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stages.graft.heads.class_weights import class_weights
from stages.graft.heads.features import FeatureSet
from stages.graft.heads.head import Head
from stages.graft.heads.head_params import TrainHeadParams
from stages.graft.metrics.training_curve import Epoch

NAMES = {
    "lda": "LDA",
    "logistic": "logistic regression",
    "lda_and_logistic": "LDA and logistic regression together",
    "prototype": "the nearest class mean",
    "mlp": "an MLP",
}
"""Words for the kinds of heads."""


@dataclass(frozen=True, kw_only=True)
class FittedHead:
    """A head, and how it was fitted."""

    head: Head
    """The head."""
    choices: dict[str, float | str]
    """What was chosen, for the report."""
    epochs: Sequence[Epoch]
    """The learning curve; empty for a head without epochs."""


def fit_head(
    params: TrainHeadParams, train: FeatureSet, val: FeatureSet, log: Callable[[int, dict[str, float]], None]
) -> FittedHead:
    """Fit a head of the kind asked for; validation chooses its settings.

    `log` is called after every epoch of an MLP with its number and its metrics.

    Raises:
        DataError: a class has no training image, or the loss of an MLP is not finite.
    """
    weights = class_weights(train.y, train.classes, params.class_weight)
    epochs: Sequence[Epoch] = []
    choices: Mapping[str, float | str]
    # Each kind is imported when it is asked for: only the MLP needs torch, only auto and logistic scikit-learn.
    if params.kind == "mlp":
        from stages.graft.heads.mlp import fit_mlp

        head, choices, epochs = fit_mlp(train, val, weights, params.mlp, log)
    elif params.kind == "prototype":
        from stages.graft.heads.prototypes import fit_prototypes

        head, choices = fit_prototypes(train, val, weights)
    elif params.kind == "lda":
        from stages.graft.heads.lda import fit_lda

        head, choices, _ = fit_lda(train, val, weights, params.num_folds)
    elif params.kind == "auto":
        from stages.graft.heads.auto import fit_auto

        head, choices = fit_auto(train, val, params.l2_grid, weights, params.num_folds)
    else:
        from stages.graft.heads.logistic import fit_logistic

        head, choices = fit_logistic(train, val, params.l2_grid, weights)
    return FittedHead(head=head, choices=dict(choices), epochs=epochs)


def format_choice(report: Mapping[str, Any]) -> list[str]:
    """Describe in a line which head was taken and how often it is right; a second one warns of an unfinished fit.

    Args:
        report: as train_head writes it.
    """
    kind = str(report.get("chosen", report["kind"]))
    line = f"{NAMES[kind]}, {report['val_accuracy']:.1%} right on {report['num_val']} validation images"
    if (num_held_out := report.get("num_held_out", 0)) > report["num_val"]:
        right = report[f"{kind}_accuracy"]
        line = f"{NAMES[kind]}, {right:.1%} right in cross-validation of {num_held_out} images"
    if "epoch" in report:
        line += f", epoch {report['epoch']} of {report['num_epochs']}"
    if "num_images_for_l2" in report:
        line += f"; its penalty was chosen from a sample of {report['num_images_for_l2']:,} images"
    if report.get("converged", True):
        return [line]
    return [line, "the logistic regression did not converge; put a larger penalty into `train_head.l2_grid`"]
