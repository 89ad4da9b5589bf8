"""Heads by their kind: the section `train_head`, and the fit that it asks for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat

from stages.graft.core.params import Params
from stages.graft.heads.class_weights import ClassWeight, class_weights
from stages.graft.heads.features import FeatureSet
from stages.graft.heads.head import Head
from stages.graft.heads.mlp_params import MlpParams
from stages.graft.metrics.training_curve import Epoch


class TrainHeadParams(Params):
    """The section `train_head`."""

    kind: Literal["logistic", "prototype", "mlp"]
    """logistic: multinomial regression; prototype: class means; mlp: one hidden layer."""
    class_weight: ClassWeight
    """none: every image counts alike; balanced: every class does."""
    l2_grid: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)]
    """Penalties the logistic head tries, from the strongest; a tie in validation log loss keeps the stronger."""
    mlp: MlpParams
    """Of the mlp head alone."""


@dataclass(frozen=True, kw_only=True)
class FittedHead:
    """A head, and how it was fitted."""

    head: Head
    """The head."""
    choices: dict[str, float]
    """What validation chose, for the report."""
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
    # Each kind is imported when it is asked for: only the MLP needs torch, only the logistic head scikit-learn.
    if params.kind == "mlp":
        from stages.graft.heads.mlp import fit_mlp

        head, choices, epochs = fit_mlp(train, val, weights, params.mlp, log)
    elif params.kind == "prototype":
        from stages.graft.heads.prototypes import fit_prototypes

        head, choices = fit_prototypes(train, val, weights)
    else:
        from stages.graft.heads.logistic import fit_logistic

        head, choices = fit_logistic(train, val, params.l2_grid, weights)
    return FittedHead(head=head, choices=choices, epochs=epochs)
