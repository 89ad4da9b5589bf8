"""The page of suggestions: the images to label, by cluster, and the clusters of all images; one file, no requests."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from stages.graft.labelling.clusters import Cluster
from stages.graft.report.gallery import FindThumbnail
from stages.graft.report.templates import open_templates
from stages.graft.storage.files import write_text

TEMPLATE = "suggestions.html"

NUM_TYPICAL, NUM_ODD = 6, 3
"""Images shown of each cluster, at most."""


@dataclass(frozen=True, kw_only=True)
class ShownImage:
    """An image with its text."""

    address: str | None
    """The thumbnail as a data address; None if the image is not available."""
    path: str
    """Path inside the source."""
    text: str
    """Below it."""


@dataclass(frozen=True, kw_only=True)
class ShownCluster:
    """A cluster on the page."""

    number: int
    """From 1; the largest is 1."""
    size: int
    """Its images."""
    num_labelled: int
    """Those with a label."""
    classes: str
    """Their most frequent classes with counts; empty without labels."""
    typical: Sequence[ShownImage]
    """The most typical images."""
    odd: Sequence[ShownImage]
    """The least typical ones."""
    suggested: Sequence[ShownImage]
    """Images to label."""


def show_clusters(
    clusters: Sequence[Cluster], images: pd.DataFrame, suggestions: pd.DataFrame, thumbnail: FindThumbnail
) -> list[ShownCluster]:
    """Choose what is shown of each cluster.

    Args:
        clusters: of all images.
        images: columns id, path and label, a row for each image.
        suggestions: columns id, path, cluster (from 1), guess and reason.
        thumbnail: gives the pictures.
    """

    def shown(row: int) -> ShownImage:
        image = images.iloc[row]
        return ShownImage(address=thumbnail(image["id"]), path=image["path"], text=image["label"] or "no label")

    found = []
    for number, cluster in enumerate(clusters, 1):
        labels = images["label"].iloc[cluster.rows]
        counts = labels[labels != ""].value_counts().head(3)
        rows = cluster.rows.tolist()
        odd = rows[NUM_TYPICAL:][-NUM_ODD:][::-1]
        found.append(
            ShownCluster(
                number=number,
                size=len(rows),
                num_labelled=int((labels != "").sum()),
                classes=", ".join(f"{count} {name}" for name, count in counts.items()),
                typical=[shown(row) for row in rows[:NUM_TYPICAL]],
                odd=[shown(row) for row in odd],
                suggested=_suggested(suggestions[suggestions["cluster"] == number], thumbnail),
            )
        )
    return found


def write_suggestion_page(clusters: Sequence[ShownCluster], counts: dict[str, int], table: Path, out: Path) -> None:
    """Write the page; names of files and classes are escaped.

    Args:
        clusters: as `show_clusters` gives them.
        counts: num_images, num_labelled and num_suggested.
        table: the file that a person fills in.
        out: the page.
    """
    template = open_templates().get_template(TEMPLATE)
    write_text(template.render(clusters=clusters, table=str(table), **counts), out)


def _suggested(rows: pd.DataFrame, thumbnail: Callable[[str], str | None]) -> list[ShownImage]:
    return [
        ShownImage(address=thumbnail(row["id"]), path=row["path"], text=_why(row)) for row in rows.to_dict("records")
    ]


def _why(row: Mapping[Any, Any]) -> str:
    return f"{row['reason']}; looks like {row['guess']}" if row["guess"] else row["reason"]
