"""The evidence for a model's heat maps, fitted to training images, and its trust, measured on validation images.

Letters: n images, c channels of a layer, k classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from stages.graft.backbone.extraction import num_workers
from stages.graft.backbone.runtime import Maps, Runtime
from stages.graft.core.errors import ParamsError
from stages.graft.core.progress import bar
from stages.graft.core.threads import in_threads
from stages.graft.data.split_names import TRAIN, VAL
from stages.graft.evaluation.map_trust import measure_trust
from stages.graft.heads.features import FeatureSet
from stages.graft.heads.head import Float32, Head
from stages.graft.heads.logistic import fit_path
from stages.graft.images.decode import Batch
from stages.graft.images.loading import LocateImage, read_batch
from stages.graft.images.preprocessing import Preprocessing
from stages.graft.metrics.classification import Labels, softmax
from stages.graft.model.heat_map import NO_EVIDENCE, Evidence

L2 = 100.0
"""Penalty of the classifiers, as in `fit_logistic`. On images of steel with boxes around the defects, 30 to 300 put the
maximum into a box equally often; with the penalty that gives the best accuracy, below 1, it was there less often."""

ROUNDING = 1e-2
"""Largest difference of equal averages, as a share of the largest one: in bf16, numbers have 8 bits."""

MAX_PER_CLASS, MAX_TRAIN = 50, 1000
"""Training images of a class, and in all, to which the evidence is fitted, at most; 20 of a class give maps as good."""


@dataclass(frozen=True, kw_only=True)
class MappedModel:
    """A model whose network gives its maps."""

    head: Head
    """From features to logits."""
    runtime: Runtime
    """Runs the network."""
    preprocessing: Preprocessing
    """How images are prepared."""
    locate: LocateImage
    """Finds the images."""
    known: Callable[[Sequence[str]], Float32] | None = None
    """Gives features (n, d) of n images that are at hand, so that the network need not run."""

    @property
    def batch_size(self) -> int:
        """Images in a batch."""
        return int(self.runtime.record["batch_size"])

    def read(self, ids: Sequence[str]) -> Batch:
        """Decode at most a batch of images into a batch."""
        return read_batch(ids, self.locate, self.preprocessing, self.batch_size)

    def run(self, ids: Sequence[str]) -> tuple[Batch, Float32, tuple[Maps, ...]]:
        """Give at most a batch of images as the network sees them, their features and maps."""
        n, batch = len(ids), self.read(ids)
        x, maps = self.runtime.load_maps()(batch)
        return batch[:n], x[:n], tuple(map_[:n] for map_ in maps)

    def answers(self, x: Float32) -> Labels:
        """Give the classes, shape (n,), that the head sees in features (n, d)."""
        return np.asarray(self.head.logits(x).argmax(axis=1), dtype=np.int64)

    def probabilities(self, squares: Batch) -> npt.NDArray[np.float64]:
        """Give the probabilities (n, k) of any number of squares."""
        size = self.batch_size
        rows = [self._rows(squares[start : start + size]) for start in range(0, len(squares), size)]
        return softmax(self.head.logits(np.concatenate(rows)))

    def _rows(self, squares: Batch) -> Float32:
        padding = np.zeros((self.batch_size - len(squares), *squares.shape[1:]), np.uint8)
        return self.runtime.load()(np.concatenate([squares, padding]))[: len(squares)]


def explain_model(model: MappedModel, splits: pd.DataFrame, num_images: int) -> Evidence:
    """Fit the evidence for a model's heat maps, and measure whether they can be trusted.

    Args:
        model: the model.
        splits: table with the columns id, label, split.
        num_images: validation images for the measurement, at most; fewer than 2 measure nothing.
    Returns:
        The evidence; without layers when the network gives no maps.
    """
    try:
        model.runtime.load_maps()
    except ParamsError:
        return NO_EVIDENCE
    evidence = fit_on_images(model, sample_ids(splits, TRAIN, MAX_PER_CLASS, MAX_TRAIN))
    ids = sample_ids(splits, VAL, num_images, num_images)
    if len(ids) < 2 or not evidence.weights:
        return evidence
    squares, heats, answers = _explained(model, evidence, ids)
    return replace(evidence, trust=measure_trust(squares, heats, answers, model.probabilities))


def fit_on_images(model: MappedModel, ids: Sequence[str]) -> Evidence:
    """Fit the evidence to training images.

    Where features are at hand and hold the averages of the maps, as those of pooled layers do, they are taken from
    there; otherwise the network runs.
    """
    first, *others = _chunks(ids, model.batch_size)
    _, x, maps = model.run(first)
    sides, columns = [map_.shape[2] for map_ in maps], [find_columns(x, average(map_)) for map_ in maps]
    found = [slice_ for slice_ in columns if slice_ is not None]
    if model.known is not None and len(found) == len(maps):
        x = model.known(ids)
        return fit_evidence([x[:, part] for part in found], sides, model.answers(x), len(model.head.classes))

    def averages(chunk: Sequence[str]) -> tuple[Float32, list[Float32]]:
        _, x, maps = model.run(chunk)
        return x, [average(map_) for map_ in maps]

    rest = bar(in_threads(averages, others, num_workers(model.runtime)), desc="explain", unit="batches")
    rows, layers = zip((x, [average(map_) for map_ in maps]), *rest, strict=True)
    joined = [np.concatenate(parts) for parts in zip(*layers, strict=True)]
    return fit_evidence(joined, sides, model.answers(np.concatenate(rows)), len(model.head.classes))


def average(maps: Maps) -> Float32:
    """Average maps (n, c, h, w) over all places, shape (n, c)."""
    return np.asarray(maps.mean(axis=(2, 3)))


def find_columns(x: Float32, averages: Float32) -> slice | None:
    """Find where features (n, d) hold a layer's averages (n, c), which another order of sums may have rounded."""
    tolerance = ROUNDING * np.abs(averages).max()
    num_channels = averages.shape[1]
    for start in np.flatnonzero((np.abs(x - averages[:, :1]) <= tolerance).all(axis=0)).tolist():
        part = x[:, start : start + num_channels]
        if part.shape == averages.shape and np.abs(part - averages).max() <= tolerance:
            return slice(start, start + num_channels)
    return None


def fit_evidence(averages: Sequence[Float32], sides: Sequence[int], answers: Labels, num_classes: int) -> Evidence:
    """Fit a classifier for each layer that imitates the model.

    Args:
        averages: of each layer's maps over all places, shape (n, c).
        sides: of each layer's maps.
        answers: the model's classes for these images, not their labels, shape (n,).
        num_classes: k.
    Returns:
        The evidence; without layers when the model gives fewer than two different answers.
    """
    known, rows = np.unique(answers, return_inverse=True)
    if len(known) < 2:
        return NO_EVIDENCE
    weights, logits = list[Float32](), np.zeros((len(answers), len(known)), np.float32)
    for x in averages:
        train = FeatureSet(ids=(), x=x, y=rows.astype(np.int64), classes=tuple(map(str, known)))
        head = next(fit_path(train, [L2], np.ones(len(known)))).head
        weight = np.zeros((num_classes, x.shape[1]), np.float32)
        weight[known] = head.layers[0][0]
        weights.append(weight)
        logits += head.logits(x)
    agreement = round(float((logits.argmax(axis=1) == rows).mean()), 6)
    return Evidence(weights=tuple(weights), sides=tuple(sides), agreement=agreement)


def sample_ids(splits: pd.DataFrame, name: str, per_class: int, in_all: int) -> list[str]:
    """Draw images of a split, as many of each class as its share allows, always the same ones.

    Args:
        splits: table with the columns id, label, split.
        name: the split.
        per_class: images of a class, at most.
        in_all: images of all classes, at most.
    """
    rows = splits[splits["split"] == name].sort_values("id")  # ids are hashes: their order is random
    rows = rows.assign(number=rows.groupby("label").cumcount())
    chosen = rows[rows["number"] < per_class].sort_values(["number", "id"])
    return [str(id_) for id_ in chosen["id"].head(in_all)]


def explanation_record(evidence: Evidence) -> dict[str, Any]:
    """Describe the evidence as JSON values."""
    trust = evidence.trust
    return {
        "num_layers": len(evidence.weights),
        "agreement": evidence.agreement,
        "num_images": trust.num_images,
        "num_better": trust.num_better,
        "share_better": round(trust.num_better / trust.num_images, 6) if trust.num_images else None,
        "own_score": trust.own_score,
        "other_score": trust.other_score,
        "is_trusted": trust.is_trusted,
    }


def format_explanation(evidence: Evidence) -> str:
    """Describe the evidence in one line."""
    trust = evidence.trust
    if not evidence.weights:
        return "no heat maps: the network gives no maps, or the model has only one answer"
    made = f"heat maps from {len(evidence.weights)} layers"
    if not trust.num_images:
        return f"{made}; not measured whether they can be trusted"
    verdict = "they can be trusted" if trust.is_trusted else "no better than chance: the page does not show them"
    return f"{made}; {trust.num_better} of {trust.num_images} beat the heat map of another image; {verdict}"


def _explained(model: MappedModel, evidence: Evidence, ids: Sequence[str]) -> tuple[Batch, Float32, Labels]:
    """Give images as the network sees them, with their heat maps and answers."""
    squares, heats, answers = list[Batch](), list[Float32](), list[Labels]()
    for chunk in _chunks(ids, model.batch_size):
        batch, x, maps = model.run(chunk)
        predicted = model.answers(x)
        squares.append(batch)
        heats.append(evidence.heat_maps(maps, predicted))
        answers.append(predicted)
    return np.concatenate(squares), np.concatenate(heats), np.concatenate(answers)


def _chunks(ids: Sequence[str], size: int) -> list[Sequence[str]]:
    return [ids[start : start + size] for start in range(0, len(ids), size)]
