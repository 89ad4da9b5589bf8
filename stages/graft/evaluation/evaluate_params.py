"""The section `evaluate` of params.yaml."""

from typing import Annotated

from pydantic import Field, NonNegativeInt

from stages.graft.core.params import Params

Share = Annotated[float, Field(gt=0, lt=1)]
Limit = Annotated[float, Field(ge=0, le=1)]


class GateParams(Params):
    """The section `evaluate.gate`; null or false switches a condition off."""

    min_accuracy: Limit | None
    """Lower limit of the accuracy's interval, in [0, 1]: a lucky draw of few test images is not enough."""
    max_leaked: NonNegativeInt | None
    """Test images with a near-duplicate in train or val, at most: of these the model has seen the answer."""
    min_recall: Limit | None
    """Recall of every class, in [0, 1]: a good mean does not hide a class that is often missed."""
    beat_baselines: bool
    """Whether the model must be better than simple baselines beyond chance: if not, nothing shows that it is needed."""


class EvaluateParams(Params):
    """The section `evaluate`."""

    confidence_level: Share
    """Confidence level of every interval (Wilson, of groups)."""
    target_accuracy: Share
    """Accuracy of the model's answers; where it would be lower, the model is unsure."""
    false_alarm_rate: Share
    """Share of known images that may count as unknown."""
    gate: GateParams
    """Conditions on the test images for a model to be offered."""
