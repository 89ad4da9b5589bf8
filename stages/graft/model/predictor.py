"""Classification of image files with a bundle: a batch at a time, in order, in bounded memory.

A file that is no image gives a row with the reason, and the others are still classified.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from stages.graft.backbone.extraction import num_workers
from stages.graft.backbone.runtime_choice import RuntimeChoice, choose_runtime
from stages.graft.backbone.weights import Weights
from stages.graft.core.errors import DataError
from stages.graft.core.memory import one_image
from stages.graft.core.threads import in_threads
from stages.graft.data.class_folder import read_address, read_file
from stages.graft.heads.head import Float32
from stages.graft.images.crop import decode_square
from stages.graft.images.decode import Batch
from stages.graft.images.location import NUM_READERS, ImageLocation, read_image_bytes
from stages.graft.model.bundle import Bundle, bundle_in, load_bundle
from stages.graft.model.decision import Answers, answer
from stages.graft.model.heat_map import Trust
from stages.graft.storage.cache_folder import store_folder
from stages.graft.storage.s3 import is_remote

T = TypeVar("T")

NUM_DIGITS = 6
"""Decimal digits of probabilities and distances."""

NOT_FINITE = "the network's output is not finite for this image"

ANSWER = ("label", "confidence", "unsure", "unknown", "distance")
"""Columns of a row, besides the file, the probabilities and the error."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageFile:
    """An image to be classified."""

    name: str
    """The user's name for it."""
    read: Callable[[], bytes]
    """Reads the whole file, in any thread; raises a DataError if it cannot be read."""
    address: str = ""
    """A path or s3://…, with which other machines can read it; empty if only this process can."""

    @staticmethod
    def at(location: ImageLocation) -> "ImageFile":
        """Describe the image at a location of the pipeline; it is read when it is needed."""
        read = partial(read_file, location) if isinstance(location, Path) else partial(read_image_bytes, location)
        return ImageFile(name=str(location), read=read)

    @staticmethod
    def at_address(address: str, name: str) -> "ImageFile":
        """Describe a file on disk or in S3; it is read when it is needed."""
        return ImageFile(name=name, read=partial(read_address, address), address=address)


@dataclass(frozen=True, kw_only=True, slots=True)
class Explained:
    """An answer with its heat map."""

    row: dict[str, Any]
    """As `Predictor.predict` gives it."""
    heat: Float32 | None
    """The heat map of the label, shape (s, s), over the square that the network sees; None for a damaged image, or when
    it was not asked for."""
    x: Float32 | None = None
    """Features, shape (d,); of no meaning for a damaged image, None when they were not kept."""


class Answering(Protocol):
    """Classifies image files, on this machine or on a cluster."""

    @property
    def columns(self) -> list[str]:
        """A row's columns, in order."""

    def predict(self, files: Iterable[ImageFile]) -> Iterator[dict[str, Any]]:
        """Classify images as `Predictor.predict` does."""


def load_predictor(folder: Path, choice: RuntimeChoice | None = None, batch_size: int | None = None) -> "Predictor":
    """Open a bundle and load its network.

    Args:
        folder: the bundle, a repository with one, or the folder of an MLflow model.
        choice: how to run the network; None for the runtime of the evaluation, which gives the same bits on the same
            kind of processor.
        batch_size: images in a batch; None for that of the evaluation. With another one, the last digits differ.
    Raises:
        DataError: there is no bundle, or a file of it is missing or damaged.
    """
    bundle = load_bundle(bundle_in(folder), batch_size)
    if choice is not None:
        runtime = choose_runtime(bundle.weights, choice, store_folder() / "networks")
        bundle = dataclasses.replace(bundle, runtime=runtime)
    return Predictor(bundle)


class Predictor:
    """Classifies image files with a bundle."""

    def __init__(self, bundle: Bundle) -> None:
        """Load the bundle's network."""
        self._bundle = bundle
        self.classes = bundle.head.classes
        self.preprocessing = bundle.weights.preprocessing
        self.max_pixels, self.runtime = bundle.max_pixels, bundle.runtime
        self.batch_size = int(bundle.runtime.record["batch_size"])
        self.columns = columns_of(bundle)
        self.runtime.load()

    def predict(self, files: Iterable[ImageFile]) -> Iterator[dict[str, Any]]:
        """Classify images.

        Args:
            files: any number, taken as they are needed.
        Returns:
            A row for each, in order: file, label (the likeliest class), confidence (its calibrated probability),
            unsure (the confidence is below the threshold), unknown (the image is out of distribution), distance,
            p_<class>, and error; for a damaged image only file and error, the rest is None.
        """
        return (one.row for one in self.answer_all(files))

    def answer_all(self, files: Iterable[ImageFile]) -> Iterator[Explained]:
        """Classify images as `predict` does, and keep their features."""
        for chunk in self._chunks(files, partial(self.answer_batch, with_maps=False)):
            yield from chunk

    def explain(self, files: Iterable[ImageFile]) -> Iterator[Explained]:
        """Classify images as `predict` does, and give the heat map of each answer, from the same pass of the network.

        Raises:
            ParamsError: the network gives no maps.
        """
        self.runtime.load_maps()
        for chunk in self._chunks(files, partial(self.answer_batch, with_maps=True)):
            yield from chunk

    @property
    def weights(self) -> Weights:
        """Give the network's weights, whose record says what its features are."""
        return self._bundle.weights

    @property
    def has_maps(self) -> bool:
        """Whether the model has heat maps."""
        return bool(self._bundle.evidence.weights)

    @property
    def trust(self) -> Trust:
        """Say whether the heat maps can be trusted on the images that the model was made with."""
        return self._bundle.evidence.trust

    def _chunks(self, files: Iterable[ImageFile], task: Callable[[Sequence[ImageFile]], T]) -> Iterator[T]:
        """Give a task's result for each batch of files, in order; several batches are worked on at once."""
        with threadpool_limits(1, "blas"):  # more threads take a fifth of the network's speed
            remaining = iter(files)
            chunks = iter(lambda: list(islice(remaining, self.batch_size)), [])
            yield from in_threads(task, chunks, num_workers(self.runtime))

    def answer_batch(self, files: Sequence[ImageFile], with_maps: bool) -> list[Explained]:
        """Classify at most a batch of images in this thread; errors are those of `explain`."""
        batch, errors = self._batch(files)
        x, maps = self.runtime.load_maps()(batch) if with_maps else (self.runtime.load()(batch), ())
        answers = self._answers(x)
        heats = self._bundle.evidence.heat_maps(maps, answers.predicted) if with_maps else None
        rows = self._rows(files, answers, errors)
        return [
            Explained(row=row, heat=None if heats is None or k in errors else heats[k], x=x[k])
            for k, row in enumerate(rows)
        ]

    def _batch(self, files: Sequence[ImageFile]) -> tuple[Batch, dict[int, str]]:
        """Decode images, and give the reasons of those that cannot be; they and the missing ones are black, since a
        row's bits depend on the batch's shape."""
        px = self.preprocessing.crop_px
        batch, errors = np.zeros((self.batch_size, px, px, 3), np.uint8), dict[int, str]()
        for number, pixels in enumerate(self._squares(files)):
            if isinstance(pixels, DataError):
                errors[number] = str(pixels)
            else:
                batch[number] = pixels
        return batch, errors

    def _answers(self, x: Float32) -> Answers:
        head, rule = self._bundle.head, self._bundle.rule
        if x.shape[1:] != (head.num_features,):
            raise DataError(
                f"the network gives {x.shape[1]} features, the head reads {head.num_features}: they are of two "
                "models; fetch the model again, or make it again with `dvc repro`"
            )
        with np.errstate(all="ignore"):  # rows that are not finite say so
            return answer(rule, x, head.logits(x))

    def _rows(self, files: Sequence[ImageFile], answers: Answers, errors: Mapping[int, str]) -> list[dict[str, Any]]:
        with np.errstate(all="ignore"):
            rows = list(_answer_rows(self.classes, answers))
        return [
            dict.fromkeys(self.columns) | {"file": file.name} | ({"error": errors[k]} if k in errors else row)
            for k, (file, row) in enumerate(zip(files, rows, strict=False))
        ]

    def _squares(self, files: Sequence[ImageFile]) -> Iterator[Batch | DataError]:
        """Decode images, or give the reason why one cannot be; files in S3 are fetched all at once."""
        any_remote = any(is_remote(file.address) for file in files)
        return in_threads(self._square, files, NUM_READERS) if any_remote else map(self._square, files)

    def _square(self, file: ImageFile) -> Batch | DataError:
        with one_image():
            try:
                return decode_square(file.read(), self.preprocessing, self.max_pixels)
            except DataError as error:
                return error


def columns_of(bundle: Bundle) -> list[str]:
    """Name the columns of a row, in order."""
    return ["file", *ANSWER, *map(probability_column, bundle.head.classes), "error"]


def probability_column(label: str) -> str:
    """Name the column of a class's probability."""
    return f"p_{label}"


def _answer_rows(classes: Sequence[str], answers: Answers) -> Iterator[dict[str, Any]]:
    columns, probabilities = list(map(probability_column, classes)), answers.probabilities.round(NUM_DIGITS)
    for row, k in enumerate(answers.predicted):
        if not (np.isfinite(answers.distance[row]) and np.isfinite(probabilities[row]).all()):
            yield {"unsure": True, "unknown": True, "error": NOT_FINITE}
            continue
        yield {
            "label": classes[k],
            "confidence": float(probabilities[row, k]),
            "unsure": bool(answers.unsure[row]),
            "unknown": bool(answers.unknown[row]),
            "distance": round(float(answers.distance[row]), NUM_DIGITS),
            **dict(zip(columns, probabilities[row].tolist(), strict=True)),
        }
