"""A pipeline's files made up for tests of single stages: what the stages before would have written."""

import numpy as np
import pandas as pd

from stages.graft.data.manifest import ManifestRow, read_manifest, write_manifest
from stages.graft.data.splits import extend_table
from tests.support.features import sparse_features, write_features

CLASSES = ("007", "NA", "plate, bent")


def write_pipeline_start(folder, per_class=12):
    """Write the tables and the features of 3 classes, named so that careless readers stumble."""
    images = sparse_features(np.random.default_rng(0), per_class, num_classes=3)
    labels = [CLASSES[k] for k in images.y.tolist()]
    write_split_table(images.ids, labels, [""] * len(labels), folder / "data/manifest.csv")
    write_duplicates(folder)
    write_features(list(images.ids), images.x, {"name": "tiny"}, folder / "data/features.safetensors")
    write_manifest([], folder / "data/unlabelled.csv")
    write_features([], images.x[:0], {"name": "tiny"}, folder / "data/unlabelled.safetensors")


def write_duplicates(folder, **groups):
    """Write data/duplicates.csv: no near-duplicates but those of the groups, named by the images' numbers."""
    names = pd.Series("", range(len(read_manifest(folder / "data/manifest.csv"))), dtype=str)
    for name, rows in groups.items():
        names[rows] = name
    extend_table(folder / "data/manifest.csv", folder / "data/duplicates.csv", duplicates=names)


def write_split_table(ids, labels, splits, path):
    """Write a manifest or a splits table of images that are nowhere."""
    plain = {"group": "", "width": 200, "height": 100, "format": "PNG", "mode": "L"}
    rows = [
        ManifestRow(id=id_, file=f"{label}/{number} ü.png", label=label, split=split, **plain)
        for number, (id_, label, split) in enumerate(zip(ids, labels, splits, strict=True))
    ]
    write_manifest(rows, path)
