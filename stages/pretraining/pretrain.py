"""Beside the pipeline, pretrain: train the backbone that ships with the repository, from scratch.

Reads   the labelled images that data/backbones/params.yaml names
Writes  data/backbones/<name>.safetensors, <name>.json, <name>_curve.csv
Params  pretrain, in data/backbones/params.yaml
"""

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt

from stages.graft.backbone.network import load_network, save_network
from stages.graft.backbone.weights import Weights
from stages.graft.core.params import Params, load_params
from stages.graft.core.stage import run
from stages.graft.data.decoded_arrays import packed_images
from stages.graft.images.preprocessing import Preprocessing
from stages.graft.metrics.training_curve import write_curve
from stages.graft.storage.cache_folder import store_folder
from stages.graft.storage.files import write_json
from stages.pretraining.batch_augmentation import Augmentation
from stages.pretraining.network_setup import MEAN, STD
from stages.pretraining.pretraining import Recipe, pretrain, print_epoch, score, source_images

BACKBONES = Path("data/backbones")


class PretrainParams(Params):
    """The section `pretrain` of data/backbones/params.yaml."""

    name: str
    """The product's file name, and `backbone.name` of those who use it: its torchvision network."""
    source: str
    """Images to train on: a class folder, an archive of one, or a folder of such archives."""
    validation: str
    """Images of the same classes to score on, never trained on; the same kinds."""
    image_px: PositiveInt
    """Images are decoded to this, in pixels."""
    input_px: PositiveInt
    """Side of the images whose features are wanted, in pixels; recorded for users, nothing here depends on it."""
    layers: tuple[str, ...] = Field(min_length=1)
    """Whose output the features are: `penultimate`, or inner nodes of the network; recorded for users."""
    pooling: Literal["avg", "avg+std"]
    """How a map of an inner node becomes numbers; recorded for users."""
    epochs: PositiveInt
    """Passes over the training images."""
    sizes_px: tuple[PositiveInt, ...] = Field(min_length=1)
    """Side of the training views, in pixels; the epochs are divided evenly among them, in order."""
    validation_px: PositiveInt
    """Validation images are scaled to this, in pixels."""
    batch_size: PositiveInt
    """Images a step."""
    learning_rate: PositiveFloat
    """Peak of the cycle."""
    warmup: float = Field(ge=0, lt=1)
    """Part of the steps in which the rate rises."""
    momentum: float = Field(ge=0, lt=1)
    """Nesterov momentum."""
    weight_decay: float = Field(ge=0)
    """On weights with two or more dimensions."""
    label_smoothing: float = Field(ge=0, lt=1)
    """Kept small: it hurts frozen features."""
    min_area: float = Field(gt=0, le=1)
    """Smallest part of the image a crop keeps."""
    max_angle: float = Field(ge=0, le=180)
    """Largest rotation, in degrees."""
    colour: float = Field(ge=0, lt=1)
    """Light, contrast and saturation change by up to this part."""
    grey: float = Field(ge=0, le=1)
    """Probability of a view without colour."""
    mixed_precision: bool
    """bf16 where the hardware has it."""
    seed: int = Field(ge=0)
    """Seeds the weights, the order and the views."""


def recipe_of(params: PretrainParams) -> Recipe:
    """Leave out what does not determine the weights: names, places, the size features are wanted at."""
    fields = params.model_dump(include=set(Recipe.__dataclass_fields__))
    colour = params.colour
    views = Augmentation(
        min_area=params.min_area,
        max_stretch=4 / 3,
        max_angle=params.max_angle,
        flip_horizontal=True,
        brightness=colour,
        contrast=colour,
        saturation=colour,
        grey=params.grey,
    )
    return Recipe(architecture=params.name, augmentation=views, **fields)


def main() -> None:
    """Train, or go on training, and write the product with its record."""
    params = load_params("pretrain", PretrainParams, BACKBONES / "params.yaml")
    cache = store_folder() / "pretraining"
    with (
        packed_images(params.source, params.image_px, cache) as train,
        packed_images(params.validation, params.image_px, cache) as val,
    ):
        images = source_images(train, val)
        network, epochs = pretrain(images, recipe_of(params), cache, print_epoch)
        path = BACKBONES / f"{params.name}.safetensors"
        preprocessing = Preprocessing(
            resize_px=params.input_px, crop_px=params.input_px, interpolation="bilinear", mean=MEAN, std=STD
        )
        record = {"architecture": params.name, "classes": train.classes, "preprocessing": asdict(preprocessing)}
        record |= {"layers": params.layers, "pooling": params.pooling}
        save_network(network, path, record)
        # What users load is half as precise: that is what the record speaks of.
        loaded = load_network(
            Weights(name=params.name, weights="bundled", sha256=None, preprocessing=preprocessing, path=path)
        )
        val_loss, val_accuracy = score(loaded, images.val, params.validation_px)
    write_curve(epochs, BACKBONES / f"{params.name}_curve.csv")
    report = {
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "num_bytes": path.stat().st_size,
        "num_classes": images.num_classes,
        "num_train": len(images.train[0]),
        "num_val": len(images.val[0]),
        "val_top1_accuracy": round(val_accuracy, 6),
        "val_log_loss": round(val_loss, 6),
        "validation_px": params.validation_px,
        "epochs": params.epochs,
        "images_digest": images.digest,
    }
    write_json(report, BACKBONES / f"{params.name}.json")


if __name__ == "__main__":
    run("pretrain", main)
