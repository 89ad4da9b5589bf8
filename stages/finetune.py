"""Stage 5 of 8, finetune: assemble the model, after training the network further if that is asked for.

Reads   data/head/, and when it trains data/images/, data/splits.csv, the backbone's weights
Writes  data/model/, reports/finetune.json, reports/plots/finetune_curve.csv, reports/plots/forgetting.csv
Params  finetune, backbone.offline
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
from pydantic import ConfigDict, Field, PositiveFloat, PositiveInt

from stages.graft.compute.engine import open_engine
from stages.graft.compute.settings import ComputeParams, load_compute
from stages.graft.core.params import Params, load_params
from stages.graft.core.stage import run_stage
from stages.graft.heads.head import HEAD, Head, load_head
from stages.graft.metrics.training_curve import write_curve
from stages.graft.model.model_folder import write_model
from stages.graft.storage.arrays import read_metadata
from stages.graft.storage.cache_folder import store_folder
from stages.graft.storage.files import atomic_path, write_json
from stages.graft.storage.tables import write_csv

if TYPE_CHECKING:
    from stages.graft.training.finetune_result import FinetuneResult
    from stages.graft.training.finetune_task import TrainedBy

IMAGES, SPLITS = Path("data/images"), Path("data/splits.csv")
HEAD_FOLDER, BACKBONES = Path("data/head"), Path("data/backbones")
MODEL, REPORT, CURVE = Path("data/model"), Path("reports/finetune.json"), Path("reports/plots/finetune_curve.csv")
FORGETTING = Path("reports/plots/forgetting.csv")

UNMOVED = pd.DataFrame(columns=["block", "num_weights", "change", "norm", "distance"])
"""How far the blocks have moved when nothing was trained: a header and no row."""


class OfflineParams(Params):
    """Of the section `backbone` what matters here; which network it is, the head's record says."""

    model_config = ConfigDict(extra="ignore")

    offline: bool
    """Never open a connection."""


class FinetuneParams(Params):
    """The section `finetune`."""

    strategy: Literal["none", "partial", "full"]
    """none keeps the trunk frozen; partial trains its last blocks and the head on; full all of it."""
    unfreeze_from: str | PositiveInt
    """partial: the first block that is trained, by name, or the last so many."""
    keep: Literal["better", "always"]
    """better keeps the fine-tuned weights only when validation says so."""
    augmentation: Literal["none", "grain", "texture", "natural"]
    """Views of the training images, by preset."""
    optimizer: Literal["adamw", "sgd"]
    """How steps are taken."""
    learning_rate: PositiveFloat
    """Peak rate of the head."""
    layer_decay: float = Field(gt=0, le=1)
    """What the rate is multiplied by for every block further from the head."""
    weight_decay: float = Field(ge=0)
    """Of the optimizer."""
    warmup_epochs: int = Field(ge=0)
    """Epochs over which the rate rises."""
    epochs: PositiveInt
    """Passes over the training images, at most."""
    patience: PositiveInt
    """Epochs without a lower validation log loss after which training ends."""
    batch_size: PositiveInt
    """Images a step."""
    accumulate: PositiveInt
    """Parts a step is computed in."""
    clip_norm: PositiveFloat
    """Largest norm of a step's gradients."""
    label_smoothing: float = Field(ge=0, lt=1)
    """Share of the target that is spread over all classes."""
    ema_decay: float = Field(ge=0, lt=1)
    """Of the average of the weights."""
    l2_sp: float = Field(ge=0)
    """Pull towards the pretrained weights."""
    class_weight: Literal["none", "balanced", "sampled"]
    """How classes of different sizes are treated."""
    views: PositiveInt
    """partial: views of each training image."""
    cache_gb: float = Field(ge=0)
    """partial: room on disk for what the frozen part gives."""
    precision: Literal["auto", "fp32", "bf16"]
    """While training."""
    source_images: str | None
    """Labelled images that the network was pretrained on, to see what it forgets; null if not at hand."""
    seed: int = Field(ge=0, lt=2**32)
    """Seeds the order and the views."""


def main() -> None:
    """Assemble data/model: the head on the pretrained network, or the fine-tuned network if that is better."""
    params = load_params("finetune", FinetuneParams)
    head, backbone = load_head(HEAD_FOLDER), read_metadata(HEAD_FOLDER / HEAD)["backbone"]
    result = fine_tune(params, head, backbone) if params.strategy != "none" else None
    with atomic_path(MODEL) as folder:
        if result is not None and result.kept:
            result.write_model(head, backbone, folder)
        else:
            write_model(head, backbone, folder)
    report = {"strategy": params.strategy} | (result.record() if result else {})
    write_curve(result.epochs if result else [], CURVE)
    write_csv(result.forgetting.blocks if result else UNMOVED, FORGETTING)
    write_json(report, REPORT)
    print(f"finetune: strategy {params.strategy}" + (f", kept {report['kept']}" if result else ""))


def fine_tune(params: FinetuneParams, head: Head, backbone: Mapping[str, Any]) -> "FinetuneResult":
    """Train the network, and compare it with the head alone on the validation images."""
    from stages.graft.backbone.weights import weights_for  # torch, and all that trains
    from stages.graft.tracking.publish import live_run
    from stages.graft.training.finetune_loop import FinetuneRecipe
    from stages.graft.training.finetune_result import assess
    from stages.graft.training.finetune_task import PipelineFiles, TrainableScope, finetune_from_files
    from stages.graft.training.source_accuracy import SourceImages, check_source

    start, values, store = time.monotonic(), params.model_dump(), store_folder()
    recipe = FinetuneRecipe(**{name: values[name] for name in FinetuneRecipe.__dataclass_fields__})
    extent = TrainableScope(
        unfreeze_from=params.unfreeze_from if params.strategy == "partial" else None,
        augmentation=params.augmentation,
        views=params.views,
        cache_gb=params.cache_gb,
    )
    weights = weights_for(backbone, BACKBONES, load_params("backbone", OfflineParams).offline)
    source = SourceImages(path=params.source_images, cache=store) if params.source_images else None
    if source is not None:
        check_source(weights, source)
    files = PipelineFiles(images=IMAGES, splits=SPLITS, store=store)
    with live_run("finetune") as log, open_engine(load_compute(), lambda: None, on_cluster) as trained_by:
        finetuned = finetune_from_files(head, weights, files, recipe, extent, log.log, trained_by)
    seconds = time.monotonic() - start
    result = assess(finetuned, weights, params.keep, source)
    gained, forgotten = result.lines()
    print(f"finetune: {gained}; {seconds:.0f} seconds\nfinetune: {forgotten}")
    return result


def on_cluster(compute: ComputeParams) -> "TrainedBy | None":
    """Give what trains on the cluster that has been joined."""
    from stages.graft.compute.ray_training import ClusterTrainer

    return ClusterTrainer(compute).train


if __name__ == "__main__":
    run_stage("finetune", main)
