"""What fine-tuning reads: views of images, or what the frozen part of the network makes of them, computed once.

Letters: n images, c classes.
"""

import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from stages.graft.core.progress import bar
from stages.graft.core.threads import in_threads
from stages.graft.images.augmentation import Preset, view
from stages.graft.images.decode import Batch
from stages.graft.images.loading import LocateImage, read_image
from stages.graft.images.preprocessing import Preprocessing
from stages.graft.storage.arrays import array_file
from stages.graft.storage.files import atomic_path, write_json
from stages.graft.storage.hashing import fingerprint_of
from stages.graft.storage.locks import exclusive_lock, mark_used, shared_lock, try_exclusive

GIGABYTE = 10**9

RECORD = "activations.json"


@dataclass(frozen=True, kw_only=True)
class LabelledImages:
    """Images to train or choose on."""

    ids: Sequence[str]
    """SHA-256 of each image's bytes, hex, n of them."""
    y: npt.NDArray[np.int64]
    """Class indices, shape (n,), int64."""


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """Views of images, through the frozen part of a network if there is one; the same on every call."""

    path_of: LocateImage
    """Where an image's file is."""
    preprocessing: Preprocessing
    """Resize and crop."""
    preset: Preset
    """Which views are drawn."""
    seed: int
    """Of the views."""
    batch_size: int
    """Images a batch; a short one is padded."""
    frozen: nn.Module | None
    """Images (n, h, w, 3), uint8, to a tuple of tensors; None gives the images themselves."""
    device: torch.device
    """Where the frozen part is."""
    in_bf16: bool
    """Whether the frozen part computes in bf16 on views, as the rest does in training; images as they are take fp32."""

    def batches(self, ids: Sequence[str], number: int | None) -> Iterator[tuple[Tensor, ...]]:
        """Give the ids in order, a batch at a time; the last one may be short.

        Args:
            ids: of images.
            number: of the view; None for the image as it is.
        """
        chunks = [ids[start : start + self.batch_size] for start in range(0, len(ids), self.batch_size)]
        for chunk, images in zip(chunks, in_threads(partial(self._read, number), chunks, num_ahead=4), strict=True):
            inputs: tuple[Tensor, ...] = (torch.from_numpy(images).to(self.device),)
            if self.frozen is not None:
                in_bf16 = self.in_bf16 and number is not None
                with torch.no_grad(), torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=in_bf16):
                    inputs = tuple(_channels_last(one.float()) for one in self.frozen(*inputs))
            yield tuple(one[: len(chunk)] for one in inputs)

    def example(self) -> tuple[Tensor, ...]:
        """Give what one black image becomes: for shapes alone, at the cost of one image."""
        side = self.preprocessing.crop_px
        image = torch.zeros(1, side, side, 3, dtype=torch.uint8, device=self.device)
        if self.frozen is None:
            return (image,)
        with torch.no_grad():
            return tuple(self.frozen(image))

    def _read(self, number: int | None, ids: Sequence[str]) -> Batch:
        side = self.preprocessing.crop_px
        batch = np.zeros((self.batch_size, side, side, 3), np.uint8)
        for row, id_ in enumerate(ids):
            image = read_image(self.path_of(id_), self.preprocessing)
            batch[row] = image if number is None else view(image, self.preset, self.seed, id_, number)
        return batch


class Activations:
    """The frozen part's output for every image and view, on disk."""

    def __init__(self, folder: Path, ids: dict[int | None, Sequence[str]], num_tensors: int, pixels: Pixels) -> None:
        self._pixels = pixels
        self._row = {number: {id_: row for row, id_ in enumerate(of_view)} for number, of_view in ids.items()}
        self._arrays = {
            number: [np.load(_file(folder, number, k), mmap_mode="r") for k in range(num_tensors)] for number in ids
        }

    def batches(self, ids: Sequence[str], number: int | None) -> Iterator[tuple[Tensor, ...]]:
        """As `Pixels.batches`."""
        for start in range(0, len(ids), self._pixels.batch_size):
            rows = [self._row[number][id_] for id_ in ids[start : start + self._pixels.batch_size]]
            arrays = [array[rows] for array in self._arrays[number]]
            yield tuple(_from_disk(torch.from_numpy(array)).to(self._pixels.device) for array in arrays)


Source = Pixels | Activations


def cached(
    pixels: Pixels,
    train: Sequence[str],
    val: Sequence[str],
    num_views: int,
    made_with: Any,
    root: Path,
    limit_gb: float,
) -> Source:
    """Run every view of the training images, and the validation images, through the frozen part, once for all epochs.

    Args:
        pixels: what to run, with its frozen part.
        train: ids of the training images.
        val: ids of the validation images.
        num_views: views of each training image.
        made_with: everything else that determines the activations, as JSON values.
        root: where activations are kept, a folder for each set; older sets make room for this one.
        limit_gb: on disk; a set larger than that is not made, and the frozen part runs in every epoch.
    """
    ids: dict[int | None, Sequence[str]] = {None: val} | dict.fromkeys(range(num_views), train)
    first = pixels.example()
    per_image = sum(one[0].numel() * one.element_size() for one in first)
    num_rows = sum(map(len, ids.values()))
    size_gb = num_rows * per_image / GIGABYTE
    what = f"{num_views} views of {len(train)} images and {len(val)} to choose with: {size_gb:.2f} GB"
    if size_gb > limit_gb:
        print(
            f"finetune: the frozen part runs in every epoch: {what} is over `finetune.cache_gb` ({limit_gb:g})",
            file=sys.stderr,
        )
        return pixels
    folder = root / fingerprint_of({"made_with": made_with, "train": list(train), "val": list(val), "views": num_views})
    shared_lock(folder, pixels)
    with exclusive_lock(folder):
        if not folder.exists():
            print(f"finetune: the frozen part runs once, for {what} in {root} (limit {limit_gb:g})", file=sys.stderr)
            _make_room(root, limit_gb - size_gb)
            _compute(pixels, ids, num_rows, [tuple(_to_disk(one).shape[1:]) for one in first], folder, made_with)
    mark_used(folder / RECORD)
    return Activations(folder, ids, len(first), pixels)


def _compute(
    pixels: Pixels,
    ids: dict[int | None, Sequence[str]],
    num_rows: int,
    shapes: list[tuple[int, ...]],
    folder: Path,
    made_with: Any,
) -> None:
    with atomic_path(folder) as temporary:
        temporary.mkdir(parents=True)
        work = ((number, inputs) for number, of_view in ids.items() for inputs in pixels.batches(of_view, number))
        num_batches = sum(-(-len(of_view) // pixels.batch_size) for of_view in ids.values())
        done = dict.fromkeys(ids, 0)
        arrays = {
            number: [
                array_file(_file(temporary, number, k), np.float32, (len(of_view), *shape))
                for k, shape in enumerate(shapes)
            ]
            for number, of_view in ids.items()
        }
        for number, inputs in bar(work, desc="finetune: frozen part", unit="batches", total=num_batches):
            stop = done[number] + len(inputs[0])
            for array, one in zip(arrays[number], inputs, strict=True):
                array[done[number] : stop] = _to_disk(one).cpu().numpy()
            done[number] = stop
        for of_view in arrays.values():
            for array in of_view:
                array.flush()
        write_json({"num_rows": num_rows, "made_with": made_with}, temporary / RECORD)


def _channels_last(x: Tensor) -> Tensor:
    """Lay maps out as the network computes them: on a CPU, the order in memory decides which kernel runs."""
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x.contiguous()


def _to_disk(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1) if x.ndim == 4 else x


def _from_disk(x: Tensor) -> Tensor:
    return x.permute(0, 3, 1, 2) if x.ndim == 4 else x


def _file(folder: Path, number: int | None, tensor: int) -> Path:
    return folder / f"{'plain' if number is None else f'view{number}'}-{tensor}.npy"


def _last_used(folder: Path) -> float:
    record = folder / RECORD
    return (record if record.exists() else folder).stat().st_mtime


def _make_room(root: Path, room_gb: float) -> None:
    """Remove the oldest sets that nobody reads until the others fit."""
    sets = sorted((path for path in root.glob("[!.]*") if path.is_dir()), key=_last_used)
    sizes = {path: sum(file.stat().st_size for file in path.iterdir()) / GIGABYTE for path in sets}
    for path in sets:
        if sum(sizes.values()) <= room_gb:
            return
        with try_exclusive(path) as free:
            if free:
                shutil.rmtree(path)
                del sizes[path]
