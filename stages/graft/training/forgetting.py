"""What a network forgets in fine-tuning: how much its features, its old predictions and its weights change.

Letters: n images, d features, c classes of the source, the set of images on which the network was pretrained.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor, nn

from stages.graft.backbone.blocks import block_names, block_of, name_in_network
from stages.graft.backbone.layers import feature_network
from stages.graft.backbone.network import NormalisedNetwork, load_network, run_batch
from stages.graft.backbone.weights import Weights
from stages.graft.core.errors import DataError
from stages.graft.core.progress import Progress
from stages.graft.images.loading import LocateImage, decoded_batches
from stages.graft.images.preprocessing import Preprocessing
from stages.graft.metrics.paired_comparison import PairedComparison
from stages.graft.training.source_accuracy import SourceImages, compare_on_source

Float32 = npt.NDArray[np.float32]
State = Mapping[str, Tensor]
"""A network's tensors by name."""

BATCH_SIZE = 32

MAX_IMAGES = 1000
"""Largest number of images to compare; ids are hashes, so the first of them are a random sample."""

NUM_DIGITS = 6
"""Digits after the point in reports."""

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
"""Tensors of batch-norm that are not weights, and that fine-tuning does not change."""


@dataclass(frozen=True, kw_only=True)
class Forgetting:
    """Differences between the pretrained and the fine-tuned network."""

    num_images: int
    """Number of target images on which features and predictions were compared."""
    cka: float
    """Linear CKA between the features before and after, in [0, 1]; 1 when they differ only by rotation and scale."""
    source_agreement: float
    """Share of those images for which the source's output layer predicts the same class as before, in [0, 1]."""
    source: PairedComparison | None
    """Comparison on labelled images of the source; None without them."""


def measure_forgetting(
    weights: Weights,
    trained: State,
    ids: Sequence[str],
    locate: LocateImage,
    device: torch.device,
    source: SourceImages | None = None,
) -> Forgetting:
    """Compare the pretrained network with the fine-tuned one.

    Args:
        weights: weights of the pretrained network.
        trained: tensors of the fine-tuned backbone, by their names in the backbone.
        ids: ids of validation images; the first `MAX_IMAGES` of them, sorted, are used.
        locate: gives the location of an image's file.
        device: device of the computation.
        source: labelled images of the source, if there are any.
    Raises:
        DataError: an image cannot be read, or the network does not know a class of the source images.
    """
    network = load_network(weights)
    tuned = with_backbone(network, trained)
    chosen = sorted(ids)[:MAX_IMAGES]
    networks = [_normalised(module, weights.preprocessing, device) for module in (network, tuned)]
    compared = None if source is None else compare_on_source(networks[0], networks[1], weights, source, device)
    logits = _outputs(networks, chosen, locate, weights.preprocessing, device)
    # In place: the output layers are no longer needed, and memory has room for two large networks, not for four.
    backbones = [
        _normalised(feature_network(module, weights), weights.preprocessing, device) for module in (network, tuned)
    ]
    features = _outputs(backbones, chosen, locate, weights.preprocessing, device)
    return Forgetting(
        num_images=len(chosen),
        cka=linear_cka(features[0], features[1]),
        source_agreement=source_agreement(logits[0], logits[1]),
        source=compared,
    )


def linear_cka(x: npt.NDArray[np.floating], y: npt.NDArray[np.floating]) -> float:
    """Measure the similarity of two sets of features; rotation and scale do not change it.

    With fewer images than features it is well above 0 even for unrelated features: compare its values on the same
    images with each other, not with 0.

    Args:
        x: features, shape (n, d).
        y: other features of the same images, shape (n, any).
    Returns:
        The similarity in [0, 1]; 0 when one of the sets is the same for all images.
    Source:
        Kornblith et al., Similarity of neural network representations revisited, ICML 2019, section 3, eq. 4,
        with linear kernels.
    """
    x, y = (features.astype(np.float64) - features.mean(axis=0, dtype=np.float64) for features in (x, y))
    if len(x) < max(x.shape[1], y.shape[1]):  # products of images are smaller than products of features
        gram_x, gram_y = x @ x.T, y @ y.T
        shared, norms = float((gram_x * gram_y).sum()), np.linalg.norm(gram_x) * np.linalg.norm(gram_y)
    else:
        shared = float(np.linalg.norm(y.T @ x) ** 2)
        norms = np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    return min(1.0, shared / float(norms)) if norms > 0 else 0.0


def source_agreement(before: Float32, after: Float32) -> float:
    """Share of images with the same predicted class before and after, from logits of shape (n, c)."""
    return float((before.argmax(axis=1) == after.argmax(axis=1)).mean())


def weight_changes(weights: Weights, trained: State) -> pd.DataFrame:
    """Measure how far a fine-tuned backbone's weights are from the pretrained ones, as `block_distances` does."""
    state = load_network(weights).state_dict()
    after = {name_in_network(name): value.cpu() for name, value in trained.items()}
    before = {name: state[name] for name in after if name in state}
    return block_distances(before, after, block_names(weights.name))


def whole_distance(changes: pd.DataFrame) -> float:
    """Change of all weights of the backbone: the norm of the change divided by the norm before."""
    return float(np.sqrt((changes["change"] ** 2).sum() / (changes["norm"] ** 2).sum()))


def block_distances(before: State, after: State, blocks: Sequence[str]) -> pd.DataFrame:
    """Measure the change of each block's weights: the norm of the change divided by the norm before.

    Args:
        before: tensors of a network.
        after: the same tensors later; tensors that are missing here are left out.
        blocks: names of the network's blocks, in order; a weight outside all blocks is listed under its module's name.
    Returns:
        Columns block, num_weights, change, norm, distance (change / norm; empty if all weights were zero), in the order
        of the network's weights.
    """
    rows = [
        (_label(name, blocks), value.numel(), _square(after[name].to(value) - value), _square(value))
        for name, value in before.items()
        if name in after and not name.endswith(_STATISTICS)
    ]
    columns = ["block", "num_weights", "change", "norm"]
    table = pd.DataFrame(rows, columns=columns).groupby("block", sort=False).sum().reset_index()
    table[["change", "norm"]] = np.sqrt(table[["change", "norm"]])
    return table.assign(distance=table["change"] / table["norm"].where(table["norm"] > 0))


def with_backbone(network: nn.Module, trained: State) -> nn.Module:
    """Copy a network, and give the copy the weights of a backbone, by their names in it; the output layer's stay.

    Raises:
        DataError: the network has no such tensor.
    """
    changed, state = copy.deepcopy(network), network.state_dict()
    for name, value in trained.items():
        own_name = name_in_network(name)
        if own_name in state and state[own_name].shape == value.shape:
            state[own_name] = value
        elif name not in ("mean", "std"):  # tensors of the normalisation
            raise DataError(f"the backbone's `{name}`, shape {tuple(value.shape)}, is not of {type(network).__name__}")
    changed.load_state_dict(state)
    return changed


def forgetting_record(forgetting: Forgetting) -> dict[str, Any]:
    """Flatten the results for a report."""
    record: dict[str, Any] = {
        "forgetting_num_images": forgetting.num_images,
        "cka": forgetting.cka,
        "source_agreement": forgetting.source_agreement,
    }
    if (source := forgetting.source) is not None:
        record |= {
            "source_num_images": source.num_images,
            "source_accuracy_before": source.accuracy_before,
            "source_accuracy_after": source.accuracy_after,
            "source_accuracy_difference_low": source.difference_low,
            "source_accuracy_difference_high": source.difference_high,
        }
    return {name: round(value, NUM_DIGITS) if isinstance(value, float) else value for name, value in record.items()}


def format_forgetting(forgetting: Forgetting) -> str:
    """Describe in one line what the network forgot."""
    text = f"the network gives its pretraining's answers as before for {forgetting.source_agreement:.1%} of the images"
    if (source := forgetting.source) is None:
        return text
    change = f"{source.accuracy_before:.1%} -> {source.accuracy_after:.1%}"
    return f"{text}; on {source.num_images} of its own images {change}"


def _normalised(network: nn.Module, preprocessing: Preprocessing, device: torch.device) -> NormalisedNetwork:
    normalised = NormalisedNetwork(network, preprocessing).eval().requires_grad_(False)
    return normalised.to(device).to(memory_format=torch.channels_last)


def _outputs(
    networks: Sequence[nn.Module],
    ids: Sequence[str],
    locate: LocateImage,
    preprocessing: Preprocessing,
    device: torch.device,
) -> list[Float32]:
    """Compute the output of each network for every image; images are decoded once."""
    rows = list[list[Float32]]()
    with Progress(len(ids), desc="forgetting", unit="images") as progress:
        for chunk, images in decoded_batches(ids, locate, preprocessing, BATCH_SIZE):
            rows.append([run_batch(network, images, BATCH_SIZE, device) for network in networks])
            progress.advance(len(chunk))
    return [np.concatenate(outputs) for outputs in zip(*rows, strict=True)]


def _label(name: str, blocks: Sequence[str]) -> str:
    block = block_of(name, blocks)
    return blocks[block] if block is not None else name.rpartition(".")[0] or name


def _square(value: Tensor) -> float:
    return float(value.double().square().sum())
