"""Heads by their kind: the fit that the section `train_head` asks for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stages.graft.heads.class_weights import class_weights
from stages.graft.heads.features import FeatureSet
from stages.graft.heads.head import Head
from stages.graft.heads.head_params import TrainHeadParams
from stages.graft.metrics.training_curve import Epoch

LOG_LOSS, SCORED = "_log_loss", ("train_", "val_")
"""End of the names of log losses in the report, and starts of the names that are of the head that was kept."""


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


def format_choice(report: Mapping[str, Any]) -> str:
    """Describe in one line what the report says: of auto, the heads that were tried; of others, every entry."""
    if report["kind"] != "auto":
        return ", ".join(f"{name} {value}" for name, value in report.items())
    kinds = sorted(
        (name.removesuffix(LOG_LOSS) for name in report if name.endswith(LOG_LOSS) and not name.startswith(SCORED)),
        key=lambda kind: report[f"{kind}{LOG_LOSS}"],
    )
    tried = (f"{kind} {report[f'{kind}{LOG_LOSS}']:.3f} ({report[f'{kind}_accuracy']:.1%})" for kind in kinds)
    return (
        f"auto takes {report['chosen']}, by log loss (accuracy) on {report['num_held_out']} images that the fits left "
        f"out: {', '.join(tried)}; validation {report['val_accuracy']:.1%} of {report['num_val']}"
    )
