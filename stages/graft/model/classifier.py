"""A backbone and a head as one torch network, which is trained, saved, loaded, and scores images."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from stages.graft.backbone.network import NormalisedNetwork, load_backbone, save_tensors
from stages.graft.backbone.weights import finetuned_weights
from stages.graft.core.progress import Progress
from stages.graft.core.threads import in_threads
from stages.graft.heads.head import Head
from stages.graft.images.decode import Batch
from stages.graft.images.loading import LocateImage, read_batch
from stages.graft.images.preprocessing import Preprocessing
from stages.graft.model.model_folder import BACKBONE, read_model

PREDICTION_BATCH = 32
"""Images in a batch; the last batch is padded, since a row's bits depend on the batch's shape."""


class Classifier(nn.Module):
    """A backbone and a head: from uint8 images (n, h, w, 3), or the frozen part's output, to logits (n, c)."""

    def __init__(self, backbone: nn.Module, head: nn.Sequential) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, *inputs: Tensor) -> Tensor:
        """Score images."""
        logits: Tensor = self.head(self.backbone(*inputs).flatten(1))
        return logits


def head_module(head: Head) -> nn.Sequential:
    """Turn a head's arrays into torch layers: Linear, or Linear, ReLU, Linear."""
    layers: list[nn.Module] = []
    for weight, bias in head.layers:
        layer = nn.Linear(weight.shape[1], weight.shape[0])
        layer.load_state_dict({"weight": torch.from_numpy(weight), "bias": torch.from_numpy(bias)})
        layers += [nn.ReLU(), layer] if layers else [layer]
    return nn.Sequential(*layers)


def head_from_module(module: nn.Sequential, like: Head) -> Head:
    """Turn torch layers into a head's arrays; `like` gives its kind and classes."""
    linear = [layer for layer in module if isinstance(layer, nn.Linear)]
    layers = tuple((layer.weight.detach().cpu().numpy(), layer.bias.detach().cpu().numpy()) for layer in linear)
    return Head(kind=like.kind, classes=like.classes, layers=layers)


def predict(
    classifier: nn.Module, ids: Sequence[str], locate: LocateImage, preprocessing: Preprocessing
) -> npt.NDArray[np.float32]:
    """Score images; the classifier is in evaluation mode afterwards.

    Returns:
        logits, shape (n, c), float32.
    """
    classifier.eval()
    device = next(classifier.parameters()).device
    chunks = [ids[start : start + PREDICTION_BATCH] for start in range(0, len(ids), PREDICTION_BATCH)]
    rows = []

    def read(chunk: Sequence[str]) -> Batch:
        return read_batch(chunk, locate, preprocessing, PREDICTION_BATCH)

    with torch.inference_mode(), Progress(len(ids), desc="score", unit="images") as progress:
        for chunk, images in zip(chunks, in_threads(read, chunks, num_ahead=4), strict=True):
            rows.append(classifier(torch.from_numpy(images).to(device))[: len(chunk)].cpu().numpy())
            progress.advance(len(chunk))
    return np.concatenate(rows)


def predict_logits(
    folder: Path, ids: Sequence[str], locate: LocateImage, device: torch.device
) -> npt.NDArray[np.float32]:
    """Score images with the folder of a fine-tuned model.

    Returns:
        logits, shape (n, c), float32.
    Raises:
        DataError: a file of the model is missing or damaged.
    """
    model, head = read_model(folder)
    weights = finetuned_weights(model.backbone, str(model.backbone_sha256), folder / BACKBONE)
    classifier = Classifier(load_backbone(weights), head_module(head)).eval()
    classifier.to(device).to(memory_format=torch.channels_last)
    return predict(classifier, ids, locate, weights.preprocessing)


def save_backbone(backbone: NormalisedNetwork, folder: Path) -> None:
    """Write a backbone's weights, float32, as backbone.safetensors of a model's folder."""
    save_tensors(backbone.network, folder / BACKBONE)
