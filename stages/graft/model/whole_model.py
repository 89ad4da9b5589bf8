"""A bundle as one torch network: from uint8 pixels to the model's complete answer.

Letters: n images, c classes.
"""

import torch
from torch import Tensor, nn

from stages.graft.backbone.network import load_averaged
from stages.graft.model.bundle import Bundle
from stages.graft.model.classifier import head_module

INPUT = "images"

OUTPUTS = {
    "probabilities": "calibrated probability of each class, in the order of `classes`; float32, shape (n, c)",
    "distance": "from the nearest class, about 1 or less for images like the training images; float32, shape (n,)",
    "unsure": "whether the highest probability is below the threshold, so that a person should look; bool, shape (n,)",
    "unknown": "whether the distance is above the threshold: like no class; bool, shape (n,)",
}
"""Name and meaning of each output, in order."""


class WholeModel(nn.Module):
    """Backbone, head, temperature, thresholds and the detector of out-of-distribution images, in float32."""

    projection: Tensor
    centres: Tensor

    def __init__(self, bundle: Bundle) -> None:
        """Build the network from a bundle's weights, in evaluation mode.

        Raises:
            WeightsError: the weights are of another network.
        """
        super().__init__()
        self.backbone, self.head = load_averaged(bundle.weights), head_module(bundle.head)
        rule = bundle.rule
        self.temperature, self.least_confidence = rule.temperature, rule.threshold.confidence
        self.distance_limit = rule.distance_limit
        self.register_buffer("projection", torch.from_numpy(rule.detector.projection))
        self.register_buffer("centres", torch.from_numpy(rule.detector.centres))
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Give the OUTPUTS for images (n, h, w, 3), uint8."""
        x = self.backbone(images).flatten(1)
        probabilities = torch.softmax(self.head(x) / self.temperature, dim=1)
        differences = (x @ self.projection).unsqueeze(1) - self.centres.unsqueeze(0)
        distance = differences.square().sum(dim=2).amin(dim=1).sqrt()
        # So written, NaN is unsure and unknown.
        unsure = ~(probabilities.amax(dim=1) >= self.least_confidence)
        return probabilities, distance, unsure, ~(distance <= self.distance_limit)
