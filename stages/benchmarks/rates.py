"""How many images a second: the usual torchvision loop, the same with its best flags, Graft, and what bounds Graft."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from stages.graft.backbone.extraction import extract_missing, rows_of
from stages.graft.backbone.network import load_backbone
from stages.graft.backbone.runtime import Compute, LoadedOnce, Runtime
from stages.graft.backbone.weights import Weights
from stages.graft.core.threads import in_threads, num_cpus
from stages.graft.images.decode import Batch
from stages.graft.images.loading import LocateImage, read_batch
from stages.graft.images.preprocessing import Preprocessing
from stages.graft.model.predictor import ImageFile, Predictor
from stages.graft.model.row_files import csv_rows
from stages.graft.storage.feature_store import FeatureStore

LOOP_BATCH = 32

NUM_COMPARED = 48
"""Images whose features are compared with torch's."""

NUM_TURNS = 3
"""Of prediction and extraction."""


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Images a second with one network, all measured in one run."""

    loop: float
    """ImageFolder, DataLoader with a worker for each processor, fp32, eager: what most people run."""
    best_loop: float
    """The same loop with bf16 autocast, channels-last and inference mode."""
    graft: float
    """`extract_missing` from files into an empty store."""
    ceiling: float
    """Graft's network, fed from memory."""
    decoding: float
    """Graft's decoding alone, on all processors."""
    load_seconds: float
    """Getting the converted network ready, at a second start."""

    @property
    def bound(self) -> float:
        """The most that decoding and network can reach on the processors they share."""
        return 1 / (1 / self.ceiling + 1 / self.decoding)


def measure_rates(
    weights: Weights, runtime: Runtime, folder: Path, ids: list[str], path_of: LocateImage, store: Path, seconds: float
) -> Rates:
    """Measure one network for about `seconds` at a time.

    Args:
        weights: the network's.
        runtime: what Graft runs it with.
        folder: a class folder of image files, for the loops.
        ids: of the same files.
        path_of: where an image's file is.
        store: an empty folder.
        seconds: of each measurement; the first batch of each is not counted.
    """
    threads = torch.get_num_threads()
    loops = [_rate(_loop(weights, folder, best_flags), seconds) for best_flags in (False, True)]
    start = time.perf_counter()
    loaded, batch_size = LoadedOnce(runtime), int(runtime.record["batch_size"])
    compute = loaded.load()
    load_seconds = time.perf_counter() - start
    images = read_batch(ids[:batch_size], path_of, weights.preprocessing, batch_size)
    ceiling = _rate(_from_memory(compute, images, runtime.num_streams), seconds)
    decoding = _rate(_decoded(ids, path_of, weights.preprocessing, batch_size), seconds)
    num_images = min(len(ids), max(20 * batch_size, int(ceiling * seconds)))
    graft = _extraction_rate(ids[:num_images], path_of, weights.preprocessing, loaded, store)
    torch.set_num_threads(threads)
    return Rates(
        loop=loops[0],
        best_loop=loops[1],
        graft=graft,
        ceiling=ceiling,
        decoding=decoding,
        load_seconds=load_seconds,
    )


def parity(weights: Weights, runtime: Runtime, ids: list[str], path_of: LocateImage) -> tuple[float, float]:
    """Cosine of a runtime's features to those of torch in fp32, on NUM_COMPARED images: the mean and the worst."""
    ids = ids[:NUM_COMPARED]
    found = np.concatenate([rows for _, rows in rows_of(ids, path_of, weights.preprocessing, runtime)])
    images = read_batch(ids, path_of, weights.preprocessing, len(ids))
    with torch.inference_mode():
        expected = load_backbone(weights)(torch.from_numpy(images)).numpy().reshape(len(ids), -1)
    cosine = (found * expected).sum(axis=1) / np.linalg.norm(found, axis=1) / np.linalg.norm(expected, axis=1)
    return float(cosine.mean()), float(cosine.min())


def _rate(counts: Iterable[int], seconds: float) -> float:
    """Images a second of a stream of batch sizes, from its second batch on, at least two of them."""
    stream = iter(counts)
    next(stream)
    start, total, num_batches = time.perf_counter(), 0, 0
    for count in stream:
        total, num_batches = total + count, num_batches + 1
        if time.perf_counter() - start > seconds and num_batches >= 2:
            break
    return total / (time.perf_counter() - start)


def _loop(weights: Weights, folder: Path, best_flags: bool) -> Iterator[int]:
    p = weights.preprocessing
    transform = transforms.Compose(
        [
            transforms.Resize(p.resize_px),
            transforms.CenterCrop(p.crop_px),
            transforms.ToTensor(),
            transforms.Normalize(p.mean, p.std),
        ]
    )
    loader = DataLoader(datasets.ImageFolder(str(folder), transform), LOOP_BATCH, num_workers=num_cpus())
    network = load_backbone(weights).network  # the loop normalises by itself
    network = network.to(memory_format=torch.channels_last if best_flags else torch.contiguous_format)
    for images, _ in loader:
        if best_flags:
            with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
                network(images.to(memory_format=torch.channels_last)).float().numpy()
        else:
            with torch.no_grad():
                network(images).numpy()
        yield len(images)


def _from_memory(compute: Compute, images: Batch, num_streams: int) -> Iterator[int]:
    for features in in_threads(compute, cycle([images]), num_streams, 2 * num_streams):
        yield len(features)


def _decoded(ids: list[str], path_of: LocateImage, preprocessing: Preprocessing, batch_size: int) -> Iterator[int]:
    chunks = (list(islice(endless, batch_size)) for endless in cycle([cycle(ids)]))
    for batch in in_threads(lambda chunk: read_batch(chunk, path_of, preprocessing, batch_size), chunks):
        yield len(batch)


def _extraction_rate(
    ids: list[str], path_of: LocateImage, preprocessing: Preprocessing, runtime: Runtime, store: Path
) -> float:
    start = time.perf_counter()
    num_extracted = extract_missing(ids, path_of, FeatureStore(store, {}), preprocessing, runtime)
    return num_extracted / (time.perf_counter() - start)


def prediction_rates(predictor: Predictor, paths: Sequence[Path], scratch: Path) -> tuple[float, float]:
    """Measure what a bundle's answers cost beside its network: images a second of `graft predict`, and of extraction.

    Args:
        predictor: its network is loaded.
        paths: image files, different ones.
        scratch: an empty folder.
    Returns:
        The best of three runs each, taken in turns, of prediction to a CSV file and of `extract_missing` into an empty
        store.
    """
    path_of, runtime = {f"{k:064x}": path for k, path in enumerate(paths)}, predictor.loaded_runtime
    rates: tuple[list[float], list[float]] = ([], [])
    scratch.mkdir(parents=True, exist_ok=True)
    for turn in range(NUM_TURNS):
        start = time.perf_counter()
        with (scratch / f"{turn}.csv").open("w", encoding="utf-8") as file, csv_rows(file, predictor.columns) as write:
            for row in predictor.predict(map(ImageFile.at, paths)):
                write(row)
        rates[0].append(len(paths) / (time.perf_counter() - start))
        store = scratch / str(turn)
        rates[1].append(_extraction_rate([*path_of], path_of.__getitem__, predictor.preprocessing, runtime, store))
    return max(rates[0]), max(rates[1])


def write_images(folder: Path, plates: list[bytes], number: int) -> None:
    """Write a class folder of `number` JPEG files from fewer pictures: bytes after a JPEG's end make another file."""
    for index in range(number):
        path = folder / f"class{index % 6}" / f"{index:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        copy = index // len(plates)
        path.write_bytes(plates[index % len(plates)] + (str(copy).encode() if copy else b""))
