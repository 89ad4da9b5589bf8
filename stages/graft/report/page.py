"""The page of results: one HTML file with its pictures inside, written from the pipeline's files."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from jinja2 import Environment, StrictUndefined
from pydantic import Field

from stages.graft.core.params import Params, flatten, read_yaml
from stages.graft.core.stage import Duration, read_duration
from stages.graft.report.commit_diff import Changes, read_changes
from stages.graft.report.figures import draw_figures
from stages.graft.report.gallery import Galleries, data_address, read_galleries
from stages.graft.report.headline import SplitComparison, format_details, format_headline, read_comparisons
from stages.graft.report.plot_tables import read_table
from stages.graft.storage.files import read_json, write_text
from stages.graft.tracking.provenance import read_provenance

PAGE, DECISION = "reports/report.html", "data/bundle/decision.json"
"""Relative to the pipeline's root."""

TEMPLATE = Path(__file__).with_name("page.html")

REPORTS = ("metrics", "ingest", "split", "extract", "finetune", "verdict")
"""Names of the JSON files in reports/ that the page shows."""

STAGES = ("ingest", "split", "extract", "train_head", "finetune", "explore", "evaluate", "report")

MAX_DAMAGED_FILES = 200
"""Rows of the table of damaged files, at most."""


class ReportParams(Params):
    """The section `report` of params.yaml."""

    gallery_images: Annotated[int, Field(ge=0, le=60)]
    """Images in each gallery, at most; 60 keep the page below 3 MB."""


@dataclass(frozen=True, kw_only=True)
class PageFigure:
    """A figure on the page."""

    name: str
    """The file's name without the suffix, with spaces."""
    address: str
    """The PNG file as a data address."""
    caption: str
    """What to see in it."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """All that the page shows; its template names every field."""

    reports: Mapping[str, Mapping[str, Any]]
    """The records of REPORTS, and `gate`, which is empty if no gate was set."""
    headline: str
    """The result in a sentence."""
    details: Sequence[str]
    """What else to know before using the model, in sentences."""
    changes: Changes | None
    """Against the last commit."""
    comparisons: Sequence[SplitComparison]
    """Fine-tuned against head-only."""
    baselines: pd.DataFrame
    """The model and the baselines, a row for each."""
    classes: pd.DataFrame
    """A row for each class: number of images in each split, recall, precision, F1."""
    figures: Sequence[PageFigure]
    """In the order of reading."""
    galleries: Galleries
    """Test images with errors, unsure answers and doubtful labels."""
    params: Mapping[str, Mapping[str, Any]]
    """By section."""
    durations: Mapping[str, Duration | None]
    """By stage; None if it never ran on this machine."""
    versions: Mapping[str, str]
    """By library."""
    provenance: Mapping[str, str]
    """Commit, branch, weights, as tags."""


def write_report_page(root: Path, figures: Path, params: ReportParams) -> int:
    """Draw the figures and write the page with them.

    Args:
        root: the pipeline's folder.
        figures: the folder for the PNG files.
        params: the section `report`.
    Returns:
        The number of figures.
    Raises:
        DataError, ParamsError: a file is missing or cannot be read.
    """
    plots, metrics, decision = (root / path for path in ("reports/plots", "reports/metrics.json", DECISION))
    captions = draw_figures(plots, metrics, decision, figures)
    write_page(read_page(root, figures, captions, params.gallery_images), root / PAGE)
    return len(captions)


def read_page(root: Path, figures: Path, captions: Mapping[str, str], gallery_images: int) -> Page:
    """Read everything the page shows.

    Args:
        root: the pipeline's folder.
        figures: the folder of the PNG files.
        captions: by file name, the words below a figure.
        gallery_images: images in a gallery, at most.
    Raises:
        DataError, ParamsError: a file is missing or cannot be read.
    """
    reports = {name: read_json(root / f"reports/{name}.json") for name in REPORTS}
    gate = root / "reports/gate.json"
    reports["gate"] = read_json(gate) if gate.exists() else {}
    params, tags = read_yaml(root / "params.yaml"), read_provenance(root)
    return Page(
        reports=reports,
        headline=format_headline(reports["metrics"], params["evaluate"]["confidence_level"]),
        details=format_details(reports["metrics"]),
        changes=read_changes(root),
        comparisons=read_comparisons(reports["finetune"], reports["verdict"]),
        baselines=read_table(root / "reports/baselines.csv"),
        classes=_class_table(reports["split"], read_table(root / "reports/plots/per_class.csv")),
        figures=[_page_figure(figures / name, caption) for name, caption in captions.items()],
        galleries=read_galleries(root, gallery_images),
        params={section: flatten(values) for section, values in params.items() if isinstance(values, Mapping)},
        durations={stage: read_duration(stage, root) for stage in STAGES},
        versions=_versions(tags),
        provenance=tags,
    )


def write_page(page: Page, path: Path) -> None:
    """Write the page; the name of a file or a class is escaped, so it stays text."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"percent": _percent, "points": _points, "number": _number, "value": _value, "p": _p_value}
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    write_text(template.render(page=page, **page.reports, max_damaged_files=MAX_DAMAGED_FILES), path)


def _page_figure(path: Path, caption: str) -> PageFigure:
    address = data_address(path.read_bytes(), "image/png")
    return PageFigure(name=path.stem.replace("_", " "), address=address, caption=caption)


def _class_table(split: Mapping[str, Any], per_class: pd.DataFrame) -> pd.DataFrame:
    counts = pd.DataFrame.from_dict(split["classes"], orient="index").rename_axis("class").reset_index()
    return per_class.merge(counts, on="class", how="outer", sort=False)


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
