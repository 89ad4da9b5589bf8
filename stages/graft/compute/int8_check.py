"""The checks of int8 on the user's images: it is used only where the features and a head's accuracy stay the same."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from stages.graft.backbone.extraction import extract_missing
from stages.graft.backbone.precision_check import (
    INT8_LIMITS,
    ImageSample,
    agrees,
    format_cosine,
    sample_cosine,
    sample_images,
)
from stages.graft.backbone.runtime import Precision, Runtime
from stages.graft.backbone.runtime_choice import PRECISION_NOTES, ExtractParams, choose_runtime, int8_runtime
from stages.graft.backbone.weights import Weights
from stages.graft.data.image_groups import DUPLICATES, independent_groups
from stages.graft.data.image_locations import ImageLocations
from stages.graft.data.split_names import TRAIN, VAL
from stages.graft.data.splits import COLUMNS, read_splits
from stages.graft.heads.features import FeatureSet, read_features
from stages.graft.heads.head import Float32
from stages.graft.heads.lda import fit_lda
from stages.graft.metrics.classification import accuracy
from stages.graft.storage.cache_folder import feature_store_location
from stages.graft.storage.feature_store import FeatureStore
from stages.graft.storage.hashing import fingerprint_of
from stages.graft.storage.sealed import read_sealed, write_sealed

MAX_LOSS = 0.003
"""Share of the labelled images that a head may lose by int8."""

MAX_IMAGES = 1000
"""Labelled images that heads are fitted to and scored on, at most: each goes through the network in bf16 too."""

NUM_FOLDS = 5
"""Parts of the labelled images; each is scored by a head that was fitted to the others."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A network that is to run in int8."""

    weights: Weights
    """The network's."""
    choice: ExtractParams
    """What the parameters ask for."""
    locate: ImageLocations
    """Gives the location of every image that is about to be extracted."""
    calibration: ImageSample
    """Images that int8 is calibrated on."""
    networks: Path
    """Folder of the networks."""

    def runtime_in(self, precision: Precision) -> Runtime:
        """Give the runtime in a precision."""
        choice = self.choice.model_copy(update={"precision": precision})
        sample = self.calibration if precision == "int8" else sample_images(self.locate.ids, self.locate)
        return choose_runtime(self.weights, choice, self.networks, sample)


def check_int8(candidate: Candidate, splits: Path) -> tuple[bool, str]:
    """Tell whether a network is as good in int8, and describe what was found.

    Args:
        candidate: the network.
        splits: the splits table; of its images, those of training and validation are used with their labels.
    Raises:
        ParamsError: int8 cannot be used on this machine, as in `int8_runtime`.
        DataError: an image cannot be decoded.
    """
    weights, notes = candidate.weights, candidate.networks.parent / PRECISION_NOTES
    int8 = int8_runtime(weights, candidate.choice, candidate.networks, candidate.calibration)
    if isinstance(int8, str):
        return False, int8
    sample = _unseen(candidate)
    cosine = sample_cosine(("int8", candidate.runtime_in), weights.to_record(), weights.preprocessing, sample, notes)
    if not agrees(cosine, INT8_LIMITS):
        return False, f"its features of a sample of the images differ ({format_cosine(cosine)})"
    images = labelled_images(splits)
    if images is None:
        return False, "there are too few labelled images to check it on"
    runtimes = {"int8": int8, "bf16": candidate.runtime_in("auto")}
    found = _accuracies(candidate, runtimes, images, notes)
    line = (
        f"cross-validated on {len(images.y)} training and validation images, a head finds {found['int8']:.1%}, in "
        f"{runtimes['bf16'].record['precision']} {found['bf16']:.1%}; {format_cosine(cosine)}"
    )
    return found["int8"] >= found["bf16"] - MAX_LOSS, line


def _unseen(candidate: Candidate) -> ImageSample:
    """Take images on which the network was not calibrated; where there are none, some of those."""
    sample, seen = sample_images(candidate.locate.ids, candidate.locate), set(candidate.calibration.ids)
    unseen = [id_ for id_ in sample.ids if id_ not in seen] or sample.ids
    return ImageSample(ids=unseen, locations=[candidate.locate(id_) for id_ in unseen])


def labelled_images(splits: Path) -> FeatureSet | None:
    """List images of training and validation, without features yet; None where no image could be left out.

    Of many, those with the smallest ids are taken: ids are hashes, and a few new images change few of them.
    """
    table = read_splits(splits, (*COLUMNS, "group", DUPLICATES))
    table = table.assign(unit=independent_groups(table))
    table = table[table["split"].isin([TRAIN, VAL])].sort_values("id").head(MAX_IMAGES)
    num_units = table.groupby("label")["unit"].nunique()
    if len(num_units) < 2 or num_units.max() < 2:
        return None
    classes = tuple(sorted(num_units.index))
    return FeatureSet(
        ids=tuple(table["id"]),
        x=np.zeros((len(table), 0), np.float32),
        y=np.searchsorted(np.array(classes), table["label"].to_numpy(dtype=str)).astype(np.int64),
        classes=classes,
        groups=tuple(table["unit"].astype(str)),
    )


def _accuracies(
    candidate: Candidate, runtimes: Mapping[str, Runtime], images: FeatureSet, notes: Path
) -> dict[str, float]:
    """Give the cross-validated accuracy of a head by the name of each runtime, kept for the next call."""
    made_from = {
        "backbone": candidate.weights.to_record(),
        "runtimes": {name: runtime.record for name, runtime in runtimes.items()},
        "images": [images.ids, images.y.tolist(), images.groups],
        "decoder": candidate.locate.decoder,
    }
    note = notes / f"{fingerprint_of(made_from)}.json"
    found = read_sealed(note)
    if found is None:
        features = partial(_features, candidate, ids=images.ids)
        found = {name: head_accuracy(images, features(runtime)) for name, runtime in runtimes.items()}
        write_sealed(found, note)
    return found


def head_accuracy(images: FeatureSet, x: Float32) -> float:
    """Give the accuracy of linear discriminants, cross-validated over images (n) with features x, shape (n, d)."""
    labelled = FeatureSet(ids=images.ids, x=x, y=images.y, classes=images.classes, groups=images.groups)
    nothing = FeatureSet(ids=(), x=x[:0], y=images.y[:0], classes=images.classes)
    _, _, held_out = fit_lda(labelled, nothing, np.ones(len(images.classes)), NUM_FOLDS)
    return round(accuracy(held_out.logits.argmax(axis=1), held_out.y), 6)


def _features(candidate: Candidate, runtime: Runtime, ids: Sequence[str]) -> Float32:
    """Give the features of images, through the store, where extraction finds them again."""
    locate, weights = candidate.locate, candidate.weights
    store = FeatureStore(feature_store_location(), {**weights.to_record(), **runtime.record, "decoder": locate.decoder})
    extract_missing(ids, locate, store, weights.preprocessing, runtime)
    with TemporaryDirectory(prefix="graft-") as folder:
        path = Path(folder) / "features.safetensors"
        store.pack(ids, path, {})
        return read_features(path)[1]
