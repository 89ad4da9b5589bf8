"""Heat maps for the galleries of the page: small transparent pictures, laid over the thumbnails."""

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.graft.data.image_locations import image_locations
from stages.graft.data.manifest import read_manifest
from stages.graft.report.gallery import GalleryImage, data_address
from stages.graft.storage.files import read_json

EXPLAIN = "reports/explain.json"

LONGER_PX = 48
"""Longer side of a layer, in pixels; the page stretches it."""


@dataclass(frozen=True, kw_only=True)
class HeatLayers:
    """Heat maps, or the reason why none are shown."""

    addresses: Mapping[str, str]
    """Layers as data addresses, by the files of the images."""
    words: str
    """What the page says about them."""


def read_heat_layers(root: Path, images: Iterable[GalleryImage]) -> HeatLayers:
    """Compute the heat maps of test images with the bundle; none where they cannot be trusted.

    Args:
        root: the pipeline's folder.
        images: of the galleries.
    """
    if not (root / EXPLAIN).exists():
        return HeatLayers(addresses={}, words="")
    found = read_json(root / EXPLAIN)
    if not found["is_trusted"]:
        return HeatLayers(addresses={}, words=_refusal(found))
    manifest, bundle = root / "data/manifest.csv", root / "data/bundle"
    if not (manifest.exists() and bundle.exists()):
        return HeatLayers(addresses={}, words="Heat maps come with dvc pull; then run graft report.")
    from stages.graft.model.heat_picture import heat_layer  # both import OpenCV
    from stages.graft.model.predictor import ImageFile, load_predictor

    files = {image.file for image in images if image.address is not None}
    table = read_manifest(manifest, ("id", "file", "width", "height"))
    table = table[table["file"].isin(files)]
    locate, predictor = image_locations(manifest, root / "data/images"), load_predictor(bundle)
    explained = predictor.explain(ImageFile.at(locate(id_)) for id_ in table["id"])
    addresses = {}
    for row, one in zip(table.to_dict("records"), explained, strict=True):
        if one.heat is not None:
            scale = LONGER_PX / max(row["width"], row["height"])
            size = (max(1, round(scale * row["width"])), max(1, round(scale * row["height"])))
            file = io.BytesIO()
            heat_layer(one.heat, *size, predictor.preprocessing).save(file, "PNG", optimize=True)
            addresses[str(row["file"])] = data_address(file.getvalue(), "image/png")
    return HeatLayers(addresses=addresses, words=_praise(found))


def _refusal(found: Mapping[str, Any]) -> str:
    if not found["num_layers"]:
        return "No heat maps: the network gives no maps from which they could be made."
    if not found["num_images"]:
        return "No heat maps: it was not measured whether they can be trusted (explain.num_images)."
    counts = f"on {found['num_images']} validation images, {found['num_better']}"
    return f"No heat maps: {counts} were better than the heat map of another image, which chance explains."


def _praise(found: Mapping[str, Any]) -> str:
    counts = f"{found['num_better']} of {found['num_images']} validation images"
    return (
        f"The brighter, the more speaks for the answer there. On {counts}, the heat map was better than that of "
        "another image. It says where to look, not what is wrong: what covers much of an image has no place."
    )
