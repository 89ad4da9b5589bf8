"""Damaged and hostile bundles, whose list of hashes fits: refused in a line, or they answer with whole numbers."""

import json
import math
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from stages.graft.core.errors import DataError
from stages.graft.model.bundle import BUNDLE, load_bundle
from stages.graft.model.predictor import ImageFile, Predictor
from stages.graft.storage.arrays import METADATA_KEY, read_metadata
from stages.graft.storage.hashing import sha256_of
from tests.support.fuzzing import NUM_CASES, generator, mutations

pytestmark = pytest.mark.fuzz

RECORDS = ("bundle.json", "decision.json", "model.json", "network/network.json")

ARRAYS = ("head.safetensors", "novelty.safetensors")

VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1, 50_000, 2**70, 1e300, "", "a\x1b[31mb", "../../etc/passwd", "/dev/zero", "x" * 9000, "\ud800",
    [], [None], ["a", "a"], {}, {"a": 1}, math.nan, math.inf,
)  # fmt: skip
"""What takes the place of a value in a record."""

Change = tuple[str, bytes]
"""A file of the bundle, and its new content."""


@pytest.fixture
def opened(bundle_folder: Path, tmp_path: Path) -> Callable[[Change], None]:
    """Change a file of a bundle, make the list of hashes fit, open it, and classify an image."""
    folder = shutil.copytree(bundle_folder, tmp_path / "hostile")
    (picture, *_) = (bundle_folder.parent / "pictures").rglob("*.png")
    data = picture.read_bytes()

    def use(change: Change) -> None:
        name, content = change
        before = {path: path.read_bytes() for path in (folder / name, folder / BUNDLE)}
        try:
            (folder / name).write_bytes(content)
            if name != BUNDLE:
                record = json.loads(before[folder / BUNDLE])
                record["sha256"][name] = sha256_of(folder / name)
                (folder / BUNDLE).write_text(json.dumps(record))
            (row,) = Predictor(load_bundle(folder)).predict([ImageFile(name="a", read=lambda: data)])
            assert row["error"] is not None or 0 <= row["confidence"] <= 1
            assert row["error"] is None or (row["unsure"], row["unknown"]) == (True, True)
        finally:
            for path, old in before.items():
                path.write_bytes(old)

    return use


def test_damaged_files_of_a_bundle(attack, opened, bundle_folder):
    files = [*RECORDS, *ARRAYS, "network/network.xml", "network/network.bin", "backbone.safetensors"]
    damaged = {name: iter(mutations([(bundle_folder / name).read_bytes()], name, NUM_CASES // 20)) for name in files}
    attack("bundles, damaged", ((name, data) for name, some in damaged.items() for data in some), opened)


def test_records_of_a_bundle_with_other_values(attack, opened, bundle_folder):
    def records() -> Iterator[Change]:
        rng = generator("bundles, values")
        for number in range(NUM_CASES // 4):
            name = RECORDS[number % len(RECORDS)]
            record = json.loads((bundle_folder / name).read_bytes())
            _change(record, rng)
            yield name, json.dumps(record).encode()

    attack("bundles, values", records(), opened)


def _change(record: Any, rng: np.random.Generator) -> None:
    """Replace or remove one value, somewhere in a record."""
    keys = list(record) if isinstance(record, dict) else list(range(len(record)))
    key = keys[int(rng.integers(len(keys)))]
    if isinstance(record[key], dict | list) and record[key] and rng.random() < 0.7:
        _change(record[key], rng)
    elif rng.random() < 0.2:
        del record[key]
    else:
        record[key] = VALUES[int(rng.integers(len(VALUES)))]


def test_arrays_of_a_bundle_of_other_shapes_and_types(attack, opened, bundle_folder, tmp_path):
    def files() -> Iterator[Change]:
        rng = generator("bundles, arrays")
        for number in range(NUM_CASES // 10):
            name = ARRAYS[number % len(ARRAYS)]
            arrays, path = load_file(bundle_folder / name), tmp_path / "arrays"
            key = sorted(arrays)[int(rng.integers(len(arrays)))]
            ways = _other(arrays[key])
            way = list(ways)[int(rng.integers(len(ways)))]
            if ways[way] is None:
                del arrays[key]
            else:
                arrays[key] = np.ascontiguousarray(ways[way])
            header = {METADATA_KEY: json.dumps(read_metadata(bundle_folder / name))}
            save_file(arrays, path, metadata=header)
            yield name, path.read_bytes()

    attack("bundles, arrays", files(), opened)


def _other(array: np.ndarray) -> dict[str, np.ndarray | None]:
    return {
        "gone": None, "empty": array[:0], "longer": np.concatenate([array, array]), "shorter": array[:-1],
        "flat": array.reshape(-1), "scalar": array.reshape(-1)[0], "transposed": array.T, "deep": array[None],
        "NaN": array * np.nan, "one NaN": np.where(np.arange(array.size).reshape(array.shape) == 0, np.nan, array),
        "infinite": np.full_like(array, np.inf), "huge": np.full_like(array, 3e38),
        "whole numbers": array.astype(np.int64), "doubles": array.astype(np.float64),
        "halves": array.astype(np.float16), "flags": array > 0,
    }  # fmt: skip


def test_a_bundle_that_is_a_file_a_link_or_a_pipe(attack, bundle_folder, tmp_path):
    def spoilt(how: str) -> None:
        folder = shutil.copytree(bundle_folder, tmp_path / how, dirs_exist_ok=True)
        path = folder / "head.safetensors"
        path.unlink()
        targets = {"loop": path, "device": Path("/dev/zero"), "nothing": Path("nowhere")}
        if how in targets:
            path.symlink_to(targets[how])
        else:
            {"folder": path.mkdir, "pipe": lambda: os.mkfifo(path)}[how]()
        load_bundle(folder)

    attack("bundles, no files", ["folder", "pipe", "loop", "device", "nothing"], spoilt, DataError)
    assert attack.counts["refused"] == 5
