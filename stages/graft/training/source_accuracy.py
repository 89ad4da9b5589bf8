"""Accuracy of a network on labelled images of the source, its pretraining set, before and after fine-tuning.

Letters: n images, c classes of the source.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from stages.graft.backbone.network import NormalisedNetwork, load_network, run_batch
from stages.graft.backbone.providers import provider_of
from stages.graft.backbone.weights import Weights, graft_record
from stages.graft.core.errors import DataError
from stages.graft.core.progress import bar
from stages.graft.data.decoded_arrays import decoded_images
from stages.graft.data.open_source import open_source
from stages.graft.metrics.paired_comparison import PairedComparison, compare_paired
from stages.graft.storage.files import read_json

BATCH_SIZE = 32


@dataclass(frozen=True, kw_only=True)
class SourceImages:
    """Labelled images of the source."""

    path: str
    """`finetune.source_images`: a class folder, an archive of one, or a folder of such archives."""
    cache: Path
    """Folder of a temporary file with the decoded images."""


def check_source(weights: Weights, source: SourceImages) -> None:
    """Check, before hours of training, that the network can score the images of the source; decodes no image.

    Raises:
        DataError: the source does not exist or has no image, or the network does not know one of its classes.
    """
    source.cache.mkdir(parents=True, exist_ok=True)
    with open_source(source.path, source.cache) as opened:
        if not any(candidate.label and candidate.claims_to_be_image for candidate in opened.candidates):
            raise DataError(f"`finetune.source_images`: {source.path} holds no labelled image")
        _class_numbers(opened.classes, weights, load_network(weights))


def compare_on_source(
    before: NormalisedNetwork, after: NormalisedNetwork, weights: Weights, source: SourceImages, device: torch.device
) -> PairedComparison:
    """Compare two networks with the source's output layer on labelled images of the source.

    Images have the size at which the published accuracy of the weights was measured, if their record has it.

    Args:
        before: uint8 images (n, h, w, 3) to logits (n, c).
        after: the same network, fine-tuned.
        weights: weights of the network; their file names its classes.
        source: labelled images.
        device: device of both networks.
    Raises:
        DataError: the network does not know a class of the source.
    """
    with decoded_images(source.path, _source_px(weights), source.cache) as packed:
        y = _class_numbers(packed.classes, weights, before.network)[packed.y]
        logits = []
        for start in bar(range(0, len(packed.x), BATCH_SIZE), desc="forgetting: source images", unit="batches"):
            images = packed.x[start : start + BATCH_SIZE]
            logits.append([run_batch(network, images, BATCH_SIZE, device) for network in (before, after)])
    logits_before, logits_after = (np.concatenate(rows) for rows in zip(*logits, strict=True))
    return compare_paired(y, logits_before, logits_after)


def _source_px(weights: Weights) -> int:
    path = weights.path and weights.path.with_suffix(".json")
    record = read_json(path) if path and path.exists() else {}
    return int(record.get("validation_px", weights.preprocessing.crop_px))


def _class_numbers(classes: Sequence[str], weights: Weights, network: nn.Module) -> npt.NDArray[np.int64]:
    """Number of each class in the output layer: by the list in the weights' file, else in order of name."""
    output = provider_of(weights.name).output_layer(network)
    num_classes = len(network.state_dict()[f"{output}.weight"])
    listed = graft_record(weights.path).get("classes")
    if listed is None and len(classes) != num_classes:
        raise DataError(
            f"`finetune.source_images`: {len(classes)} classes, but the output layer of {weights.name} scores "
            f"{num_classes}, and its weights do not name them; give all classes, sorted by name in the same order"
        )
    names = list(classes if listed is None else listed)
    unknown = sorted(set(classes) - set(names))
    if unknown:
        raise DataError(
            f"`finetune.source_images`: {weights.name} was not pretrained on a class {unknown[0]!r} "
            f"({len(unknown)} unknown); its classes are {', '.join(names[:3])}, ..."
        )
    return np.array([names.index(label) for label in classes], dtype=np.int64)
