"""The training images nearest to an image, in the model's standardised features.

Letters: n training images, d features.
"""

import sys
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from stages.graft.core.errors import DataError, GraftError
from stages.graft.data.image_locations import ImageLocations, image_locations
from stages.graft.heads.features import FeatureSet, load_features, read_backbone_record, select_rows
from stages.graft.heads.head import Float32
from stages.graft.heads.standardisation import fit_standardisation
from stages.graft.images.location import read_image_bytes
from stages.graft.images.preprocessing import Preprocessing
from stages.graft.metrics.sampling import stratified_rows
from stages.graft.model.predictor import ImageFile, Predictor
from stages.graft.report.gallery import make_thumbnail
from stages.graft.storage.hashing import fingerprint_of

MAX_IMAGES, MAX_COMPUTED = 20_000, 1_000
"""Training images that are compared, and those of them whose features may be computed at the start; of more, as many of
each class as fit."""

NUM_THUMBNAILS = 512
"""Thumbnails kept in memory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Neighbour:
    """A training image that is near."""

    id: str
    """SHA-256 of its bytes, hex."""
    label: str
    """Its class."""
    distance: float
    """Euclidean distance of the standardised features, divided by the square root of d."""


class TrainingImages:
    """Training images of a project, to compare with."""

    def __init__(self, images: FeatureSet, locate: ImageLocations, preprocessing: Preprocessing) -> None:
        """Standardise features; `locate` finds the image of an id, and `preprocessing` is the network's."""
        self._ids, self._labels = images.ids, [images.classes[k] for k in images.y]
        self._standardisation = fit_standardisation(images.x)
        self._z = self._scaled(images.x)
        self._squares = np.square(self._z).sum(axis=1)
        self._known, self._locate, self._preprocessing = frozenset(images.ids), locate, preprocessing
        self.thumbnail = lru_cache(NUM_THUMBNAILS)(self._thumbnail)
        """As `_thumbnail`, with a memory."""

    def __len__(self) -> int:
        """Count the images."""
        return len(self._ids)

    def nearest(self, x: Float32, number: int) -> list[Neighbour]:
        """Give the training images nearest to one with the features x, shape (d,), the nearest first."""
        z = self._scaled(x[None])[0]
        squared = self._squares - 2 * (self._z @ z) + z @ z
        rows = np.argsort(squared, kind="stable")[:number]
        return [
            Neighbour(id=self._ids[k], label=self._labels[k], distance=float(np.sqrt(max(0.0, squared[k]))))
            for k in rows
        ]

    def _scaled(self, x: Float32) -> Float32:
        return np.asarray(self._standardisation.apply(x) / np.sqrt(x.shape[1]), dtype=np.float32)

    def _thumbnail(self, id_: str) -> bytes | None:
        """Give a training image as a small JPEG; None for another id, or an image that is not there any more."""
        if id_ not in self._known:
            return None
        try:
            return make_thumbnail(read_image_bytes(self._locate(id_)), self._preprocessing)
        except (GraftError, OSError):
            return None


def find_training_images(bundle: Path, predictor: Predictor) -> TrainingImages | None:
    """Find the training images of the project that a bundle lies in, or else of the working folder.

    Their features are read; those of a fine-tuned network are computed. None when there is no project with these
    images, or its classes are others.
    """
    for root in (bundle.resolve().parents[1], Path()):
        splits = root / "data/splits.csv"
        if splits.exists() and (root / "data/features.safetensors").exists():
            try:
                return _read(root, predictor)
            except DataError as error:
                print(f"serve: no training images are shown: {error}", file=sys.stderr)
    return None


def _read(root: Path, predictor: Predictor) -> TrainingImages:
    splits, features = root / "data/splits.csv", root / "data/features.safetensors"
    [train] = load_features(features, splits, "train")
    if train.classes != tuple(predictor.classes):
        raise DataError(f"the classes of {splits} are not the model's")
    locate = image_locations(splits, root / "data/images")
    is_same = fingerprint_of(read_backbone_record(features)) == fingerprint_of(predictor.weights.to_record())
    train = select_rows(train, stratified_rows(train.y, MAX_IMAGES if is_same else MAX_COMPUTED))
    if not is_same:
        print(f"serve: computing the features of {len(train.ids)} training images", file=sys.stderr)
        explained = predictor.answer_all(ImageFile.at(locate(id_)) for id_ in train.ids)
        train = replace(train, x=np.stack([one.x for one in explained if one.x is not None]))
    return TrainingImages(train, locate, predictor.preprocessing)
