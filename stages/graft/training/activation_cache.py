"""Inputs of the trained part of a network: views of images, or the output of the frozen part, computed once and cached.

Letters: n images.
"""

import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from stages.graft.core.progress import bar
from stages.graft.core.threads import in_threads
from stages.graft.images.augmentation import Preset, view
from stages.graft.images.decode import Batch
from stages.graft.images.loading import LocateImage, read_batch
from stages.graft.images.preprocessing import Preprocessing
from stages.graft.storage.arrays import array_file
from stages.graft.storage.files import atomic_path
from stages.graft.storage.hashing import fingerprint_of
from stages.graft.storage.locks import exclusive_lock, mark_used, shared_lock, try_exclusive
from stages.graft.storage.sealed import read_sealed, write_sealed

GIGABYTE = 10**9

RECORD = "activations.json"
"""Name of the file that describes a set of activations; its time is that of the last use."""

IdsByView = Mapping[int | None, Sequence[str]]
"""Ids of the images of each view, by the view's number; None is the number of unchanged images."""


@dataclass(frozen=True, kw_only=True)
class LabelledImages:
    """Images with their classes."""

    ids: Sequence[str]
    """SHA-256 of each image's bytes, hex, n of them."""
    y: npt.NDArray[np.int64]
    """Class indices, shape (n,), int64."""


class Inputs(Protocol):
    """Inputs of the trained part of a network."""

    def batches(self, ids: Sequence[str], view_number: int | None) -> Iterator[tuple[Tensor, ...]]:
        """Give the inputs of a view (None: of the unchanged images) in order; the last batch can be short."""


@dataclass(frozen=True, kw_only=True)
class ComputedInputs:
    """Inputs computed on every call: views of images, through the frozen part of a network if there is one."""

    locate: LocateImage
    """Gives the location of an image's file."""
    preprocessing: Preprocessing
    """Resize and crop."""
    preset: Preset
    """Preset of the random views."""
    seed: int
    """Seed of the views."""
    batch_size: int
    """Images per batch; a short batch is padded while it is computed."""
    frozen: nn.Module | None
    """From images (n, h, w, 3), uint8, to a tuple of tensors; None: the images are the inputs."""
    device: torch.device
    """Device of the frozen part and of the inputs."""
    in_bf16: bool
    """Whether the frozen part computes views in bf16; unchanged images are computed in fp32."""

    def batches(self, ids: Sequence[str], view_number: int | None) -> Iterator[tuple[Tensor, ...]]:
        """As `Inputs.batches`."""
        chunks = [ids[start : start + self.batch_size] for start in range(0, len(ids), self.batch_size)]
        batches = in_threads(partial(self._read, view_number), chunks, num_ahead=4)
        for chunk, images in zip(chunks, batches, strict=True):
            in_bf16 = self.in_bf16 and view_number is not None
            inputs = self._run_frozen(torch.from_numpy(images).to(self.device), in_bf16)
            yield tuple(tensor[: len(chunk)] for tensor in inputs)

    def example(self) -> tuple[Tensor, ...]:
        """Compute the inputs of one black image, for their shapes."""
        side = self.preprocessing.crop_px
        return self._run_frozen(torch.zeros(1, side, side, 3, dtype=torch.uint8, device=self.device), in_bf16=False)

    def _run_frozen(self, images: Tensor, in_bf16: bool) -> tuple[Tensor, ...]:
        if self.frozen is None:
            return (images,)
        with torch.no_grad(), torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=in_bf16):
            return tuple(_channels_last(tensor.float()) for tensor in self.frozen(images))

    def _read(self, view_number: int | None, ids: Sequence[str]) -> Batch:
        batch = read_batch(ids, self.locate, self.preprocessing, self.batch_size)
        if view_number is not None:
            for row, id_ in enumerate(ids):
                batch[row] = view(batch[row], self.preset, self.seed, id_, view_number)
        return batch


class CachedInputs:
    """Inputs read from a folder: the output of the frozen part for every image and view."""

    def __init__(self, folder: Path, ids: IdsByView, num_tensors: int, computed: ComputedInputs) -> None:
        self._computed = computed  # its lock keeps the folder
        self._row = {number: {id_: row for row, id_ in enumerate(of_view)} for number, of_view in ids.items()}
        self._arrays = {
            number: [np.load(_file(folder, number, k), mmap_mode="r") for k in range(num_tensors)] for number in ids
        }

    def batches(self, ids: Sequence[str], view_number: int | None) -> Iterator[tuple[Tensor, ...]]:
        """As `Inputs.batches`."""
        size, device = self._computed.batch_size, self._computed.device
        for start in range(0, len(ids), size):
            rows = [self._row[view_number][id_] for id_ in ids[start : start + size]]
            arrays = [array[rows] for array in self._arrays[view_number]]
            yield tuple(_channels_first(torch.from_numpy(array)).to(device) for array in arrays)


def cached(
    computed: ComputedInputs, ids: IdsByView, cache_key: Mapping[str, Any], root: Path, limit_gb: float
) -> Inputs:
    """Compute the output of the frozen part once for all epochs, or find it in the cache.

    Args:
        computed: the inputs, with a frozen part.
        ids: None for all images, which are read unchanged too; every number of a view for the training images.
        cache_key: everything else that determines the activations, as JSON values.
        root: folder of the cache, with a folder for each set of activations; old sets are removed to make room.
        limit_gb: disk space of the cache, in GB; a larger set is not stored but computed in every epoch.
    """
    unchanged, train, num_views = ids[None], ids[0], len(ids) - 1
    example = computed.example()
    num_rows = sum(map(len, ids.values()))
    size_gb = num_rows * sum(tensor.numel() * tensor.element_size() for tensor in example) / GIGABYTE
    contents = f"{num_views} views of {len(train)} images, and {len(unchanged)} unchanged images: {size_gb:.2f} GB"
    if size_gb > limit_gb:
        print(
            f"finetune: the frozen part runs in every epoch: {contents} is over `finetune.cache_gb` ({limit_gb:g})",
            file=sys.stderr,
        )
        return computed
    key = {"made_with": cache_key, "train": list(train), "unchanged": list(unchanged), "views": num_views}
    folder = root / fingerprint_of(key)
    shared_lock(folder, computed)
    with exclusive_lock(folder):
        if read_sealed(folder / RECORD) is None:
            print(
                f"finetune: the frozen part runs once, for {contents} in {root} (limit {limit_gb:g})", file=sys.stderr
            )
            _make_room(root, limit_gb - size_gb)
            record = {"num_rows": num_rows, "made_with": cache_key}
            _compute(computed, ids, [_channels_to_end(tensor).shape[1:] for tensor in example], folder, record)
    mark_used(folder / RECORD)
    return CachedInputs(folder, ids, len(example), computed)


def _compute(
    computed: ComputedInputs, ids: IdsByView, shapes: Sequence[tuple[int, ...]], folder: Path, record: Mapping[str, Any]
) -> None:
    """Write the inputs of all images and views to a folder."""
    num_batches = sum(-(-len(of_view) // computed.batch_size) for of_view in ids.values())
    batches = ((number, inputs) for number, of_view in ids.items() for inputs in computed.batches(of_view, number))
    num_done = dict.fromkeys(ids, 0)
    with atomic_path(folder) as temporary:
        temporary.mkdir(parents=True)
        arrays = {
            number: [
                array_file(_file(temporary, number, k), np.float32, (len(of_view), *shape))
                for k, shape in enumerate(shapes)
            ]
            for number, of_view in ids.items()
        }
        for number, inputs in bar(batches, desc="finetune: frozen part", unit="batches", total=num_batches):
            stop = num_done[number] + len(inputs[0])
            for array, tensor in zip(arrays[number], inputs, strict=True):
                array[num_done[number] : stop] = _channels_to_end(tensor).cpu().numpy()
            num_done[number] = stop
        for of_view in arrays.values():
            for array in of_view:
                array.flush()
        names = [_file(temporary, number, k).name for number in ids for k in range(len(shapes))]
        write_sealed(record, temporary / RECORD, names)


def _channels_last(x: Tensor) -> Tensor:
    """Arrange maps in memory as the network does: on a CPU, the order in memory selects the kernel."""
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x.contiguous()


def _channels_to_end(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1) if x.ndim == 4 else x


def _channels_first(x: Tensor) -> Tensor:
    return x.permute(0, 3, 1, 2) if x.ndim == 4 else x


def _file(folder: Path, view_number: int | None, tensor: int) -> Path:
    return folder / f"{'plain' if view_number is None else f'view{view_number}'}-{tensor}.npy"


def _last_used(folder: Path) -> float:
    record = folder / RECORD
    return (record if record.exists() else folder).stat().st_mtime


def _make_room(root: Path, room_gb: float) -> None:
    """Remove the sets that were not used for the longest time and are not in use, until the others fit."""
    sets = sorted((path for path in root.glob("[!.]*") if path.is_dir()), key=_last_used)
    sizes = {path: sum(file.stat().st_size for file in path.iterdir()) / GIGABYTE for path in sets}
    for path in sets:
        if sum(sizes.values()) <= room_gb:
            return
        with try_exclusive(path) as is_free:
            if is_free:
                shutil.rmtree(path)
                del sizes[path]
