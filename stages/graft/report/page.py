"""The page of results: one HTML file with its pictures inside, written from the pipeline's files."""

import platform
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Template
from markupsafe import Markup, escape

from stages.graft.advice.advice import ADVICE, Advice, read_advice
from stages.graft.core.errors import DataError
from stages.graft.core.params import flatten, read_yaml
from stages.graft.core.stage import read_duration
from stages.graft.images.preprocessing import LEAST_SEEN
from stages.graft.report.drawing import Captions, drawing
from stages.graft.report.duplicate_gallery import duplicate_images
from stages.graft.report.earlier_results import read_earlier_results
from stages.graft.report.gallery import data_address, image_thumbnails, read_galleries
from stages.graft.report.headline import format_details, read_comparisons
from stages.graft.report.heat_layers import read_heat_layers
from stages.graft.report.plot_tables import read_table
from stages.graft.report.report_params import ReportParams
from stages.graft.report.templates import open_templates
from stages.graft.storage.files import read_json, write_text
from stages.graft.tracking.champion import read_champion
from stages.graft.tracking.provenance import read_provenance

PAGE, DECISION = "reports/report.html", "data/bundle/decision.json"
"""Relative to the pipeline's root."""

TEMPLATE = "page.html"

REPORTS = ("metrics", "ingest", "duplicates", "split", "extract", "explore", "finetune", "verdict")
"""Names of the JSON files in reports/ that the page shows."""

STAGES = (
    "ingest",
    "duplicates",
    "split",
    "extract",
    "train_head",
    "finetune",
    "explore",
    "explain",
    "evaluate",
    "report",
)

MAX_DAMAGED_FILES, MAX_CLASSES = 200, 500
"""Rows of the tables of damaged files and of classes, at most."""


def write_report_page(root: Path, figures: Path, params: ReportParams) -> int:
    """Draw the figures into a folder, write the page with them, and give their number.

    Raises:
        DataError, ParamsError: a file is missing or cannot be read.
    """
    plots, metrics, decision = (root / path for path in ("reports/plots", "reports/metrics.json", DECISION))
    with drawing(plots, metrics, decision, figures) as captions:
        write_page(root, figures, captions, params.gallery_images)
        return len(captions())


def write_page(root: Path, figures: Path, captions: Captions, gallery_images: int) -> None:
    """Read everything the page shows and write it; the name of a file or a class is escaped, so it stays text.

    Args:
        root: the pipeline's folder.
        figures: the folder of the PNG files.
        captions: gives the words below each figure by its file's name, in the order of reading, once all are drawn.
        gallery_images: images in a gallery, at most.
    Raises:
        DataError, ParamsError: a file is missing or cannot be read.
    """
    reports = {name: read_json(root / f"reports/{name}.json") for name in REPORTS}
    params, tags = read_yaml(root / "params.yaml"), read_provenance(root)
    thumbnails, galleries = image_thumbnails(root), read_galleries(root, gallery_images)
    page = _template().render(
        **reports,
        advice=_read_advice(root),
        details=format_details(reports["metrics"], params["evaluate"]["false_alarm_rate"]),
        earlier_results=read_earlier_results(root, read_champion(root), thumbnails),
        comparisons=read_comparisons(reports["finetune"], reports["verdict"]),
        baselines=read_table(root / "reports/baselines.csv"),
        classes=_class_table(reports["split"], read_table(root / "reports/plots/per_class.csv")),
        galleries=galleries,
        heat=read_heat_layers(root, galleries.answers),
        duplicate_images=duplicate_images(reports["duplicates"], thumbnails),
        max_damaged_files=MAX_DAMAGED_FILES,
        max_classes=MAX_CLASSES,
        least_seen=LEAST_SEEN,
        params={section: flatten(values) for section, values in params.items() if isinstance(values, Mapping)},
        durations={stage: read_duration(stage, root) for stage in STAGES},
        versions=_versions(tags),
        provenance=tags,
        figures=[
            {"name": Path(name).stem.replace("_", " "), "address": _png_address(figures / name), "caption": caption}
            for name, caption in captions().items()
        ],
    )
    write_text(page, root / PAGE)


def _read_advice(root: Path) -> Advice:
    advice = read_advice(root)
    if advice is None:
        raise DataError(f"{root / ADVICE} does not exist; `dvc repro` makes it")
    return advice


def _template() -> Template:
    environment = open_templates()
    environment.filters |= {"percent": _percent, "points": _points, "number": _number, "value": _value, "p": _p_value}
    environment.filters["code"] = _with_code
    return environment.get_template(TEMPLATE)


def _with_code(text: str) -> Markup:
    """Show what stands between backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _png_address(path: Path) -> str:
    return data_address(path.read_bytes(), "image/png")


def _class_table(split: Mapping[str, Any], per_class: pd.DataFrame) -> pd.DataFrame:
    counts = pd.DataFrame.from_dict(split["classes"], orient="index").rename_axis("class").reset_index()
    return per_class.merge(counts, on="class", how="left")


def _versions(tags: Mapping[str, str]) -> dict[str, str]:
    prefix = "version."
    libraries = {name.removeprefix(prefix): value for name, value in tags.items() if name.startswith(prefix)}
    return {"python": platform.python_version()} | libraries


def _percent(share: float | None) -> str:
    return "–" if share is None or pd.isna(share) else f"{share:.1%}"


def _points(difference: float) -> str:
    return f"{100 * difference:+.1f}".replace("-", "\N{MINUS SIGN}")


def _p_value(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.2g}"


def _number(value: Any) -> str:
    """Format a float with four significant digits, an integer in full, and anything else as `_value` does."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _value(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _value(value: Any) -> str:
    """Format a value as YAML writes it."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return str(value)
