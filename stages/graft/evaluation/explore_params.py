"""The section `explore` of params.yaml."""

from typing import Annotated

from pydantic import ConfigDict, Field, PositiveInt

from stages.graft.core.params import Params


class ExploreParams(Params):
    """The section `explore`."""

    num_folds: Annotated[int, Field(ge=2)]
    """Number of heads; each is fitted without its share of the images, and judges the labels of that share."""
    num_draws: PositiveInt
    """Number of draws of training images for each point of the curve over shots."""
    map_images: Annotated[int, Field(ge=3)]
    """Largest number of images on the map."""
    seed: Annotated[int, Field(ge=0)]
    """Seed of the draws and of the map."""


class GivenLabelsParams(Params):
    """The value of the section `ingest` that explore reads."""

    model_config = ConfigDict(extra="ignore")

    labels: str
    """File of labels given later: whose label was in doubt and is checked."""


class TargetParams(Params):
    """The value of the section `evaluate` that explore reads."""

    model_config = ConfigDict(extra="ignore")

    target_accuracy: Annotated[float, Field(ge=0, le=1)]
    """Accuracy for which the number of labels is forecast."""
