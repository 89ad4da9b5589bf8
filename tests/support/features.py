"""Features made up for tests of heads: what a network might give, without one."""

import hashlib
import tempfile
from pathlib import Path

import numpy as np

from stages.graft.core.image_ids import pack_ids
from stages.graft.heads.features import FeatureSet, read_features
from stages.graft.storage.arrays import write_arrays


def write_features(ids, x, backbone, path):
    """Write the packed features file: features (n, d), ids, and the record of the backbone as metadata."""
    write_arrays({"features": x, "ids": pack_ids(ids)}, path, {"backbone": dict(backbone)})


def ids_of(number, start=0):
    """As many SHA-256 as asked for, in order."""
    return tuple(sorted(hashlib.sha256(str(start + k).encode()).hexdigest() for k in range(number)))


def feature_set(x, y, classes=None):
    """Features and class indices as the later stages read them."""
    y = np.asarray(y, dtype=np.int64)
    names = classes or tuple(f"class {k}" for k in range(int(y.max()) + 1))
    return FeatureSet(ids=ids_of(len(y)), x=np.asarray(x, dtype=np.float32).reshape(len(y), -1), y=y, classes=names)


def sparse_features(rng, per_class, num_classes=4, num_features=400):
    """Features like those after a ReLU: mostly 0, a few of them telling, some alive in one image of fifty."""
    y = np.repeat(np.arange(num_classes), per_class)
    means = np.random.default_rng(7).normal(size=(num_classes, num_features)) * 0.5
    x = np.maximum(means[y] + rng.normal(size=(len(y), num_features)) - 0.5, 0)
    rare = rng.random((len(y), num_features // 2)) < 0.02
    return feature_set(np.concatenate([x, rare * rng.exponential(0.02, rare.shape)], axis=1), y)


def rows_in(store, ids):
    """The rows of ids in a feature store, as the packed file has them."""
    with tempfile.TemporaryDirectory() as folder:
        store.pack(ids, Path(folder) / "features.safetensors", {})
        found, rows = read_features(Path(folder) / "features.safetensors")
    assert list(found) == list(ids)
    return rows
