"""A bundle as one torch network: from uint8 pixels to the model's complete answer.

Letters: n images, c classes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from stages.graft.backbone.feature_maps import with_maps
from stages.graft.backbone.network import load_averaged
from stages.graft.backbone.runtime import without_maps
from stages.graft.model.bundle import Bundle
from stages.graft.model.classifier import head_module
from stages.graft.model.heat_map import heat_maps

INPUT = "images"

OUTPUTS = {
    "probabilities": "calibrated probability of each class, in the order of `classes`; float32, shape (n, c)",
    "distance": "from the nearest class, about 1 or less for images like the training images; float32, shape (n,)",
    "unsure": "whether the highest probability is below the threshold, so that a person should look; bool, shape (n,)",
    "unknown": "whether the distance is above the threshold: like no class; bool, shape (n,)",
}
"""Name and meaning of each output, in order."""


HEAT = {
    "heat": "heat map of the most likely class over the square: higher where more speaks for it, 0 on average; "
    "float32, shape (n, side, side)"
}
"""The output that is there when it is asked for."""


class Answer(nn.Module):
    """What follows the backbone in a model."""

    def __init__(self, model: "WholeModel") -> None:
        """Share the model's parameters."""
        super().__init__()
        self.model = model

    def forward(self, features: Tensor, *maps: Tensor) -> tuple[Tensor, ...]:
        """Give the outputs of the model, as `WholeModel.answer`."""
        return self.model.answer(features, *maps)


class WholeModel(nn.Module):
    """Backbone, head, temperature, thresholds and the detector of out-of-distribution images, in float32."""

    projection: Tensor
    centres: Tensor

    def __init__(self, bundle: Bundle, maps: bool = False) -> None:
        """Build the network from a bundle's weights, in evaluation mode; `maps` adds the output HEAT.

        Raises:
            WeightsError: the weights are of another network.
            ParamsError: maps are asked for, and the network has none.
        """
        super().__init__()
        self.outputs = OUTPUTS | (HEAT if maps else {})
        self.backbone: nn.Module = load_averaged(bundle.weights)
        self.num_layers = 0
        if maps:
            self._add_maps(bundle)
        self.head = head_module(bundle.head)
        rule = bundle.rule
        self.temperature, self.least_confidence = rule.temperature, rule.threshold.confidence
        self.distance_limit = rule.distance_limit
        self.register_buffer("projection", torch.from_numpy(rule.detector.projection))
        self.register_buffer("centres", torch.from_numpy(rule.detector.centres))
        self.eval().requires_grad_(False)

    def _add_maps(self, bundle: Bundle) -> None:
        mapped = with_maps(load_averaged(bundle.weights), bundle.weights.preprocessing)
        if mapped is None or not bundle.evidence.weights:
            raise without_maps()
        self.backbone, self.num_layers = mapped, len(bundle.evidence.weights)
        for name, arrays in (("weight", bundle.evidence.weights), ("spread", bundle.evidence.spreads)):
            for number, array in enumerate(arrays):
                self.register_buffer(f"{name}{number}", torch.from_numpy(array))

    def _heat(self, maps: Sequence[Tensor], answers: Tensor) -> Tensor:
        """Compute the heat maps of the n images; maps of further views are left out."""
        layers = range(self.num_layers)
        weights, spreads = ([getattr(self, f"{name}{number}") for number in layers] for name in ("weight", "spread"))
        heat: Tensor = heat_maps([some[: answers.shape[0]] for some in maps], weights, spreads, answers)
        return heat

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Give the `outputs` for images (n, h, w, 3), uint8."""
        found = self.backbone(images)
        return self.answer(*(found if self.num_layers else (found,)))

    def answer(self, features: Tensor, *maps: Tensor) -> tuple[Tensor, ...]:
        """Give the `outputs` for what the backbone gives: features (n, d) and maps (n, c, h, w)."""
        x = features.flatten(1)
        probabilities = torch.softmax(self.head(x) / self.temperature, dim=1)
        differences = (x @ self.projection).unsqueeze(1) - self.centres.unsqueeze(0)
        distance = differences.square().sum(dim=2).amin(dim=1).sqrt()
        # So written, NaN is unsure and unknown.
        unsure = ~(probabilities.amax(dim=1) >= self.least_confidence)
        answers = probabilities, distance, unsure, ~(distance <= self.distance_limit)
        return (*answers, self._heat(maps, probabilities.argmax(dim=1))) if self.num_layers else answers
