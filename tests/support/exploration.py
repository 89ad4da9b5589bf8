"""Generated outputs of extract and explore, for tests of the stages that read them."""

import numpy as np
from PIL import Image

from stages.graft.data.image_locations import image_path
from stages.graft.data.manifest import read_manifest
from stages.graft.data.splits import BASELINES, extend_table, read_splits


def write_images(folder):
    """Write a small grey picture for every image of the manifest, of another shade for each class."""
    manifest = read_manifest(folder / "data/manifest.csv")
    shades = {label: 60 * (k + 1) for k, label in enumerate(sorted(set(manifest["label"])))}
    (folder / "data/images").mkdir(parents=True)
    for number, (id_, label) in enumerate(zip(manifest["id"], manifest["label"], strict=True)):
        noise = np.random.default_rng(number).integers(-20, 20, (10, 12)) + shades[label]
        Image.fromarray(noise.astype(np.uint8)).save(image_path(folder / "data/images", id_, "PNG"))


def write_baselines(folder):
    """Write data/baselines.csv: every baseline predicts 007 for every test image."""
    splits = read_splits(folder / "data/splits.csv")["split"]
    predicted = splits.map({"test": "007"}).fillna("")
    extend_table(folder / "data/splits.csv", folder / "data/baselines.csv", **dict.fromkeys(BASELINES, predicted))
