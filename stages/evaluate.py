"""Stage 7 of 8, evaluate: score the test split, once.

Fits on train and validation what the model needs to say "unsure" and "unknown", lets it answer the test images, and
assembles the bundle: all that is needed to classify images elsewhere.

Reads   data/splits.csv, data/model/, data/features.safetensors, data/strangers/, data/baselines.csv;
        of a fine-tuned model also data/images/
Writes  data/bundle/, reports/metrics.json, gate.json (whether the model is good enough to be offered), verdict.json
        (fine-tuned against head-only), predictions.csv and baselines.csv, and for plots reports/plots/confusion.csv,
        per_class.csv, reliability.csv and risk_coverage.csv
Params  evaluate, backbone, extract
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
from pydantic import Field

from stages.graft.backbone.extraction import embed
from stages.graft.backbone.runtime import Runtime
from stages.graft.backbone.runtime_choice import RuntimeChoice, choose_runtime
from stages.graft.backbone.weights import BackboneParams, Weights, finetuned_weights, weights_for
from stages.graft.core.params import Params, load_params
from stages.graft.core.stage import run_stage
from stages.graft.data.image_locations import image_locations
from stages.graft.data.splits import UNUSED, read_splits
from stages.graft.data.synthetic.strangers import stranger_path
from stages.graft.evaluation import results as tables
from stages.graft.evaluation.baseline_comparison import baselines_record, comparison_table
from stages.graft.evaluation.baseline_predictions import read_baselines
from stages.graft.evaluation.quality_gate import GateParams, gate_record, judge
from stages.graft.evaluation.quality_gate import format_gate as gate_in_words
from stages.graft.evaluation.terminal_summary import format_summary
from stages.graft.heads.features import read_features
from stages.graft.heads.head import Head, load_head
from stages.graft.images.location import ImageLocation
from stages.graft.metrics.paired_comparison import compare_paired, format_comparison
from stages.graft.metrics.paired_comparison import comparison_record as verdict_record
from stages.graft.model.bundle import write_bundle
from stages.graft.model.decision import answer, fit_rule
from stages.graft.model.model_folder import BACKBONE, FROZEN_HEAD, Model, read_model
from stages.graft.model.scoring import Score, ScoredSet, score_cached, score_known, score_split, score_strangers
from stages.graft.storage.cache_folder import store_folder
from stages.graft.storage.files import write_json
from stages.graft.storage.tables import write_csv

IMAGES, SPLITS = Path("data/images"), Path("data/splits.csv")
FEATURES, MODEL = Path("data/features.safetensors"), Path("data/model")
STRANGERS, STRANGERS_FEATURES = Path("data/strangers"), Path("data/strangers/features.safetensors")
BASELINES, BUNDLE = Path("data/baselines.csv"), Path("data/bundle")
BACKBONES = Path("data/backbones")
METRICS, VERDICT = Path("reports/metrics.json"), Path("reports/verdict.json")
GATE, PREDICTIONS = Path("reports/gate.json"), Path("reports/predictions.csv")
COMPARISON, PLOTS = Path("reports/baselines.csv"), Path("reports/plots")

Share = Annotated[float, Field(gt=0, lt=1)]


class EvaluateParams(Params):
    """The section `evaluate`."""

    confidence_level: Share
    """Of every interval (Wilson)."""
    target_accuracy: Share
    """Of the answers the model gives; where it would be lower, it is unsure."""
    false_alarm_rate: Share
    """Share of known images that may count as unknown."""
    gate: GateParams
    """What a model must show before it is offered to anyone."""


def main() -> None:
    """Fit the decision rule, score the test images, write numbers and tables."""
    params, backbone = load_params("evaluate", EvaluateParams), load_params("backbone", BackboneParams)
    model, head = read_model(MODEL)
    weights = model_weights(model, backbone.offline)
    runtime = choose_runtime(weights, load_params("extract", RuntimeChoice), store_folder() / "networks")
    images = read_splits(SPLITS, ("id", "file", "label", "split"))
    stranger_ids, _ = read_features(STRANGERS_FEATURES)
    if model.kind == "frozen":
        score, score_strange = score_cached(head, FEATURES), score_cached(head, STRANGERS_FEATURES)
    else:
        used = images["id"][images["split"] != UNUSED].to_list()
        score = score_strange = network_score(head, weights, runtime, used, stranger_ids)
    train, val, test = (score_split(score, images, name, model.classes) for name in ("train", "val", "test"))
    rule = fit_rule(model.classes, train, val, params.target_accuracy, params.false_alarm_rate)
    write_bundle(MODEL, rule, weights, runtime, BUNDLE)

    evaluation = tables.Evaluation(
        images=images[images["split"] == "test"],
        classes=model.classes,
        logits=test.logits,
        answers=answer(rule, test),
        confidence_level=params.confidence_level,
    )
    comparison = comparison_table(evaluation, read_baselines(BASELINES))
    strangers = answer(rule, score_strangers(score_strange, stranger_ids))
    record = tables.metrics_record(evaluation) | tables.strangers_record(evaluation, strangers)
    write_json(record | baselines_record(comparison), METRICS)
    gate = judge(params.gate, record["accuracy_low"] or 0.0, evaluation.class_scores)
    write_json(gate_record(gate), GATE)
    write_json({"model": model.kind} | verdict_on_test(model, images, test), VERDICT)
    write_csv(comparison, COMPARISON)
    write_csv(tables.predictions_table(evaluation), PREDICTIONS)
    write_csv(tables.confusion_table(evaluation), PLOTS / "confusion.csv")
    write_csv(tables.per_class_table(evaluation), PLOTS / "per_class.csv")
    write_csv(tables.reliability(evaluation), PLOTS / "reliability.csv")
    write_csv(tables.risk_coverage(evaluation), PLOTS / "risk_coverage.csv")
    print(f"evaluate: {format_summary(evaluation, record, rule)}")
    print(f"evaluate: {gate_in_words(gate)}")


def verdict_on_test(model: Model, splits: pd.DataFrame, test: ScoredSet) -> dict[str, Any]:
    """Compare a fine-tuned model with the head alone on the test images; nothing is decided by it."""
    if model.kind == "frozen":
        return {}
    head_only = score_split(score_cached(load_head(MODEL, FROZEN_HEAD), FEATURES), splits, "test", model.classes)
    comparison = compare_paired(test.y, head_only.logits, test.logits)
    print(f"evaluate: {format_comparison(comparison, 'test')}")
    return verdict_record(comparison, "test")


def model_weights(model: Model, offline: bool) -> Weights:
    """Find the network's weights: the fine-tuned ones, or those the features were made with."""
    if model.backbone_sha256 is not None:
        return finetuned_weights(model.backbone, model.backbone_sha256, MODEL / BACKBONE)
    return weights_for(model.backbone, BACKBONES, offline)


def network_score(
    head: Head, weights: Weights, runtime: Runtime, ids: Sequence[str], stranger_ids: Sequence[str]
) -> Score:
    """Send images and strangers through the fine-tuned network, once, and give what it makes of them."""
    image_path_of, strangers = image_locations(SPLITS, IMAGES), frozenset(stranger_ids)

    def path_of(id_: str) -> ImageLocation:
        return stranger_path(STRANGERS, id_) if id_ in strangers else image_path_of(id_)

    scored = [*ids, *stranger_ids]
    x = np.concatenate([rows for _, rows in embed(scored, path_of, weights.preprocessing, runtime, "evaluate")])
    return score_known(scored, x, head.logits(x))


if __name__ == "__main__":
    run_stage("evaluate", main)
