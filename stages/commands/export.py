"""Beside the pipeline, export: the whole model as one graph, from uint8 pixels to calibrated probabilities.

Reads   a bundle: this repository's data/bundle, another folder, or a model of MLflow's registry; images to compare on
Writes  a folder: model.onnx, or model.xml and model.bin; README.json: how to call it; export.json: what it is worth
Run     graft export --format onnx --out exported
"""

import argparse
import io
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from stages.graft.core.errors import DataError, ParamsError
from stages.graft.data.manifest import image_locations, read_manifest
from stages.graft.data.splits import read_splits
from stages.graft.model.bundle import LIBRARIES, Bundle, load_bundle
from stages.graft.model.export_check import NUM_SAMPLES, answered_by, compare, references, speed, torch_run
from stages.graft.model.exported_graph import (
    FILES,
    ONNX_PACKAGES,
    Format,
    check_packages,
    notes_of,
    open_graph,
    precisions,
    write_graph,
)
from stages.graft.model.image_inputs import count_images, named_images
from stages.graft.model.input_recipe import recipe
from stages.graft.model.predictor import ImageFile, Predictor
from stages.graft.model.whole_model import WholeModel
from stages.graft.storage.files import atomic_path, write_json
from stages.graft.storage.hashing import sha256_of
from stages.graft.tracking.fetch_model import fetch_bundle

IMAGES, MANIFEST, SPLITS = Path("data/images"), Path("data/manifest.csv"), Path("data/splits.csv")
RECIPE, REPORT, HERE = "README.json", "export.json", "."


def parser() -> argparse.ArgumentParser:
    """Describe the options."""
    described = argparse.ArgumentParser(
        "graft export",
        description="Write the whole model as one graph, from uint8 pixels to calibrated probabilities, compare it "
        "with the pipeline and measure its speed.",
        epilog="README.json, beside the graph, says what its input must be; export.json, what it is worth.",
    )
    described.add_argument("--format", required=True, choices=list(FILES), help="onnx needs optional packages")
    described.add_argument("--out", required=True, type=Path, help="a folder; an earlier export in it is replaced")
    described.add_argument("--model", default=HERE, help="a bundle, a repository (this one), or models:/NAME@ALIAS")
    described.add_argument("--images", nargs="+", help="files or folders to compare on; this repository's test split")
    return described


def main(arguments: Sequence[str]) -> None:
    """Write, compare, measure."""
    options = parser().parse_args(arguments)
    check_packages(options.format)
    check_out(options.out)
    with fetch_bundle(options.model, Path()) as folder:
        bundle = load_bundle(folder)
        images = images_to_compare(options.images, options.model)
        with atomic_path(options.out) as temporary:
            temporary.mkdir()
            record = export(bundle, options.format, images, temporary)
    for precision, found in record["precisions"].items():
        print(f"export: {options.out} in {precision}: {in_words(found)}")
    different = [name for name, found in record["precisions"].items() if not same_labels(found)]
    if different:
        print(f"export: in {', '.join(different)} it is not the same classifier; see {REPORT}", file=sys.stderr)


def check_out(out: Path) -> None:
    """Refuse a folder that holds something else.

    Raises:
        ParamsError: it does.
    """
    if out.exists() and not (out / REPORT).is_file() and not (out.is_dir() and not any(out.iterdir())):
        raise ParamsError(f"--out {out} is there and holds no earlier export; name a new folder")


def images_to_compare(places: Sequence[str] | None, model: str) -> list[ImageFile]:
    """List the images named, or this repository's test split.

    Raises:
        ParamsError: none are named for a model from elsewhere.
        DataError: there are none.
    """
    if places:
        count_images(places)
        return list(named_images(places, io.BytesIO()))
    if model != HERE:
        raise ParamsError("--images must name images to compare on, since --model is not this repository's")
    splits, path_of = read_splits(SPLITS), image_locations(read_manifest(MANIFEST), IMAGES)
    test = splits["id"][splits["split"] == "test"].to_list()
    if not test:
        raise DataError(f"{SPLITS} has no test image; name some with --images")
    return [ImageFile.at(path_of(id_)) for id_ in test]


def export(bundle: Bundle, format_: Format, files: Sequence[ImageFile], folder: Path) -> dict[str, Any]:
    """Write the graph and what belongs to it; give the record of its worth."""
    model = WholeModel(bundle)
    write_graph(model, format_, bundle.preprocessing.crop_px, notes_of(bundle.head.classes), folder)
    write_json(recipe(bundle.preprocessing, bundle.rule), folder / RECIPE)
    record: dict[str, Any] = {
        "format": format_,
        "backbone": bundle.weights.record(),
        "pipeline": dict(bundle.runtime.record),
        "precisions": worth(bundle, format_, files, model, folder),
        "versions": {name: version(name) for name in (*LIBRARIES, *(ONNX_PACKAGES if format_ == "onnx" else ()))},
        "sha256": {path.name: sha256_of(path) for path in sorted(folder.iterdir())},
    }
    write_json(record, folder / REPORT)
    return record


def worth(
    bundle: Bundle, format_: Format, files: Sequence[ImageFile], model: WholeModel, folder: Path
) -> dict[str, dict[str, Any]]:
    """Compare the graph with the pipeline and with torch, and measure it, in each precision."""
    predictor = Predictor(bundle)
    runs = {name: open_graph(folder, format_, name) for name in precisions(format_)}
    against_pipeline = compare(runs, references(predictor, files))
    some = list(references(predictor, files[:NUM_SAMPLES]))
    against_torch = compare(runs, answered_by(torch_run(model), some))
    squares = some[0].squares
    speeds = {
        name: speed(open_graph(folder, format_, name, 1), open_graph(folder, format_, name, len(squares)), squares)
        for name in runs
    }
    return {
        name: {
            "against_pipeline": against_pipeline[name],
            "against_torch_fp32": against_torch[name],
            "speed": speeds[name],
        }
        for name in runs
    }


def same_labels(found: Mapping[str, Any]) -> bool:
    """Say whether every image gets the class that the pipeline gives it."""
    return bool(found["against_pipeline"]["same_label"] == found["against_pipeline"]["num_images"])


def in_words(found: Mapping[str, Any]) -> str:
    """Say how good an exported model is, in a line."""
    parity, exact, rates = found["against_pipeline"], found["against_torch_fp32"], found["speed"]
    return (
        f"the pipeline's class for {parity['same_label']} of {parity['num_images']} images, probabilities within "
        f"{parity['max_difference_probabilities']:.1g} of it and {exact['max_difference_probabilities']:.1g} of torch "
        f"in fp32; {rates['latency_ms']:.1f} ms for one image, "
        f"{rates['images_per_second']:.0f} images/s in batches of {rates['batch_size']}"
    )
