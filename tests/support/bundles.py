"""Small networks with random weights: one bundled as the repository's is, one with a head that knows three greys."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image

from stages.graft.backbone.architectures import build_network
from stages.graft.backbone.extraction import embed
from stages.graft.backbone.precision_check import ImageSample
from stages.graft.backbone.runtime import Runtime
from stages.graft.backbone.runtime_choice import AUTOMATIC, choose_runtime
from stages.graft.backbone.tensor_files import save_network
from stages.graft.backbone.weights import BackboneParams, Weights, find_weights
from stages.graft.evaluation.explanation import MappedModel, explain_model
from stages.graft.heads.features import FeatureSet
from stages.graft.heads.head import Head
from stages.graft.heads.lda import fit_lda
from stages.graft.model.bundle import write_bundle
from stages.graft.model.decision import fit_rule
from stages.graft.model.heat_map import save_evidence
from stages.graft.model.model_folder import read_model, write_model
from stages.graft.model.scoring import ScoredSet
from stages.graft.storage.cache_folder import store_folder
from stages.graft.storage.files import write_json
from stages.graft.storage.hashing import sha256_of

SMALL_NETWORK = "shufflenet_v2_x0_5"

CLASSES = ("dark", "middle", "ü, light")
SHADES = (40, 120, 210)


def picture(shade, number):
    """A grey of small squares, around one of the shades; another number, another picture."""
    cells = np.random.default_rng((shade, number)).integers(-30, 30, (6, 6)) + shade
    return Image.fromarray(np.kron(cells, np.ones((8, 8))).clip(0, 255).astype(np.uint8))


def write_pictures(folder: Path, per_class: int) -> dict[str, str]:
    """Write pictures as PNG files; give each one's class by its path."""
    classes = {}
    for label, shade in zip(CLASSES, SHADES, strict=True):
        (folder / label).mkdir(parents=True)
        for number in range(per_class):
            path = folder / label / f"{number}.png"
            picture(shade, number).save(path)
            classes[str(path)] = label
    return classes


def make_bundle(folder: Path, runtime: str = "auto", name: str = "squeezenet1_1", **backbone: Any) -> Path:
    """Make a bundle of a network with random weights; `backbone` has other parameters, `views` and `precision`."""
    classes = write_pictures(folder / "pictures", 24)
    changes = {"input_px": 64, "views": 1, "precision": "auto"} | backbone
    views, precision = changes.pop("views"), changes.pop("precision")
    params = BackboneParams(name=name, weights="random", sha256=None, **changes)
    weights = replace(find_weights(params, Path("nowhere")), views=views)
    choice = AUTOMATIC.model_copy(update={"runtime": runtime, "batch_size": 4, "precision": precision})
    sample = ImageSample(ids=[*classes][::3], locations=[Path(path) for path in [*classes][::3]])
    runs = choose_runtime(weights, choice, store_folder() / "networks", sample if precision == "int8" else None)
    x = np.concatenate([rows for _, rows in embed(list(classes), Path, weights.preprocessing, runs, "test")])
    y = np.array([CLASSES.index(label) for label in classes.values()], dtype=np.int64)
    train, val = (
        FeatureSet(ids=tuple(f"{k:064x}" for k in range(36)), x=x[part::2], y=y[part::2], classes=CLASSES)
        for part in (0, 1)
    )
    head, *_ = fit_lda(train, val, np.ones(3), 5)  # with a softsign, which every way to apply a head must know
    write_model(head, weights.to_record(), folder / "model")
    scored = (
        ScoredSet(x=one.x, logits=head.logits(one.x), y=one.y, groups=np.arange(36) + 36 * part)
        for part, one in enumerate((train, val))
    )
    write_evidence(folder / "evidence", head, weights, runs, list(classes))
    rule = fit_rule(read_model(folder / "model")[0], *scored, 0.9, 0.05)
    write_bundle((folder / "model", folder / "evidence"), rule, weights, runs, folder / "bundle")
    return folder / "bundle"


def write_evidence(folder: Path, head: Head, weights: Weights, runtime: Runtime, files: list[str]) -> None:
    """Write what makes heat maps of a network's maps; nothing when it gives none."""
    mapped = MappedModel(head=head, runtime=runtime, preprocessing=weights.preprocessing, locate=Path)
    splits = pd.DataFrame({"id": files, "label": "", "split": "train"})
    folder.mkdir(parents=True)
    save_evidence(explain_model(mapped, splits, 0), folder)


def write_small_network(backbones: Path) -> None:
    """Put SMALL_NETWORK in a folder of bundled networks, with random weights, for images of 32 px."""
    preprocessing = {
        "resize_px": 32,
        "crop_px": 32,
        "interpolation": "bilinear",
        "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.25, 0.25],
    }
    path = backbones / f"{SMALL_NETWORK}.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        save_network(
            build_network(SMALL_NETWORK, 3), path, {"architecture": SMALL_NETWORK, "preprocessing": preprocessing}
        )
    write_json({"sha256": sha256_of(path)}, path.with_suffix(".json"))
