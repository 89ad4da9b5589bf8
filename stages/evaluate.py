"""Stage 9 of 10, evaluate: score the test split, once.

Fits to train and validation what the model needs to say "unsure" and "unknown", lets it classify the test images, and
assembles the bundle: all that is needed to classify images elsewhere.

Reads   data/baselines.csv, data/model/, data/evidence/, data/features.safetensors; of a fine-tuned model also
        data/images/
Writes  data/bundle/, reports/metrics.json, headline.json (the numbers of DVC's tables), gate.json (whether the model
        is good enough to be offered), verdict.json (against the best baseline, and fine-tuned against head-only),
        predictions.csv and baselines.csv, and for plots reports/plots/confusion.csv, per_class.csv, reliability.csv,
        risk_coverage.csv and labels.csv
Params  evaluate, backbone.offline, duplicates.method, extract, ingest.max_megapixels
"""

from functools import partial
from pathlib import Path
from typing import Any

from stages.graft.backbone.runtime_choice import RuntimeChoice
from stages.graft.backbone.weights import OfflineParams
from stages.graft.core.params import load_params
from stages.graft.core.stage import run_stage
from stages.graft.data.image_groups import DUPLICATES, DuplicatesParams
from stages.graft.data.image_locations import image_locations
from stages.graft.data.splits import BASELINES, UNUSED, read_splits
from stages.graft.evaluation.baseline_comparison import (
    baselines_record,
    compare_with_baselines,
    comparison_table,
    verdict_record,
)
from stages.graft.evaluation.evaluate_params import EvaluateParams, GateParams
from stages.graft.evaluation.quality_gate import Measured, gate_record, judge
from stages.graft.evaluation.results import (
    Evaluation,
    evaluate_answers,
    headline_record,
    metrics_record,
    unknown_record,
    write_tables,
)
from stages.graft.evaluation.terminal_summary import format_summary
from stages.graft.evaluation.unseen_classes import UnseenClass, measure_unseen
from stages.graft.heads.head import load_head
from stages.graft.images.pixel_limit import PixelLimitParams
from stages.graft.metrics.paired_comparison import compare_paired, comparison_record, format_comparison
from stages.graft.model.bundle import write_bundle
from stages.graft.model.decision import DecisionRule, answer, fit_rule
from stages.graft.model.model_folder import FROZEN_HEAD, Model, model_weights, read_model
from stages.graft.model.model_runtime import model_runtime
from stages.graft.model.scoring import ScoredSet, score_cached, score_images, score_splits
from stages.graft.storage.files import write_json
from stages.graft.storage.tables import write_csv

IMAGES, IMAGES_TABLE, FEATURES = Path("data/images"), Path("data/baselines.csv"), Path("data/features.safetensors")
MODEL, EVIDENCE, BUNDLE = Path("data/model"), Path("data/evidence"), Path("data/bundle")
BACKBONES = Path("data/backbones")
REPORTS = Path("reports")

COLUMNS = ("id", "file", "label", "group", "split", DUPLICATES, *BASELINES)
"""Columns of the table of images that the reports need."""


def main() -> None:
    """Fit the decision rule, score the test images, write the bundle and the reports."""
    params, offline = load_params("evaluate", EvaluateParams), load_params("backbone", OfflineParams).offline
    model, head = read_model(MODEL)
    weights = model_weights(model, MODEL, BACKBONES, offline)
    locations = partial(image_locations, IMAGES_TABLE, IMAGES)
    runtime = model_runtime(weights, load_params("extract", RuntimeChoice), FEATURES, locations)
    images, is_frozen = read_splits(IMAGES_TABLE, COLUMNS), model.kind == "frozen"
    cached = score_cached(head if is_frozen else load_head(MODEL, FROZEN_HEAD), FEATURES)
    pretrained = scored = score_splits(cached, images, model.classes)
    if not is_frozen:
        score = score_images(head, weights, runtime, images["id"][images["split"] != UNUSED].to_list(), locations())
        scored = score_splits(score, images, model.classes)
    train, val, test = scored
    # The rule is fitted to train and validation; the test images are only scored.
    rule = fit_rule(model, train, val, params.target_accuracy, params.false_alarm_rate)
    max_megapixels = load_params("ingest", PixelLimitParams).max_megapixels
    write_bundle((MODEL, EVIDENCE), rule, weights, runtime, BUNDLE, max_megapixels)
    is_checked = load_params("duplicates", DuplicatesParams).method != "off"
    level, answers = params.confidence_level, answer(rule, test.x, test.logits)
    evaluation = evaluate_answers(images, model.classes, test.logits, answers, level, is_checked)
    unseen = measure_unseen(pretrained, model.classes, params.false_alarm_rate)
    write_reports(evaluation, unseen, rule, params.gate, verdict(model, pretrained[-1], test))


def write_reports(
    evaluation: Evaluation, unseen: list[UnseenClass], rule: DecisionRule, gate: GateParams, finetuning: dict[str, Any]
) -> None:
    """Write the numbers and the tables, and show the most important of them; `finetuning` is as `verdict` gives it."""
    metrics = metrics_record(evaluation) | unknown_record(evaluation, unseen, rule.num_known_groups)
    comparison, baselines = comparison_table(evaluation), compare_with_baselines(evaluation)
    measured = Measured(
        accuracy_low=metrics["accuracy_low"] or 0.0,
        num_leaked=evaluation.num_leaked,
        scores=evaluation.class_scores,
        baselines=baselines,
    )
    write_json(metrics | baselines_record(comparison), REPORTS / "metrics.json")
    write_json(headline_record(metrics, evaluation.class_scores), REPORTS / "headline.json")
    write_json(gate_record(judge(gate, measured)), REPORTS / "gate.json")
    write_json(finetuning | verdict_record(baselines), REPORTS / "verdict.json")
    write_csv(comparison, REPORTS / "baselines.csv")
    write_tables(evaluation, unseen, REPORTS)
    print("\n".join(f"evaluate: {line}" for line in format_summary(evaluation, metrics, rule)))


def verdict(model: Model, before: ScoredSet, test: ScoredSet) -> dict[str, Any]:
    """Compare a fine-tuned model with the head alone, `before`, on the test images; nothing is decided by it."""
    if model.kind == "frozen":
        return {"model": model.kind}
    comparison = compare_paired(test.y, before.logits, test.logits)
    print(f"evaluate: fine-tuning changed {format_comparison(comparison, 'test')}")
    return {"model": model.kind} | comparison_record(comparison, "test")


if __name__ == "__main__":
    run_stage("evaluate", main)
