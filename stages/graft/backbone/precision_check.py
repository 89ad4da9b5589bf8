"""The check of bf16 and int8 on the user's own images: a sample of them is computed so and in fp32, and compared."""

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


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Least cosine between features and the exact ones for a precision to be used."""

    mean: float
    """On average."""
    worst: float
    """At worst."""


BF16_LIMITS = Limits(mean=0.999, worst=0.995)

INT8_LIMITS = Limits(mean=0.998, worst=0.985)
"""On steel and on clothes, the bundled networks are above, with 0.9987 and 0.995 or more, and lose no accuracy beyond
chance (reports/int8.csv). With all parts in int8, the default network is below: 0.990 and 0.91 on steel, where it lost
0.3 points, 0.997 and 0.987 on clothes, where it lost 0.8."""

SAMPLE_SIZE = 32
"""Images in a sample."""

NUM_CALIBRATION = 96
"""Images that a network is calibrated on for int8."""

Checked = Literal["bf16", "int8"]
"""Precisions that are checked."""

RuntimeIn = Callable[[Checked | Literal["fp32"]], Runtime]
"""Makes the runtime of a network in a precision."""


@dataclass(frozen=True, kw_only=True)
class ImageSample:
    """Some of the images that a network is about to see."""

    ids: Sequence[str]
    """Those that bf16 is checked on are at most SAMPLE_SIZE; sorted."""
    locations: Sequence[ImageLocation]
    """Where each of them is."""


def sample_images(ids: Iterable[str], locate: LocateImage) -> ImageSample:
    """Take the images with the smallest ids.

    An id is a hash: the sample is as good as a random one, the same on every machine, and new images seldom change it.
    """
    smallest = heapq.nsmallest(SAMPLE_SIZE, ids)
    return ImageSample(ids=smallest, locations=[absolute_location(locate(id_)) for id_ in smallest])


def calibration_images(ids: Sequence[str], locate: LocateImage, earlier: Sequence[str]) -> ImageSample:
    """Take the images to calibrate int8 on; those of `sample_images` are left for its check.

    They are the earlier ones while all of these are there, so that a few new images change no feature; else those with
    the smallest ids after those of `sample_images`, of a small set three quarters of it.
    """
    try:
        if earlier:
            return ImageSample(ids=list(earlier), locations=[locate(id_) for id_ in earlier])
    except KeyError:  # an image has gone
        pass
    smallest = heapq.nsmallest(SAMPLE_SIZE + NUM_CALIBRATION, ids)
    chosen = smallest[min(SAMPLE_SIZE, len(smallest) // 4) :]
    return ImageSample(ids=chosen, locations=[locate(id_) for id_ in chosen])


def bf16_problem(
    runtime_in: RuntimeIn, backbone: Mapping[str, Any], preprocessing: Preprocessing, sample: ImageSample, folder: Path
) -> str | None:
    """Say how far a network's features of a sample in bf16 are from those in fp32; None when they agree.

    Arguments and errors are those of `sample_cosine`, but for the precision.
    """
    cosine = sample_cosine(("bf16", runtime_in), backbone, preprocessing, sample, folder)
    if agrees(cosine):
        return None
    return f"in bf16 its features of a sample of the images differ ({format_cosine(cosine)})"


def sample_cosine(
    checked: tuple[Checked, RuntimeIn],
    backbone: Mapping[str, Any],
    preprocessing: Preprocessing,
    sample: ImageSample,
    folder: Path,
) -> dict[str, float]:
    """Compare a network's features of a sample in a precision with those in fp32, by `cosines`.

    Args:
        checked: the precision, and the network's runtime in a precision.
        backbone: the record of its weights.
        preprocessing: how its images are prepared.
        sample: the images.
        folder: the result is kept here, for the next call.
    Raises:
        DataError: an image cannot be decoded; names its path.
    """
    precision, runtime_in = checked
    made_from = {"backbone": backbone, "runtime": runtime_in(precision).record, "ids": sample.ids, "decoder": DECODER}
    note = folder / f"{fingerprint_of(made_from)}.json"
    cosine = read_sealed(note)
    if cosine is None:
        features, exact = (_features(runtime_in(name), preprocessing, sample) for name in (precision, "fp32"))
        cosine = cosines(features, exact)
        write_sealed(cosine, note)
    return cosine


def format_cosine(cosine: Mapping[str, float]) -> str:
    """Describe the cosines of a sample."""
    return f"cosine {cosine['mean']:.4f} on average, {cosine['worst']:.4f} at worst"


def cosines(features: Features, expected: Features) -> dict[str, float]:
    """Give the mean and the worst cosine between the rows of two arrays of features, shape (n, d)."""
    if features.shape != expected.shape:
        raise DataError(f"features of shape {features.shape}, torch gives {expected.shape}")
    norms = np.linalg.norm(features, axis=1) * np.linalg.norm(expected, axis=1)
    found = np.nan_to_num((features * expected).sum(axis=1) / np.maximum(norms, np.finfo(np.float32).tiny))
    return {"mean": round(float(found.mean()), 6), "worst": round(float(found.min()), 6)}


def agrees(cosine: Mapping[str, float], limits: Limits = BF16_LIMITS) -> bool:
    """Tell whether features are near enough to the exact ones."""
    return cosine["mean"] >= limits.mean and cosine["worst"] >= limits.worst


def _features(runtime: Runtime, preprocessing: Preprocessing, sample: ImageSample) -> Features:
    """Compute the features of a sample, shape (n, d)."""
    compute, size = runtime.load(), int(runtime.record["batch_size"])
    locate = dict(zip(sample.ids, sample.locations, strict=True)).__getitem__
    batches = [sample.ids[start : start + size] for start in range(0, len(sample.ids), size)]
    rows = [compute(read_batch(ids, locate, preprocessing, size))[: len(ids)] for ids in batches]
    return np.concatenate(rows)
