"""How many images a second: the usual torchvision loop, the same with its best flags, Graft, and what bounds Graft."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from stages.benchmarks.sandbox import BACKBONES
from stages.graft.backbone.extraction import extract_missing, rows_of
from stages.graft.backbone.network import load_backbone
from stages.graft.backbone.runtime import Runtime
from stages.graft.backbone.runtime_choice import AUTOMATIC, choose_runtime
from stages.graft.backbone.weights import BackboneParams, Weights, find_weights
from stages.graft.core.threads import in_threads, num_cpus
from stages.graft.images.decode import Batch
from stages.graft.images.loading import read_batch
from stages.graft.images.preprocessing import Preprocessing
from stages.graft.model.predictor import ImageFile, Predictor
from stages.graft.model.row_files import csv_rows
from stages.graft.storage.feature_store import FeatureStore

LOOP_BATCH = 32
"""Images in a batch of the usual loop."""

NUM_COMPARED = 48
"""Images whose features are compared with torch's."""

NUM_TURNS = 3
"""Runs of prediction and of extraction."""

Paths = Mapping[str, Path]
"""Image files by their SHA-256."""


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Images a second with one network, all measured in one run."""

    loop: float
    """ImageFolder, DataLoader with a worker for each processor, fp32, eager: what most people run."""
    best_loop: float
    """The same loop with bf16 autocast, channels-last and inference mode."""
    graft: float
    """`extract_missing` from files into an empty store."""
    network: float
    """Graft's network, fed from memory."""
    decoding: float
    """Graft's decoding, on all processors."""
    load_seconds: float
    """Time to load the converted network at a second start."""
    runs_on: str
    """Library, its version, and the precision."""

    @property
    def bound(self) -> float:
        """The most that decoding and network can reach on the processors they share."""
        return 1 / (1 / self.network + 1 / self.decoding)


def network_weights(name: str, kind: str) -> Weights:
    """Find the weights of a network as the pipeline does; `kind` is random or bundled."""
    return find_weights(BackboneParams(name=name, weights=kind, sha256=None, input_px=None), BACKBONES)


def measure_rates(name: str, kind: str, folder: Path, paths: Paths, scratch: Path, seconds: float) -> Rates:
    """Measure the rates of one network with random or bundled weights.

    Args:
        name: the network.
        kind: its weights, random or bundled.
        folder: class folder of image files, for the loops.
        paths: the same files.
        scratch: folder for the converted network and the store.
        seconds: duration of each measurement; its first batch is not counted.
    """
    weights, runtime = _weights_and_runtime(name, kind, scratch)
    threads = torch.get_num_threads()
    loop, best_loop = (rate(_loop_batches(weights, folder, best), seconds) for best in (False, True))
    start = time.perf_counter()
    batch_size = int(runtime.record["batch_size"])
    compute = runtime.load()
    load_seconds = time.perf_counter() - start
    images = next(_batches(paths, weights.preprocessing, batch_size))
    computed = in_threads(compute, cycle([images]), runtime.num_streams, 2 * runtime.num_streams)
    network = rate(map(len, computed), seconds)
    decoding = rate(map(len, _batches(paths, weights.preprocessing, batch_size)), seconds)
    num_images = max(20 * batch_size, int(network * seconds))
    graft = _extraction_rate(dict(islice(paths.items(), num_images)), weights.preprocessing, runtime, scratch / name)
    torch.set_num_threads(threads)
    return Rates(
        loop=loop,
        best_loop=best_loop,
        graft=graft,
        network=network,
        decoding=decoding,
        load_seconds=load_seconds,
        runs_on=_runs_on(runtime),
    )


def parity(name: str, kind: str, paths: Paths, scratch: Path) -> tuple[str, float, float]:
    """Compare the features of a network's default runtime with those of torch in fp32, on NUM_COMPARED images.

    Returns:
        What the network runs on; the mean and the lowest cosine.
    """
    weights, runtime = _weights_and_runtime(name, kind, scratch)
    ids = [*paths][:NUM_COMPARED]
    rows = np.concatenate([rows for _, rows in rows_of(ids, paths.__getitem__, weights.preprocessing, runtime)])
    images = read_batch(ids, paths.__getitem__, weights.preprocessing, len(ids))
    with torch.inference_mode():
        expected = load_backbone(weights)(torch.from_numpy(images)).numpy().reshape(len(ids), -1)
    cosine = (rows * expected).sum(axis=1) / np.linalg.norm(rows, axis=1) / np.linalg.norm(expected, axis=1)
    return _runs_on(runtime), float(cosine.mean()), float(cosine.min())


def prediction_rates(predictor: Predictor, files: Sequence[Path], scratch: Path) -> tuple[float, float]:
    """Measure images a second of `graft predict` and of extraction, to see the time of a prediction beside its network.

    Args:
        predictor: the model; its network is loaded.
        files: image files, all different.
        scratch: an empty folder.
    Returns:
        The best of NUM_TURNS runs each, taken in turns, of prediction to a CSV file and of `extract_missing` into an
        empty store.
    """
    paths = {f"{k:064x}": path for k, path in enumerate(files)}
    scratch.mkdir(parents=True, exist_ok=True)
    predicting, extracting = [], []
    for turn in range(NUM_TURNS):
        start = time.perf_counter()
        with (scratch / f"{turn}.csv").open("w", encoding="utf-8") as file, csv_rows(file, predictor.columns) as write:
            for row in predictor.predict(map(ImageFile.at, files)):
                write(row)
        predicting.append(len(files) / (time.perf_counter() - start))
        extracting.append(_extraction_rate(paths, predictor.preprocessing, predictor.runtime, scratch / str(turn)))
    return max(predicting), max(extracting)


def _weights_and_runtime(name: str, kind: str, scratch: Path) -> tuple[Weights, Runtime]:
    weights = network_weights(name, kind)
    return weights, choose_runtime(weights, AUTOMATIC, scratch / "networks")


def _runs_on(runtime: Runtime) -> str:
    return f"{str(runtime.record['runtime']).split('-')[0]}, {runtime.record['precision']}"


def rate(batch_sizes: Iterable[int], seconds: float) -> float:
    """Images a second from the second batch on, over at least two batches."""
    sizes = iter(batch_sizes)
    next(sizes)
    start, num_images = time.perf_counter(), 0
    for num_batches, size in enumerate(sizes, start=1):
        num_images += size
        if time.perf_counter() - start > seconds and num_batches >= 2:
            break
    return num_images / (time.perf_counter() - start)


def _loop_batches(weights: Weights, folder: Path, best_flags: bool) -> Iterator[int]:
    p = weights.preprocessing
    steps = [transforms.Resize(p.resize_px), transforms.CenterCrop(p.crop_px), transforms.ToTensor()]
    transform = transforms.Compose([*steps, transforms.Normalize(p.mean, p.std)])
    loader = DataLoader(datasets.ImageFolder(str(folder), transform), LOOP_BATCH, num_workers=num_cpus())
    network = load_backbone(weights).network  # without Graft's normalisation: the loop has its own
    network = network.to(memory_format=torch.channels_last if best_flags else torch.contiguous_format)
    for images, _ in loader:
        if best_flags:
            with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
                network(images.to(memory_format=torch.channels_last)).float().numpy()
        else:
            with torch.no_grad():
                network(images).numpy()
        yield len(images)


def _batches(paths: Paths, preprocessing: Preprocessing, batch_size: int) -> Iterator[Batch]:
    """Decode the files again and again, on all processors."""
    ids = cycle(paths)
    chunks = iter(lambda: list(islice(ids, batch_size)), [])
    return in_threads(lambda chunk: read_batch(chunk, paths.__getitem__, preprocessing, batch_size), chunks)


def _extraction_rate(paths: Paths, preprocessing: Preprocessing, runtime: Runtime, store: Path) -> float:
    start = time.perf_counter()
    extract_missing([*paths], paths.__getitem__, FeatureStore(store, {}), preprocessing, runtime)
    return len(paths) / (time.perf_counter() - start)
