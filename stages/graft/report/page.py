"""The page that people decide from: one file with its pictures inside, written from what the stages left behind."""

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
from stages.graft.data.manifest import LOCATION_COLUMNS, image_locations, read_manifest
from stages.graft.report.commit_diff import Changes, read_changes
from stages.graft.report.figures import draw_figures
from stages.graft.report.gallery import (
    Address,
    Tile,
    data_address,
    doubtful_labels,
    least_sure,
    thumbnail_maker,
    worst_errors,
)
from stages.graft.report.headline import FinetuningComparison, finetuning_comparisons, format_details, format_headline
from stages.graft.report.plot_tables import read_table
from stages.graft.storage.files import read_json, write_text
from stages.graft.tracking.provenance import read_provenance

PAGE = "reports/report.html"
"""Relative to the pipeline's root."""

TEMPLATE = Path(__file__).with_name("page.html")

DECISION = "data/bundle/decision.json"

NUM_DOUBTFUL = 20
"""Labels in doubt that are shown, at most."""

NUM_LISTED = 200
"""Files that are listed, at most."""

STAGES = ("ingest", "split", "extract", "train_head", "finetune", "explore", "evaluate", "report")


class ReportParams(Params):
    """The section `report` of params.yaml."""

    gallery_images: Annotated[int, Field(ge=0, le=60)]
    """Images in each gallery, at most; 60 keep the page below 3 MB."""


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A figure as the page shows it."""

    name: str
    """Of its file, in words."""
    address: str
    """The PNG file as a data address."""
    caption: str
    """What to see in it."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """All that the page says; its template names every field."""

    metrics: Mapping[str, Any]
    """As evaluate wrote them."""
    headline: str
    """The result in a sentence."""
    in_short: Sequence[str]
    """What else to know, in sentences."""
    changes: Changes | None
    """Against the last commit."""
    finetune: Mapping[str, Any]
    """The stage's report."""
    comparisons: Sequence[FinetuningComparison]
    """Fine-tuned against head-only."""
    gate: Mapping[str, Any] | None
    """Whether the model may be used, and why not; None when nobody asked."""
    baselines: pd.DataFrame
    """The model beside them."""
    drawings: Sequence[Drawing]
    """The figures."""
    errors: Sequence[Tile]
    """The surest errors."""
    num_errors: int
    """Of all test images."""
    unsure: Sequence[Tile]
    """The least sure answers."""
    doubtful: Sequence[Tile]
    """Labels in doubt."""
    num_doubtful: int
    """Images that look like another class."""
    num_suspected: int
    """Of these, those whose label confident learning takes for wrong."""
    classes: pd.DataFrame
    """A row for each: number of images in each split, recall, precision, F1."""
    split: Mapping[str, Any]
    """The stage's report."""
    ingest: Mapping[str, Any]
    """The stage's report."""
    extract: Mapping[str, Any]
    """The stage's report."""
    params: Mapping[str, Mapping[str, Any]]
    """By section."""
    durations: Mapping[str, Duration | None]
    """By stage; None where it never ran here."""
    versions: Mapping[str, str]
    """By library."""
    provenance: Mapping[str, str]
    """Commit, branch, weights, as tags."""
    confidence_level: float
    """Of the intervals."""


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


def read_page(root: Path, figures: Path, captions: Mapping[str, str], num_tiles: int) -> Page:
    """Read everything the page shows.

    Args:
        root: the pipeline's folder.
        figures: the folder of the PNG files.
        captions: by file name, the words below a figure.
        num_tiles: images in a gallery, at most.
    Raises:
        DataError, ParamsError: a file is missing or cannot be read.
    """
    reports = root / "reports"
    metrics, split, finetune, verdict = (
        read_json(reports / f"{name}.json") for name in ("metrics", "split", "finetune", "verdict")
    )
    params, tags = read_yaml(root / "params.yaml"), read_provenance(root)
    level = params["evaluate"]["confidence_level"]
    predictions, labels = read_table(reports / "predictions.csv"), read_table(reports / "label_errors.csv")
    address = _thumbnails(root / "data/manifest.csv", root / "data/images")
    return Page(
        metrics=metrics,
        headline=format_headline(metrics, level),
        in_short=format_details(metrics),
        changes=read_changes(root),
        finetune=finetune,
        comparisons=finetuning_comparisons(finetune, verdict),
        gate=read_json(reports / "gate.json") if (reports / "gate.json").exists() else None,
        baselines=read_table(reports / "baselines.csv"),
        drawings=[_drawing(figures / name, caption) for name, caption in captions.items()],
        errors=worst_errors(predictions, num_tiles, address),
        num_errors=int((predictions["label"] != predictions["predicted"]).sum()),
        unsure=least_sure(predictions, num_tiles, address),
        doubtful=doubtful_labels(labels, NUM_DOUBTFUL, address),
        num_doubtful=len(labels),
        num_suspected=int(labels["suspected"].astype(bool).sum()),
        classes=_class_table(split, read_table(reports / "plots/per_class.csv")),
        split=split,
        ingest=read_json(reports / "ingest.json"),
        extract=read_json(reports / "extract.json"),
        params={section: flatten(values) for section, values in params.items() if isinstance(values, Mapping)},
        durations={stage: read_duration(stage, root) for stage in STAGES},
        versions={"python": platform.python_version()} | {
            name.removeprefix("version."): value for name, value in tags.items() if name.startswith("version.")
        },
        provenance=tags,
        confidence_level=level,
    )  # fmt: skip


def write_page(page: Page, path: Path) -> None:
    """Write the page; whatever a file or a class is called, it stays text."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"percent": _percent, "points": _points, "number": _number, "value": _value, "p": _p_value}
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    write_text(template.render(page=page, num_listed=NUM_LISTED), path)


def _thumbnails(manifest: Path, images: Path) -> Address:
    if not manifest.exists():  # DVC's, and not pulled
        return lambda _: None
    return thumbnail_maker(image_locations(read_manifest(manifest, LOCATION_COLUMNS), images))


def _drawing(path: Path, caption: str) -> Drawing:
    address = data_address(path.read_bytes(), "image/png")
    return Drawing(name=path.stem.replace("_", " "), address=address, caption=caption)


def _class_table(split: Mapping[str, Any], per_class: pd.DataFrame) -> pd.DataFrame:
    counts = pd.DataFrame.from_dict(split["classes"], orient="index").rename_axis("class").reset_index()
    return per_class.merge(counts, on="class", how="outer", sort=False)


def _percent(share: float | None) -> str:
    return "–" if share is None or pd.isna(share) else f"{share:.1%}"


def _points(difference: float) -> str:
    return f"{100 * difference:+.1f}".replace("-", "\N{MINUS SIGN}")


def _p_value(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.2g}"


def _number(value: Any) -> str:
    """At most four significant digits, whole numbers in full; what is no number as it is."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _value(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _value(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return str(value)
