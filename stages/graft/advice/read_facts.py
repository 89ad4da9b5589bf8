"""The facts, read from the reports of the stages."""

import csv
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ConfigDict

from stages.graft.advice.facts import (
    BaselineFacts,
    ClassFacts,
    Conditions,
    CurvePoint,
    Expected,
    Facts,
    Forecast,
)
from stages.graft.core.errors import DataError
from stages.graft.core.params import Params
from stages.graft.storage.files import read_json
from stages.graft.storage.spreadsheets import from_spreadsheet

RULE = "data/bundle/decision.json"
"""When the model answers; relative to the pipeline's root, as are the reports."""


class SourceParams(Params):
    """The images' place, of the section `ingest`."""

    model_config = ConfigDict(extra="ignore")

    source: str
    """As the user names it."""


class LevelParams(Params):
    """The level of the intervals, of the section `evaluate`."""

    model_config = ConfigDict(extra="ignore")

    confidence_level: float
    """In (0, 1)."""


def read_facts(root: Path, source: str, confidence_level: float) -> Facts:
    """Read the facts that the stages before have written.

    Args:
        root: the pipeline's folder.
        source: `ingest.source`.
        confidence_level: of the intervals.
    Raises:
        DataError: a report is missing or lacks a value.
    """
    names = ("metrics", "gate", "verdict", "explore", "finetune", "train_head")
    reports = {name: read_json(root / f"reports/{name}.json") for name in names}
    try:
        metrics, gate, explore = reports["metrics"], reports["gate"], reports["explore"]
        return Facts(
            source=source,
            conditions=Conditions(**{name: gate[name] for name in Conditions.__dataclass_fields__}),
            passed=gate["passed"],
            num_test=metrics["num_test"],
            num_groups=metrics["num_test_groups"],
            accuracy=metrics["accuracy"],
            interval=(metrics["accuracy_low"], metrics["accuracy_high"]),
            confidence_level=confidence_level,
            classes=_classes(_rows(root / "reports/plots/per_class.csv")),
            baseline=_baseline(reports["verdict"]),
            num_leaked=metrics["num_leaked"],
            accuracy_unleaked=metrics.get("accuracy_unleaked"),
            is_test_given="test" in explore["splits_given"],
            coverage=metrics["coverage"],
            selective_accuracy=metrics["selective_accuracy"],
            **_target(read_json(root / RULE)),
            most_confused=_most_confused(_rows(root / "reports/plots/confusion.csv")),
            curve=_curve(_rows(root / "reports/plots/shots.csv")),
            num_images=explore["num_images"],
            num_unused=explore["num_images"] - metrics["num_test"] - _num_used(reports["train_head"]),
            num_doubtful=explore["num_suspected"],
            is_finetuned=_is_finetuned(reports["finetune"]),
            forecast=_forecast(explore.get("forecast")),
            num_unlabelled=reports["train_head"].get("num_unlabelled", 0),
        )
    except KeyError as error:
        raise DataError(f"the reports in {root / 'reports'} lack {error}; `dvc repro` writes them again") from None


def _rows(path: Path) -> list[dict[str, str]]:
    """Read a small table as text.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with path.open(newline="", encoding="utf-8") as lines:
            return [{name: from_spreadsheet(cell or "") for name, cell in row.items()} for row in csv.DictReader(lines)]
    except (FileNotFoundError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}); run `dvc repro`") from None


def _classes(rows: list[dict[str, str]]) -> tuple[ClassFacts, ...]:
    return tuple(
        ClassFacts(
            label=row["class"],
            recall=float(row["recall"] or 0),
            num_test=int(row["num_test"]),
            num_train=int(row["num_train"]),
        )
        for row in rows
    )


def _baseline(verdict: Mapping[str, Any]) -> BaselineFacts:
    return BaselineFacts(
        name=verdict["baseline"],
        accuracy=verdict["baseline_accuracy"],
        num_gained=verdict["baseline_num_gained"],
        num_lost=verdict["baseline_num_lost"],
        p_value=verdict["baseline_p_value"],
        is_beaten=verdict["beats_baseline"],
    )


def _target(rule: Mapping[str, Any]) -> dict[str, Any]:
    """The wanted accuracy of the answers, and what validation shows if that is less."""
    threshold = rule["threshold"]
    reachable = None if threshold["reached"] else threshold["accuracy"]
    return {"target_accuracy": rule["target_accuracy"], "reachable_accuracy": reachable}


def _most_confused(rows: list[dict[str, str]]) -> tuple[str, str, int] | None:
    """The most frequent error; of equals, the first by name."""
    errors = Counter((row["actual"], row["predicted"]) for row in rows if row["actual"] != row["predicted"])
    if not errors:
        return None
    (actual, predicted), count = min(errors.items(), key=lambda error: (-error[1], error[0]))
    return actual, predicted, count


def _curve(rows: list[dict[str, str]]) -> tuple[CurvePoint, ...]:
    return tuple(
        CurvePoint(
            per_class=int(row["train_per_class"]),
            num_train=float(row["num_train"]),
            accuracy=float(row["accuracy"]),
            highest=float(row["accuracy_high"]),
        )
        for row in rows
    )


def _num_used(train_head: Mapping[str, Any]) -> int:
    return int(train_head["num_train"] + train_head["num_val"])


def _forecast(record: Mapping[str, Any] | None) -> Forecast | None:
    """None when explore made none, or had too few labels for one."""
    if record is None or record["all"] is None:
        return None
    outlook, words = record["all"], record["all"]["labels_for_target"]
    if isinstance(words, Mapping):
        most = f"{words['high']:,}" if words["high"] else "very many"
        words = f"{record['target']:.1%} takes {words['low']:,} to {most} labels"
    return Forecast(
        at_twice=Expected(**outlook["accuracy_with"]["2"]),
        at_four_times=Expected(**outlook["accuracy_with"]["4"]),
        gain_at_twice=outlook["gain_with"]["2"]["middle"],
        for_target="" if words in ("", "reached") else words,
    )


def _is_finetuned(finetune: Mapping[str, Any]) -> bool | None:
    return None if finetune["strategy"] == "none" else finetune.get("kept") == "fine-tuned"
