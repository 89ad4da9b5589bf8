"""Stage 6 of 10, finetune: assemble the model, after training the network further if that is asked for.

Reads   data/head/, and when it trains data/images/, data/splits.csv, the backbone's weights
Writes  data/model/, reports/finetune.json, reports/plots/finetune_curve.csv, reports/plots/forgetting.csv
Params  finetune, backbone.offline
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from stages.graft.backbone.weights import OfflineParams, weights_for
from stages.graft.compute.engine import open_engine
from stages.graft.compute.settings import ComputeParams, load_compute
from stages.graft.core.params import load_params
from stages.graft.core.stage import run_stage
from stages.graft.heads.head import HEAD, Head, load_head, read_calibrated_on
from stages.graft.heads.head_params import TrainHeadParams
from stages.graft.metrics.training_curve import write_curve
from stages.graft.model.model_folder import write_model
from stages.graft.storage.arrays import read_metadata
from stages.graft.storage.cache_folder import store_folder
from stages.graft.storage.files import atomic_path, write_json
from stages.graft.storage.tables import write_csv
from stages.graft.training.finetune_params import FinetuneParams

if TYPE_CHECKING:
    from stages.graft.training.finetune_result import FinetuneResult
    from stages.graft.training.finetune_task import RemoteTrainer

IMAGES, SPLITS = Path("data/images"), Path("data/splits.csv")
HEAD_FOLDER, BACKBONES = Path("data/head"), Path("data/backbones")
MODEL, REPORT, CURVE = Path("data/model"), Path("reports/finetune.json"), Path("reports/plots/finetune_curve.csv")
FORGETTING = Path("reports/plots/forgetting.csv")

UNMOVED = pd.DataFrame(columns=["block", "num_weights", "change", "norm", "distance"])
"""How far the blocks have moved when nothing was trained: a header and no row."""


def main() -> None:
    """Assemble data/model: the head on the pretrained network, or the fine-tuned network if that is better."""
    params = load_params("finetune", FinetuneParams)
    head, backbone = load_head(HEAD_FOLDER), read_metadata(HEAD_FOLDER / HEAD)["backbone"]
    result = fine_tune(params, head, backbone) if params.strategy != "none" else None
    with atomic_path(MODEL) as folder:
        if result is not None and result.kept:
            result.write_model(head, backbone, folder)
        else:
            write_model(head, backbone, folder, read_calibrated_on(HEAD_FOLDER / HEAD))
    report = {"strategy": params.strategy} | (result.record() if result else {})
    write_curve(result.epochs if result else [], CURVE)
    write_csv(result.changes if result else UNMOVED, FORGETTING)
    write_json(report, REPORT)
    if result is None:
        print("finetune: off (`finetune.strategy: none`); the model is the head on the pretrained network")


def fine_tune(params: FinetuneParams, head: Head, backbone: Mapping[str, Any]) -> "FinetuneResult":
    """Train the network, and compare it with the head alone on the validation images."""
    from stages.graft.tracking.live import live_run  # MLflow, torch and all that trains
    from stages.graft.training.finetune_result import assess
    from stages.graft.training.finetune_task import FinetuneTask, PipelineFiles, finetune_from_files
    from stages.graft.training.source_accuracy import SourceImages, check_source

    start, store = time.monotonic(), store_folder()
    weights = weights_for(backbone, BACKBONES, load_params("backbone", OfflineParams).offline)
    source = SourceImages(path=params.source_images, cache=store) if params.source_images else None
    if source is not None:
        check_source(weights, source)
    files = PipelineFiles(images=IMAGES, splits=SPLITS, store=store)
    head_params = load_params("train_head", TrainHeadParams)
    task = FinetuneTask(head=head, weights=weights, files=files, params=params, head_params=head_params)
    with live_run("finetune") as log, open_engine(load_compute(), lambda: None, on_cluster) as remote_trainer:
        finetuned = finetune_from_files(task, log.log, remote_trainer)
    seconds = time.monotonic() - start
    result = assess(finetuned, weights, params, source)
    outcome, *others = result.lines(params.keep)
    print("\n".join(f"finetune: {line}" for line in [f"{outcome}; {seconds:.0f} s", *others]))
    return result


def on_cluster(compute: ComputeParams) -> "RemoteTrainer | None":
    """Give what trains on the cluster that has been joined."""
    from stages.graft.compute.ray_training import ClusterTrainer

    return ClusterTrainer(compute).train


if __name__ == "__main__":
    run_stage("finetune", main)
