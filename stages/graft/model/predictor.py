"""What a model says about image files: decoded, computed and answered a batch at a time, in order, in bounded memory.

A file that is no image gives a row with the reason, never an end to the others.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from stages.graft.backbone.extraction import num_workers
from stages.graft.backbone.runtime import Compute, LoadedOnce
from stages.graft.backbone.runtime_choice import RuntimeChoice, choose_runtime
from stages.graft.core.errors import DataError
from stages.graft.core.threads import in_threads
from stages.graft.data.class_folder import read_address, read_file
from stages.graft.images.crop import decode_square
from stages.graft.images.location import NUM_READERS, ImageLocation, read_image_bytes
from stages.graft.model.bundle import Bundle, bundle_in, load_bundle
from stages.graft.model.decision import Answers, answer
from stages.graft.model.scoring import ScoredSet
from stages.graft.storage.cache_folder import store_folder
from stages.graft.storage.s3 import is_remote

NUM_DIGITS = 6
"""Of probabilities and distances."""

ANSWER = ("label", "confidence", "unsure", "unknown", "distance")
"""A row's columns beside the file, the probabilities and the error."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageFile:
    """An image to be classified."""

    name: str
    """As the user knows it."""
    read: Callable[[], bytes]
    """Reads the whole file, from any thread; a DataError says why it cannot."""
    address: str = ""
    """Where it is, a path or s3://…, for other machines to read it; empty where only this process can."""

    @staticmethod
    def at(place: ImageLocation, name: str | None = None) -> "ImageFile":
        """Name a file on disk, or an image in place; it is read when its turn comes."""
        read = partial(read_file, place) if isinstance(place, Path) else partial(read_image_bytes, place)
        return ImageFile(name=str(place) if name is None else name, read=read)

    @staticmethod
    def at_address(address: str, name: str) -> "ImageFile":
        """Name a file on disk or in S3; it is read when its turn comes."""
        return ImageFile(name=name, read=partial(read_address, address), address=address)

    @staticmethod
    def of(data: bytes, name: str = "") -> "ImageFile":
        """Take an image file's bytes from memory."""
        return ImageFile(name=name, read=lambda: data)


class Answering(Protocol):
    """What classifies image files: this machine, or a cluster."""

    @property
    def columns(self) -> list[str]:
        """A row's columns, in order."""

    def predict(self, files: Iterable[ImageFile]) -> Iterator[dict[str, Any]]:
        """As `Predictor.predict`."""


def load_predictor(folder: Path, choice: RuntimeChoice | None = None) -> "Predictor":
    """Open a bundle, or the one in a pipeline's root or in an MLflow model's folder, and load its network.

    Args:
        folder: where it is.
        choice: what is to run the network; None is what the model was evaluated with, and gives the same bits on the
            same kind of processor.
    Raises:
        DataError: there is no bundle, or it is not whole.
    """
    bundle = load_bundle(bundle_in(folder))
    if choice is None:
        return Predictor(bundle)
    runtime = choose_runtime(bundle.weights, choice, store_folder() / "networks")
    return Predictor(dataclasses.replace(bundle, runtime=runtime))


class Predictor:
    """A bundle at work."""

    def __init__(self, bundle: Bundle) -> None:
        """Load the network."""
        self._bundle = bundle
        self.classes = bundle.head.classes
        self.preprocessing = bundle.preprocessing
        self.batch_size = int(bundle.runtime.record["batch_size"])
        self.loaded_runtime = LoadedOnce(bundle.runtime)
        self.loaded_runtime.load()

    @property
    def columns(self) -> list[str]:
        """A row's columns, in order."""
        return columns_of(self._bundle)

    def predict(self, files: Iterable[ImageFile]) -> Iterator[dict[str, Any]]:
        """Classify images.

        Args:
            files: any number, taken as they are needed.
        Returns:
            A row for each, in order: file, label (the likeliest class), confidence (its calibrated probability),
            unsure (the confidence is below the threshold), unknown (like none of the classes), distance, p_<class>,
            and error; of a damaged image only file and error, the rest is None.
        """
        work = partial(_answer_chunk, self._bundle, self.loaded_runtime.load(), self.batch_size)
        with threadpool_limits(1, "blas"):  # the processors are the network's: with more, a fifth of its speed goes
            chunks = _chunks(_fetched(files, self.batch_size), self.batch_size)
            for rows in in_threads(work, chunks, num_workers(self._bundle.runtime)):
                yield from rows


def columns_of(bundle: Bundle) -> list[str]:
    """Name a row's columns, in order."""
    return ["file", *ANSWER, *map(probability_column, bundle.head.classes), "error"]


def probability_column(label: str) -> str:
    """Name the column of a class's probability."""
    return f"p_{label}"


def _fetched(files: Iterable[ImageFile], num_ahead: int) -> Iterator[ImageFile]:
    """Have images in S3 fetched many at a time, a batch ahead; other files are read where they are used."""
    rest = iter(files)
    for file in rest:
        if is_remote(file.address):
            yield from in_threads(_in_memory, chain((file,), rest), NUM_READERS, num_ahead)
        else:
            yield file


def _in_memory(file: ImageFile) -> ImageFile:
    if not is_remote(file.address):
        return file
    try:
        return ImageFile.of(file.read(), file.name)
    except DataError as error:
        return ImageFile(name=file.name, read=partial(_fail, error))


def _fail(error: DataError) -> bytes:
    raise error


def _chunks(files: Iterable[ImageFile], size: int) -> Iterator[list[ImageFile]]:
    rest = iter(files)
    while chunk := list(islice(rest, size)):
        yield chunk


def _answer_chunk(
    bundle: Bundle, compute: Compute, batch_size: int, files: Sequence[ImageFile]
) -> list[dict[str, Any]]:
    """Answer at most a batch of images, computed in one of the fixed size, as the pipeline computed its features."""
    p = bundle.preprocessing
    batch = np.zeros((batch_size, p.crop_px, p.crop_px, 3), np.uint8)
    errors: dict[int, str] = {}
    for row, file in enumerate(files):
        try:
            batch[row] = decode_square(file.read(), p.resize_px, p.crop_px, p.interpolation)
        except DataError as error:
            errors[row] = str(error)
    good = [row for row in range(len(files)) if row not in errors]
    if not good:
        return [_error_row(bundle, file.name, errors[row]) for row, file in enumerate(files)]
    x = compute(batch)[good]
    answers = answer(bundle.rule, ScoredSet(x=x, logits=bundle.head.logits(x), y=np.zeros(0, np.int64)))
    rows = dict(zip(good, _answer_rows(bundle.head.classes, answers), strict=True))
    return [
        {"file": file.name, **rows[row], "error": None} if row in rows else _error_row(bundle, file.name, errors[row])
        for row, file in enumerate(files)
    ]


def _answer_rows(classes: Sequence[str], answers: Answers) -> Iterator[dict[str, Any]]:
    probabilities = answers.probabilities.round(NUM_DIGITS)
    for row, k in enumerate(answers.predicted):
        shares: Mapping[str, float] = dict(
            zip(map(probability_column, classes), probabilities[row].tolist(), strict=True)
        )
        yield {
            "label": classes[k],
            "confidence": float(probabilities[row, k]),
            "unsure": bool(answers.unsure[row]),
            "unknown": bool(answers.unknown[row]),
            "distance": round(float(answers.distance[row]), NUM_DIGITS),
            **shares,
        }


def _error_row(bundle: Bundle, name: str, reason: str) -> dict[str, Any]:
    empty = dict.fromkeys([*ANSWER, *map(probability_column, bundle.head.classes)])
    return {"file": name, **empty, "error": reason}
