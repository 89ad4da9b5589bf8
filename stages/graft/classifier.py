"""A trunk and a head as one torch network: from a head's arrays and back, saved, loaded, and scoring images."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from stages.graft.artifacts import atomic_path
from stages.graft.backbone import Normalised, read_tensors
from stages.graft.heads import Head
from stages.graft.layers import trunk_of
from stages.graft.model import BACKBONE, read_model
from stages.graft.networks import build_network, load_weights
from stages.graft.preprocessing import Preprocessing, preprocessing_from
from stages.graft.progress import Progress
from stages.graft.reading import PathOf, read_batch
from stages.graft.threads import in_threads

PREDICTION_BATCH = 32
"""Images a batch; the last one is padded, since a row's bits depend on the batch's shape."""


class Classifier(nn.Module):
    """A trunk and a head; uint8 images (n, h, w, 3), or what the trunk's frozen part made of them, to logits (n, c)."""

    def __init__(self, trunk: nn.Module, head: nn.Sequential) -> None:
        super().__init__()
        self.trunk, self.head = trunk, head

    def forward(self, *inputs: Tensor) -> Tensor:
        """Score images."""
        return self.embed(*inputs)[1]

    def embed(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Give the features (n, d) that the head reads, and what it makes of them."""
        features = self.trunk(*inputs).flatten(1)
        return features, self.head(features)


def head_module(head: Head) -> nn.Sequential:
    """Turn a head's arrays into torch layers: Linear, or Linear, ReLU, Linear."""
    layers: list[nn.Module] = []
    for weight, bias in head.layers:
        layer = nn.Linear(weight.shape[1], weight.shape[0])
        layer.load_state_dict({"weight": torch.from_numpy(weight), "bias": torch.from_numpy(bias)})
        layers += [nn.ReLU(), layer] if layers else [layer]
    return nn.Sequential(*layers)


def head_of(module: nn.Sequential, like: Head) -> Head:
    """Turn torch layers back into a head's arrays."""
    linear = [layer for layer in module if isinstance(layer, nn.Linear)]
    layers = tuple((layer.weight.detach().cpu().numpy(), layer.bias.detach().cpu().numpy()) for layer in linear)
    return Head(kind=like.kind, classes=like.classes, layers=layers)


def predict(
    classifier: nn.Module, ids: Sequence[str], path_of: PathOf, preprocessing: Preprocessing, desc: str = "score"
) -> npt.NDArray[np.float32]:
    """Score images.

    Returns:
        logits, shape (n, c), float32.
    """
    classifier.eval()
    device = next(classifier.parameters()).device
    (logits,) = _run(lambda images: (classifier(images),), device, ids, path_of, preprocessing, desc)
    return logits


def _run(
    compute: Callable[[Tensor], tuple[Tensor, ...]],
    device: torch.device,
    ids: Sequence[str],
    path_of: PathOf,
    preprocessing: Preprocessing,
    desc: str,
) -> list[npt.NDArray[np.float32]]:
    """Send images through in batches of one shape; give each output's rows."""
    chunks = [ids[start : start + PREDICTION_BATCH] for start in range(0, len(ids), PREDICTION_BATCH)]
    read = partial(read_batch, path_of=path_of, preprocessing=preprocessing, batch_size=PREDICTION_BATCH)
    parts: list[list[npt.NDArray[np.float32]]] = []
    with torch.inference_mode(), Progress(len(ids), desc=desc, unit="images") as progress:
        for chunk, images in zip(chunks, in_threads(read, chunks, num_ahead=4), strict=True):
            outputs = compute(torch.from_numpy(images).to(device))
            parts.append([output[: len(chunk)].float().cpu().numpy() for output in outputs])
            progress.advance(len(chunk))
    return [np.concatenate(rows) for rows in zip(*parts, strict=True)]


def load_classifier(folder: Path, device: torch.device) -> tuple[Classifier, Preprocessing]:
    """Load a fine-tuned model's folder, in evaluation mode.

    Raises:
        DataError: the folder is not whole.
    """
    model, head = read_model(folder)
    preprocessing = preprocessing_from(model.backbone["preprocessing"])
    network = build_network(model.backbone["name"], 1000).eval()
    network = trunk_of(network, model.backbone["layers"], model.backbone["pooling"])
    load_weights(network, read_tensors(folder / BACKBONE), str(folder / BACKBONE))
    classifier = Classifier(Normalised(network, preprocessing), head_module(head)).eval()
    return classifier.to(device).to(memory_format=torch.channels_last), preprocessing


def predict_logits(folder: Path, ids: Sequence[str], path_of: PathOf, device: torch.device) -> npt.NDArray[np.float32]:
    """Score images with a fine-tuned model's folder.

    Returns:
        logits, shape (n, c), float32.
    Raises:
        DataError: the folder is not whole.
    """
    classifier, preprocessing = load_classifier(folder, device)
    return predict(classifier, ids, path_of, preprocessing)


def embed(
    folder: Path, ids: Sequence[str], path_of: PathOf, device: torch.device
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Send images through a fine-tuned model's folder, once.

    Returns:
        features, shape (n, d), and logits, shape (n, c), float32.
    Raises:
        DataError: the folder is not whole.
    """
    classifier, preprocessing = load_classifier(folder, device)
    features, logits = _run(classifier.embed, device, ids, path_of, preprocessing, "score")
    return features, logits


def save_trunk(trunk: Normalised, folder: Path) -> None:
    """Write the trunk's weights, float32, as backbone.safetensors."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in trunk.network.state_dict().items()}
    with atomic_path(folder / BACKBONE) as temporary:
        save_file(tensors, temporary)
