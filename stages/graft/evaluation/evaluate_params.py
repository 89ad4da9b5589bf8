"""The section `evaluate` of params.yaml."""

from typing import Annotated

from pydantic import Field

from stages.graft.core.params import Params
from stages.graft.evaluation.quality_gate import GateParams

Share = Annotated[float, Field(gt=0, lt=1)]


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
