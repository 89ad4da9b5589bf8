"""Images to features: rows the store has are reused, the others go through the backbone in batches of one fixed shape.

Letters: n images, d features.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from stages.graft.errors import DataError
from stages.graft.images import DECODER, Batch, decode, resize_and_crop
from stages.graft.preprocessing import Preprocessing
from stages.graft.progress import Progress
from stages.graft.store import Features, FeatureStore
from stages.graft.threads import in_threads
from stages.graft.weights import Weights

MAX_ROWS_PER_FRAGMENT = 4096
MAX_SECONDS_PER_FRAGMENT = 20.0
"""What a killed extraction loses at most."""

BATCHES_AHEAD = 4
"""Batches decoded before the network asks for them: bounds the memory."""

PathOf = Callable[[str], Path]


def runtime_record(weights: Weights, batch_size: int, device: torch.device) -> dict[str, Any]:
    """Everything that can change a bit of a feature: the store's fingerprint is its hash."""
    cuda = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        **weights.record(),
        "decoder": DECODER,
        "runtime": f"torch {torch.__version__}",
        "processor": cuda or f"cpu {torch.backends.cpu.get_cpu_capability()}",
        "threads": torch.get_num_threads(),  # sums are cut differently for another number
        "precision": "fp32",
        "batch_size": batch_size,
    }


def extract_missing(
    ids: Sequence[str],
    path_of: PathOf,
    load_trunk: Callable[[], nn.Module],
    store: FeatureStore,
    preprocessing: Preprocessing,
    batch_size: int,
    device: torch.device,
) -> int:
    """Compute the rows the store lacks and add them, a fragment at a time.

    Args:
        ids: the images wanted.
        path_of: where an image's file is.
        load_trunk: builds the feature extractor; called only when a row is missing.
        store: where rows are kept.
        preprocessing: resize and crop (the trunk itself normalises).
        batch_size: images a batch; the last one is padded, since a row's bits depend on the batch's shape.
        device: where the network runs.
    Returns:
        How many rows were computed.
    Raises:
        DataError: an image cannot be decoded any more; names its path.
    """
    missing = store.missing(ids)
    if not missing:
        return 0
    trunk = load_trunk().to(device)
    pending_ids, pending_rows, since = list[str](), list[Features](), time.monotonic()
    with Progress(len(missing), desc="extract", unit="images") as progress:
        for batch_ids, images in decoded_batches(missing, path_of, preprocessing, batch_size):
            pending_ids += batch_ids
            pending_rows.append(run_batch(trunk, images, batch_size, device))
            progress.advance(len(batch_ids))
            if len(pending_ids) >= MAX_ROWS_PER_FRAGMENT or time.monotonic() - since > MAX_SECONDS_PER_FRAGMENT:
                store.add(pending_ids, np.concatenate(pending_rows))
                pending_ids, pending_rows, since = [], [], time.monotonic()
    if pending_ids:
        store.add(pending_ids, np.concatenate(pending_rows))
    return len(missing)


def run_batch(trunk: nn.Module, images: Batch, batch_size: int, device: torch.device) -> Features:
    """Compute features of at most `batch_size` images, uint8 of shape (n, h, w, 3), in one batch of exactly that size.

    Returns:
        shape (n, d), float32.
    """
    padding = np.zeros((batch_size - len(images), *images.shape[1:]), np.uint8)
    with torch.inference_mode():
        batch = torch.from_numpy(np.concatenate([images, padding])).to(device)
        features: Features = trunk(batch).float().cpu().numpy()[: len(images)]
    return features.reshape(len(images), -1)


def read_image(path: Path, preprocessing: Preprocessing) -> Batch:
    """Decode one file to the network's input size.

    Returns:
        shape (crop_px, crop_px, 3), uint8.
    Raises:
        DataError: the file is missing or cannot be decoded.
    """
    try:
        image = decode(path.read_bytes())
    except (DataError, FileNotFoundError) as error:
        raise DataError(f"{path}: {error}; `dvc checkout` or `dvc repro ingest` brings it back") from None
    p = preprocessing
    return resize_and_crop(image, p.resize_px, p.crop_px, p.interpolation)


def decoded_batches(
    ids: Sequence[str], path_of: PathOf, preprocessing: Preprocessing, batch_size: int
) -> Iterator[tuple[list[str], Batch]]:
    """Read images in the order given, a few batches ahead of whoever consumes them; the last batch may be short."""
    images = in_threads(lambda id_: read_image(path_of(id_), preprocessing), ids, num_ahead=BATCHES_AHEAD * batch_size)
    for start in range(0, len(ids), batch_size):
        chunk = list(ids[start : start + batch_size])
        yield chunk, np.stack([next(images) for _ in chunk])
