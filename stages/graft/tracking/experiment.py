"""The MLflow experiment that has the runs, and the view that shows what people compare.

MLflow is imported only when it is asked.
"""

import json
from typing import TYPE_CHECKING

from stages.graft.tracking.server import Address

if TYPE_CHECKING:
    from mlflow import MlflowClient

COLUMNS = ("accuracy", "accuracy_low", "balanced_accuracy", "lowest_recall", "answered", "log_loss")
"""Metrics that the view shows for each run."""

CURVES = {
    "Fine-tuning, loss": ("finetune/train_loss", "finetune/val_loss"),
    "Fine-tuning, accuracy": ("finetune/val_accuracy",),
    "MLP head, loss": ("train_head/train_loss", "train_head/val_loss"),
    "MLP head, accuracy": ("train_head/val_accuracy",),
}
"""Charts of the view: by title, the metrics in one chart."""

VIEW, NAME, CREATED = "results", "Results", 1_767_225_600_000
"""Of the view: its id, its name in MLflow's menu `Views`, a date in milliseconds since 1970, the same for everybody."""

KIND = {"mlflow.experimentKind": "custom_model_development"}
"""With this tag, a link to the experiment opens MLflow's pages for model training, not those for language models."""


def find_experiment(client: "MlflowClient", name: str, address: Address) -> str:
    """Find or create the experiment, with its view; returns its id.

    Raises:
        RuntimeError: the experiment was deleted.
    """
    from mlflow import MlflowException

    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        try:
            place = address.artifacts.as_uri() if address.artifacts else None
            return str(client.create_experiment(name, place, tags=experiment_tags()))
        except MlflowException:  # on a server, another process may have created it
            experiment = client.get_experiment_by_name(name)
            if experiment is None:
                raise
    if experiment.lifecycle_stage != "active":
        raise RuntimeError(f"the MLflow experiment `{name}` is deleted: restore it, or change `tracking.experiment`")
    for key, value in experiment_tags().items():
        if key not in experiment.tags:
            client.set_experiment_tag(experiment.experiment_id, key, value)
    return str(experiment.experiment_id)


def experiment_tags() -> dict[str, str]:
    """Give the experiment's kind, its main metric, and its view."""
    return {
        **KIND,
        "mlflow.experiment.primaryMetric.name": COLUMNS[0],
        "mlflow.experiment.primaryMetric.greaterIsBetter": "True",
        f"mlflow.sharedViewState.{VIEW}": _view(),
    }


def _view() -> str:
    """A saved view as MLflow's pages write it: the columns of the table of runs, and charts with both splits in one."""
    charts = [_chart(title, metrics) for title, metrics in CURVES.items()]
    charts += [_bar(metric) for metric in COLUMNS]
    sections = [
        {"uuid": name, "name": name, "display": True, "isReordered": False} for name in ("Curves", "Test images")
    ]
    state = {
        "selectedColumns": ["attributes.`Models`", *(f"metrics.`{metric}`" for metric in COLUMNS)],
        "compareRunCharts": charts,
        "compareRunSections": sections,
    }
    envelope = {"name": NAME, "createdAt": CREATED, "updatedAt": CREATED, "state": json.dumps(state)}
    return json.dumps(envelope)


def _chart(title: str, metrics: tuple[str, ...]) -> dict[str, object]:
    return {
        "uuid": title,
        "type": "LINE",
        "metricSectionId": "Curves",
        "displayName": title,
        "metricKey": metrics[0],
        "selectedMetricKeys": list(metrics),
        "runsCountToCompare": 10,
        "deleted": False,
        "isGenerated": False,
        "lineSmoothness": 0,
        "xAxisKey": "step",
        "xAxisScaleType": "linear",
        "selectedXAxisMetricKey": "",
        "scaleType": "linear",
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "range": {},
        "ignoreOutliers": False,
        "useGlobalXaxisKey": True,
        "useGlobalLineSmoothing": True,
    }


def _bar(metric: str) -> dict[str, object]:
    return {
        "uuid": metric,
        "type": "BAR",
        "metricSectionId": "Test images",
        "metricKey": metric,
        "displayName": metric,
        "runsCountToCompare": 10,
        "deleted": False,
        "isGenerated": False,
    }
