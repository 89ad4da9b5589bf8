"""Fine-tuning on many small draws of one data set, with the images and the frozen part's output in memory.

Letters: n images, d features, c classes.
"""

import copy
import hashlib
import itertools
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from stages.graft.backbone.network import choose_device
from stages.graft.backbone.weights import Weights
from stages.graft.core.threads import in_threads
from stages.graft.data.decoded_arrays import labelled_candidates
from stages.graft.data.open_source import open_source
from stages.graft.heads.class_weights import class_weights
from stages.graft.heads.features import FeatureSet
from stages.graft.heads.fitting import fit_head
from stages.graft.heads.head import Float32, Head
from stages.graft.heads.head_params import TrainHeadParams
from stages.graft.images.augmentation import view
from stages.graft.images.crop import decode_square
from stages.graft.images.decode import Batch
from stages.graft.images.preprocessing import Preprocessing
from stages.graft.metrics.classification import Labels, log_losses
from stages.graft.model.classifier import head_from_module, head_module
from stages.graft.storage.arrays import read_arrays, write_arrays
from stages.graft.storage.cache_folder import store_folder
from stages.graft.storage.hashing import fingerprint_of
from stages.graft.training.activation_cache import LabelledImages
from stages.graft.training.finetune_loop import TrainingSetup, finetune
from stages.graft.training.finetune_params import FinetuneParams
from stages.graft.training.head_refit import refit_head
from stages.graft.training.precision import trains_in_bf16
from stages.graft.training.trainable_network import trainable_network

BATCH_SIZE = 16
"""Images per batch where nothing is trained."""

VIEW_SEED = 0
"""Seed of the views, which all trials share."""


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """A labelled set in memory."""

    ids: tuple[str, ...]
    """SHA-256 of each image's bytes, hex, n of them, sorted."""
    x: Batch
    """Images, shape (n, h, h, 3), uint8."""
    y: Labels
    """Class indices, shape (n,)."""
    classes: tuple[str, ...]
    """Class names, sorted."""


@dataclass(frozen=True, kw_only=True)
class Draw:
    """Rows of one draw."""

    train: Labels
    """Rows of the training images."""
    val: Labels
    """Rows of the images that choose."""
    test: Labels
    """All other rows, held out."""


def read_images(source: str, preprocessing: Preprocessing, cache: Path) -> ImageSet:
    """Decode the labelled images of a source, as `open_source` takes it; identical files count once."""
    cache.mkdir(parents=True, exist_ok=True)
    with open_source(source, cache) as opened:
        candidates = labelled_candidates(opened)
        files = {hashlib.sha256(data).hexdigest(): (data, c.label) for c in candidates for data in [c.read()]}
    ids = tuple(sorted(files))
    squares = in_threads(lambda id_: decode_square(files[id_][0], preprocessing), ids)
    classes = tuple(sorted({label for _, label in files.values()}))
    y = np.array([classes.index(files[id_][1]) for id_ in ids], np.int64)
    return ImageSet(ids=ids, x=np.stack(list(squares)), y=y, classes=classes)


def draw_images(y: Labels, num_train: int, num_val: int, seed: int) -> Draw:
    """Draw so many training and validation images of each class; all others are held out."""
    order = np.random.default_rng(seed).permutation(len(y))
    by_class = [order[y[order] == k] for k in np.unique(y)]
    parts = [np.split(rows, [num_train, num_train + num_val]) for rows in by_class]
    train, val, test = (np.sort(np.concatenate(part)) for part in zip(*parts, strict=True))
    return Draw(train=train, val=val, test=test)


class InputsInMemory:
    """Inputs of the trained part of a network, for every image and view of a set."""

    def __init__(self, ids: Sequence[str], tensors: Mapping[int | None, tuple[Tensor, ...]], batch_size: int) -> None:
        self._row = {id_: row for row, id_ in enumerate(ids)}
        self._tensors, self._batch_size = tensors, batch_size

    def batches(self, ids: Sequence[str], view_number: int | None) -> Iterator[tuple[Tensor, ...]]:
        """As `Inputs.batches`."""
        for start in range(0, len(ids), self._batch_size):
            rows = torch.tensor([self._row[id_] for id_ in ids[start : start + self._batch_size]])
            yield tuple(tensor[rows.to(tensor.device)] for tensor in self._tensors[view_number])


class Trials:
    """Trainings with one setting on many draws of a set."""

    def __init__(
        self, images: ImageSet, weights: Weights, params: FinetuneParams, head_params: TrainHeadParams
    ) -> None:
        """Compute the frozen part's output for every image and view, and the features of the pretrained network."""
        self._images, self._params, self._head_params = images, params, head_params
        self._weights, self._device = weights, choose_device("auto")
        no_head = Head(kind="logistic", classes=images.classes, layers=())
        self._network = trainable_network(weights, no_head, params.boundary, self._device)
        self._start = copy.deepcopy(self._network.classifier.backbone.state_dict())
        numbers = (None, *range(params.num_views or params.epochs))
        tensors = {number: self._inputs_of(number) for number in numbers}
        self._inputs = InputsInMemory(images.ids, tensors, params.batch_size)
        self._frozen = self._features()

    def run(self, num_train: int, num_val: int, seed: int) -> dict[str, Any]:
        """Train on a draw; compare the network, with the trained and with a new head, with the pretrained one."""
        draw = draw_images(self._images.y, num_train, num_val, seed)
        start = time.perf_counter()
        train, val = (self._set(rows, self._frozen) for rows in (draw.train, draw.val))
        head = fit_head(self._head_params, train, val, _quiet).head
        setup = self._setup(draw, head, seed)
        finetune(setup, None, _quiet)
        trained = head_from_module(setup.network.head, head)
        refitted = refit_head(setup, self._head_params, self._images.classes)[0]
        row = {"seconds": round(time.perf_counter() - start, 2), "num_val": len(draw.val), "num_test": len(draw.test)}
        tuned = self._features()
        for name, rows in (("val", draw.val), ("test", draw.test)):
            before, y = head.logits(self._frozen[rows]), self._images.y[rows]
            row |= _scores(f"{name}_frozen", before, before, y)
            row |= _scores(f"{name}_trained", before, trained.logits(tuned[rows]), y)
            row |= _scores(f"{name}_refitted", before, refitted.logits(tuned[rows]), y)
        return row

    def _setup(self, draw: Draw, head: Head, seed: int) -> TrainingSetup:
        """Set the network back to its pretrained weights, with a head."""
        network = self._network.classifier
        network.backbone.load_state_dict(self._start)
        network.head = head_module(head).to(next(network.backbone.parameters()).device)
        images, ids = self._images, np.array(self._images.ids)
        train, val = (LabelledImages(ids=ids[rows].tolist(), y=images.y[rows]) for rows in (draw.train, draw.val))
        depths = defaultdict(int, self._network.depths)  # 0 for the head
        weights = class_weights(train.y, images.classes, self._params.class_weight)
        params = self._params.model_copy(update={"seed": seed})
        return TrainingSetup(
            network=network, depths=depths, inputs=self._inputs, train=train, val=val, class_weights=weights,
            params=params, in_bf16=trains_in_bf16(network, params.precision, self._device),
        )  # fmt: skip

    def _features(self) -> Float32:
        """Compute features of all images, in the order of the set, with the network's present weights."""
        network = self._network.classifier.backbone.eval()
        with torch.inference_mode():
            batches = self._inputs.batches(self._images.ids, None)
            rows = [network(*inputs).flatten(1).cpu().numpy() for inputs in batches]
        return np.concatenate(rows)

    def _set(self, rows: Labels, features: Float32) -> FeatureSet:
        ids = tuple(self._images.ids[row] for row in rows)
        return FeatureSet(ids=ids, x=features[rows], y=self._images.y[rows], classes=self._images.classes)

    def _inputs_of(self, number: int | None) -> tuple[Tensor, ...]:
        """Compute the inputs of one view of all images, or read them from the store."""
        images, params = self._images, self._params
        if self._network.frozen is None:
            return (torch.from_numpy(np.stack(list(self._views(number)))).to(self._device),)
        key: dict[str, Any] = {"weights": self._weights.to_record(), "boundary": params.boundary, "view": number}
        key |= {"preset": params.augmentation, "ids": images.ids, "device": str(self._device)}
        path = store_folder() / "compare_finetuning" / f"{fingerprint_of(key)}.safetensors"
        if not path.exists():
            outputs = zip(*self._through_frozen(self._network.frozen, number), strict=True)
            write_arrays({str(k): np.concatenate(parts) for k, parts in enumerate(outputs)}, path, {})
        arrays = read_arrays(path)
        return tuple(torch.from_numpy(arrays[name]).to(self._device) for name in sorted(arrays))

    def _through_frozen(self, frozen: nn.Module, number: int | None) -> Iterator[tuple[npt.NDArray[np.float32], ...]]:
        views = self._views(number)
        while batch := list(itertools.islice(views, BATCH_SIZE)):
            with torch.no_grad():
                outputs = frozen(torch.from_numpy(np.stack(batch)).to(self._device))
            yield tuple(tensor.cpu().contiguous().numpy() for tensor in outputs)

    def _views(self, number: int | None) -> Iterator[Batch]:
        images, preset = self._images, self._params.augmentation

        def draw(row: int) -> Batch:
            return images.x[row] if number is None else view(images.x[row], preset, VIEW_SEED, images.ids[row], number)

        return in_threads(draw, range(len(images.ids)))


def _scores(name: str, before: Float32, after: Float32, y: Labels) -> dict[str, Any]:
    """Count what is right, gained and lost, and describe the differences in log loss."""
    was_right, is_right = before.argmax(axis=1) == y, after.argmax(axis=1) == y
    change = log_losses(after, y) - log_losses(before, y)
    return {
        f"{name}_right": int(is_right.sum()),
        f"{name}_gained": int((is_right & ~was_right).sum()),
        f"{name}_lost": int((was_right & ~is_right).sum()),
        f"{name}_log_loss": round(float(log_losses(after, y).mean()), 6),
        f"{name}_change": round(float(change.mean()), 6),
        f"{name}_change_std": round(float(change.std(ddof=1)), 6),
    }


def _quiet(*_: object) -> None:
    """Report nothing."""
