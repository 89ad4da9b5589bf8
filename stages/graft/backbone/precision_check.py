"""The check of bf16 on the user's own images: a sample of them is computed in bf16 and in fp32, and compared."""

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from stages.graft.backbone.runtime import Runtime
from stages.graft.core.errors import DataError
from stages.graft.images.crop import DECODER
from stages.graft.images.loading import LocateImage, read_batch
from stages.graft.images.location import ImageLocation, absolute_location
from stages.graft.images.preprocessing import Preprocessing
from stages.graft.storage.feature_store import Features
from stages.graft.storage.hashing import fingerprint_of
from stages.graft.storage.sealed import read_sealed, write_sealed

MEAN_COSINE, WORST_COSINE = 0.999, 0.995
"""Least cosine between features and the exact ones, on average and at worst, for a precision to be used."""

SAMPLE_SIZE = 32
"""Images in a sample."""

RuntimeIn = Callable[[Literal["bf16", "fp32"]], Runtime]
"""Makes the runtime of a network in a precision."""


@dataclass(frozen=True, kw_only=True)
class ImageSample:
    """Some of the images that a network is about to see."""

    ids: Sequence[str]
    """At most SAMPLE_SIZE, sorted."""
    locations: Sequence[ImageLocation]
    """Where each of them is."""


def sample_images(ids: Iterable[str], locate: LocateImage) -> ImageSample:
    """Take the images with the smallest ids.

    An id is a hash: the sample is as good as a random one, the same on every machine, and new images seldom change it.
    """
    smallest = heapq.nsmallest(SAMPLE_SIZE, ids)
    return ImageSample(ids=smallest, locations=[absolute_location(locate(id_)) for id_ in smallest])


def bf16_problem(
    runtime_in: RuntimeIn, backbone: Mapping[str, Any], preprocessing: Preprocessing, sample: ImageSample, folder: Path
) -> str | None:
    """Say how far a network's features of a sample in bf16 are from those in fp32; None when they agree.

    Args:
        runtime_in: the network's runtime in a precision.
        backbone: the record of its weights.
        preprocessing: how its images are prepared.
        sample: the images.
        folder: the result is kept here, for the next call.
    Raises:
        DataError: an image cannot be decoded; names its path.
    """
    made_from = {"backbone": backbone, "runtime": runtime_in("bf16").record, "ids": sample.ids, "decoder": DECODER}
    note = folder / f"{fingerprint_of(made_from)}.json"
    cosine = read_sealed(note)
    if cosine is None:
        bf16, fp32 = (_features(runtime_in(precision), preprocessing, sample) for precision in ("bf16", "fp32"))
        cosine = cosines(bf16, fp32)
        write_sealed(cosine, note)
    if agrees(cosine):
        return None
    found = f"cosine {cosine['mean']:.4f} on average, {cosine['worst']:.4f} at worst"
    return f"in bf16 its features of a sample of the images differ ({found})"


def cosines(features: Features, expected: Features) -> dict[str, float]:
    """Give the mean and the worst cosine between the rows of two arrays of features, shape (n, d)."""
    if features.shape != expected.shape:
        raise DataError(f"features of shape {features.shape}, torch gives {expected.shape}")
    norms = np.linalg.norm(features, axis=1) * np.linalg.norm(expected, axis=1)
    found = np.nan_to_num((features * expected).sum(axis=1) / np.maximum(norms, np.finfo(np.float32).tiny))
    return {"mean": round(float(found.mean()), 6), "worst": round(float(found.min()), 6)}


def agrees(cosine: Mapping[str, float]) -> bool:
    """Tell whether features are near enough to the exact ones."""
    return cosine["mean"] >= MEAN_COSINE and cosine["worst"] >= WORST_COSINE


def _features(runtime: Runtime, preprocessing: Preprocessing, sample: ImageSample) -> Features:
    """Compute the features of a sample, shape (n, d)."""
    compute, size = runtime.load(), int(runtime.record["batch_size"])
    locate = dict(zip(sample.ids, sample.locations, strict=True)).__getitem__
    batches = [sample.ids[start : start + size] for start in range(0, len(sample.ids), size)]
    rows = [compute(read_batch(ids, locate, preprocessing, size))[: len(ids)] for ids in batches]
    return np.concatenate(rows)
