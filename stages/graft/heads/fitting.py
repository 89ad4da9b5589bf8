"""Heads by their kind: the section `train_head`, and the fit that it asks for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PositiveFloat

from stages.graft.core.params import Params
from stages.graft.heads.class_weights import ClassWeight, class_weights
from stages.graft.heads.features import FeatureSet
from stages.graft.heads.head import Head
from stages.graft.heads.mlp_params import MlpParams
from stages.graft.metrics.training_curve import Epoch

LOG_LOSS, SCORED = "_log_loss", ("train_", "val_")
"""End of the names of log losses in the report, and starts of the names that are of the head that was kept."""


def _not_one(num_folds: int) -> int:
    if num_folds == 1:
        raise ValueError("must be 0 or at least 2")
    return num_folds


class TrainHeadParams(Params):
    """The section `train_head`."""

    kind: Literal["auto", "lda", "logistic", "prototype", "mlp"]
    """auto: cross-validation decides between lda, logistic and the mean of both; lda: linear discriminant analysis;
    logistic: multinomial regression; prototype: class means; mlp: one hidden layer."""
    class_weight: ClassWeight
    """none: every image counts alike; balanced: every class does."""
    l2_grid: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)]
    """Penalties the logistic head tries, from the strongest; a tie in log loss keeps the stronger."""
    num_folds: Annotated[int, Field(ge=0), AfterValidator(_not_one)]
    """Parts of cross-validation, for auto and lda; 0: only the validation images choose."""
    mlp: MlpParams
    """Of the mlp head alone."""


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
