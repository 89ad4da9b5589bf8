"""What fine-tuning made a network forget: how far its features, its old answers and its weights have moved.

Letters: n images, d features, c classes of the source, on which the network was pretrained.
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

from stages.graft.backbone.blocks import block_names
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
"""What is compared on; ids are hashes, so that the first of them are a random sample."""

NUM_DIGITS = 6
"""Of every number written, as in the other reports."""

_TRUNKS_OWN = ("network.", "extractor.")
"""What a trunk puts before the names of its network's tensors."""

_NO_WEIGHTS = ("running_mean", "running_var", "num_batches_tracked")
"""Batch-norm's statistics: kept as they are by fine-tuning, and no distance of weights."""


@dataclass(frozen=True, kw_only=True)
class Forgetting:
    """What has moved."""

    num_images: int
    """Target images that features and answers were compared on."""
    cka: float
    """Linear CKA between the features before and after, [0, 1]; 1 when one is a rotation of the other, scaled."""
    source_agreement: float
    """Share of those images to which the source's own output layer gives the class it gave before, [0, 1]."""
    blocks: pd.DataFrame
    """How far each block has moved, as `block_distances` gives it."""
    distance: float
    """Of all the trunk's weights together: the norm of the change over the norm before."""
    source: PairedComparison | None
    """Before and after on labelled images of the source; None without them."""


def measure_forgetting(
    weights: Weights,
    trained: State,
    ids: Sequence[str],
    path_of: LocateImage,
    device: torch.device,
    source: SourceImages | None = None,
) -> Forgetting:
    """Compare the pretrained network with what fine-tuning made of it.

    Args:
        weights: the pretrained network, its layers and its preprocessing.
        trained: tensors of the fine-tuned trunk, named as in the trunk or in its network.
        ids: of validation images; the first `MAX_IMAGES` of them, sorted, are used.
        path_of: where an image's file is.
        device: where to compute.
        source: labelled images of the source, if at hand.
    Raises:
        DataError: an image cannot be read, or the source images are of classes the network does not know.
    """
    network = load_network(weights)
    tuned = with_backbone(network, trained)
    state = network.state_dict()
    part = {own: state[own] for own in (_own_name(name, state) for name in trained) if own in state}
    distances = block_distances(part, tuned.state_dict(), block_names(weights.name))
    chosen = sorted(ids)[:MAX_IMAGES]
    whole = [_ready(one, weights.preprocessing, device) for one in (network, tuned)]
    compared = None if source is None else compare_on_source(whole[0], whole[1], weights, source, device)
    answers = _outputs(whole, chosen, path_of, weights.preprocessing, device)
    # In place: the output layers have done their part, and large networks are held no more than twice.
    trunks = [_ready(feature_network(one, weights), weights.preprocessing, device) for one in (network, tuned)]
    features = _outputs(trunks, chosen, path_of, weights.preprocessing, device)
    return Forgetting(
        num_images=len(chosen),
        cka=linear_cka(features[0], features[1]),
        source_agreement=source_agreement(answers[0], answers[1]),
        blocks=distances,
        distance=float(np.sqrt((distances["change"] ** 2).sum() / (distances["norm"] ** 2).sum())),
        source=compared,
    )


def linear_cka(x: npt.NDArray[np.floating], y: npt.NDArray[np.floating]) -> float:
    """Say how alike two sets of features are, whatever their rotation and scale.

    With fewer images than features it is well above 0 even for unrelated features: compare it between runs on the same
    images, rather than with 0.

    Args:
        x: features, shape (n, d).
        y: other features of the same images, shape (n, any).
    Returns:
        [0, 1]; 0 when either is the same for all images.
    Source:
        Kornblith et al., Similarity of neural network representations revisited, ICML 2019, section 3, eq. 4,
        with linear kernels.
    """
    x, y = (one.astype(np.float64) - one.mean(axis=0, dtype=np.float64) for one in (x, y))
    if len(x) < max(x.shape[1], y.shape[1]):  # products of images are smaller than products of features
        gram_x, gram_y = x @ x.T, y @ y.T
        both, alone = float((gram_x * gram_y).sum()), np.linalg.norm(gram_x) * np.linalg.norm(gram_y)
    else:
        both = float(np.linalg.norm(y.T @ x) ** 2)
        alone = np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    return min(1.0, both / float(alone)) if alone > 0 else 0.0


def source_agreement(before: Float32, after: Float32) -> float:
    """Give the share of images whose highest of c logits, shape (n, c), is the same before and after."""
    return float((before.argmax(axis=1) == after.argmax(axis=1)).mean())


def block_distances(before: State, after: State, blocks: Sequence[str]) -> pd.DataFrame:
    """Measure how far each block's weights have moved: the norm of the change over the norm before.

    Args:
        before: a network's tensors.
        after: the same tensors later; names that are missing there did not take part and are left out.
        blocks: the network's, in order; a weight that lies in none stands under its own module's name.
    Returns:
        Columns block, num_weights, change, norm, distance (change / norm; empty for weights that were all zero), in the
        order in which the network has its weights.
    """
    rows = [
        (_block_of(name, blocks), value.numel(), _square(after[name].to(value) - value), _square(value))
        for name, value in before.items()
        if name in after and not name.endswith(_NO_WEIGHTS)
    ]
    columns = ["block", "num_weights", "change", "norm"]
    table = pd.DataFrame(rows, columns=columns).groupby("block", sort=False).sum().reset_index()
    table[["change", "norm"]] = np.sqrt(table[["change", "norm"]])
    return table.assign(distance=table["change"] / table["norm"].where(table["norm"] > 0))


def with_backbone(network: nn.Module, trained: State) -> nn.Module:
    """Copy a network and give the copy a trunk's weights; its output layer, and what the trunk has not, stays.

    Args:
        network: trunk and output layer.
        trained: the trunk's tensors, named as in the trunk or in the network.
    Raises:
        DataError: a tensor is not of this network.
    """
    changed, state = copy.deepcopy(network), network.state_dict()
    for name, value in trained.items():
        own = _own_name(name, state)
        if own in state and state[own].shape == value.shape:
            state[own] = value
        elif name not in ("mean", "std"):  # of the normalisation
            raise DataError(f"the trunk's `{name}`, shape {tuple(value.shape)}, is not of {type(network).__name__}")
    changed.load_state_dict(state)
    return changed


def forgetting_record(forgetting: Forgetting) -> dict[str, Any]:
    """Flatten the figures for a report; the blocks are a table of their own."""
    found: dict[str, Any] = {
        "forgetting_num_images": forgetting.num_images,
        "cka": forgetting.cka,
        "source_agreement": forgetting.source_agreement,
        "weight_distance": forgetting.distance,
    }
    if forgetting.source is not None:
        one = forgetting.source
        found |= {
            "source_num_images": one.num_images,
            "source_accuracy_before": one.accuracy_before,
            "source_accuracy_after": one.accuracy_after,
            "source_accuracy_difference_low": one.difference_low,
            "source_accuracy_difference_high": one.difference_high,
        }
    return {name: round(value, NUM_DIGITS) if isinstance(value, float) else value for name, value in found.items()}


def format_forgetting(forgetting: Forgetting) -> str:
    """Say in a line or two what was forgotten."""
    most = int(forgetting.blocks["distance"].argmax())
    block, distance = forgetting.blocks["block"].iloc[most], forgetting.blocks["distance"].iloc[most]
    text = (
        f"on {forgetting.num_images} validation images the features' linear CKA with the pretrained ones is "
        f"{forgetting.cka:.3f}, and the source's output layer gives its old answer for "
        f"{forgetting.source_agreement:.1%}; weights moved by {forgetting.distance:.2%}, most in {block} "
        f"({distance:.2%})"
    )
    if forgetting.source is None:
        return text
    one = forgetting.source
    return (
        f"{text}; source accuracy {one.accuracy_before:.1%} before, {one.accuracy_after:.1%} after "
        f"({one.num_images} images)"
    )


def _ready(network: nn.Module, preprocessing: Preprocessing, device: torch.device) -> NormalisedNetwork:
    ready = NormalisedNetwork(network, preprocessing).eval().requires_grad_(False)
    return ready.to(device).to(memory_format=torch.channels_last)


def _outputs(
    networks: Sequence[nn.Module],
    ids: Sequence[str],
    path_of: LocateImage,
    preprocessing: Preprocessing,
    device: torch.device,
) -> list[Float32]:
    """What each network gives for every image; images are decoded once for all."""
    rows: list[list[Float32]] = [[] for _ in networks]
    with Progress(len(ids), desc="forgetting", unit="images") as progress:
        for chunk, images in decoded_batches(ids, path_of, preprocessing, BATCH_SIZE):
            for found, network in zip(rows, networks, strict=True):
                found.append(run_batch(network, images, BATCH_SIZE, device))
            progress.advance(len(chunk))
    return [np.concatenate(found) for found in rows]


def _own_name(name: str, known: State) -> str:
    """The name that a trunk's tensor has in its network, if it is one of the network's."""
    while name not in known and name.startswith(_TRUNKS_OWN):
        name = name.partition(".")[2]
    return name


def _block_of(name: str, blocks: Sequence[str]) -> str:
    fitting = [block for block in blocks if name.startswith(f"{block}.")]
    return max(fitting, key=len, default=name.rpartition(".")[0] or name)


def _square(value: Tensor) -> float:
    return float(value.double().square().sum())
