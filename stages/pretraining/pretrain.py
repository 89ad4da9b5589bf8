"""Beside the pipeline, pretrain: train the backbone that ships with the repository, from scratch.

Reads   the labelled images that data/backbones/params.yaml names
Writes  data/backbones/<name>.safetensors, <name>.json, <name>_curve.csv
Params  pretrain, in data/backbones/params.yaml
"""

from pathlib import Path

from torch import nn

from stages.graft.backbone.network import load_network
from stages.graft.backbone.tensor_files import save_network
from stages.graft.backbone.weights import Weights
from stages.graft.core.params import load_params
from stages.graft.core.stage import run
from stages.graft.data.decoded_arrays import DecodedImages, decoded_images
from stages.graft.metrics.training_curve import write_curve
from stages.graft.storage.cache_folder import store_folder
from stages.graft.storage.files import write_json
from stages.graft.storage.hashing import sha256_of
from stages.pretraining.network_setup import square_preprocessing
from stages.pretraining.pretraining import PretrainParams, pretrain, score

BACKBONES = Path("data/backbones")


def save_product(network: nn.Module, classes: tuple[str, ...], params: PretrainParams, path: Path) -> nn.Module:
    """Save the network in half precision with all that its users need; return it as they load it."""
    preprocessing = square_preprocessing(params.input_px)
    record = {"architecture": params.name, "classes": classes, "preprocessing": preprocessing.to_record()}
    save_network(network, path, record | {"layers": params.layers, "pooling": params.pooling})
    return load_network(
        Weights(name=params.name, weights="bundled", sha256=None, preprocessing=preprocessing, path=path)
    )


def write_report(
    saved: nn.Module, train: DecodedImages, val: DecodedImages, params: PretrainParams, path: Path
) -> None:
    """Write a report beside the product: its SHA-256, its training, and the accuracy of its own output layer."""
    val_loss, val_accuracy = score(saved, val, params.validation_px)
    report = {
        "sha256": sha256_of(path),
        "num_bytes": path.stat().st_size,
        "num_classes": len(train.classes),
        "num_train": len(train.x),
        "num_val": len(val.x),
        "val_top1_accuracy": round(val_accuracy, 6),
        "val_log_loss": round(val_loss, 6),
        "validation_px": params.validation_px,
        "epochs": params.epochs,
        "images_digest": train.digest,
    }
    write_json(report, path.with_suffix(".json"))


def main() -> None:
    """Train, or go on training, and write the product with its record."""
    params = load_params("pretrain", PretrainParams, BACKBONES / "params.yaml")
    cache, path = store_folder() / "pretraining", BACKBONES / f"{params.name}.safetensors"
    with (
        decoded_images(params.source, params.image_px, cache) as train,
        decoded_images(params.validation, params.image_px, cache) as val,
    ):
        network, epochs = pretrain(train, val, params, cache)
        saved = save_product(network, train.classes, params, path)
        write_curve(epochs, BACKBONES / f"{params.name}_curve.csv")
        write_report(saved, train, val, params, path)


if __name__ == "__main__":
    run("pretrain", main)
