"""Parameters of the head, in a module that imports neither torch nor pandas."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PositiveFloat

from stages.graft.core.params import Params
from stages.graft.heads.class_weights import ClassWeight
from stages.graft.heads.mlp_params import MlpParams


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
