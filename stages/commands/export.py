"""graft export: write the whole model as one graph, from uint8 pixels to calibrated probabilities.

Reads   a bundle: this repository's data/bundle, another folder, or a model of MLflow's registry; images to compare on
Writes  a folder: 1/model.onnx, or 1/model.xml and 1/model.bin; README.json: how to call it; classify.py, which does so;
        export.json: what it is worth
"""

import io
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from stages.graft.backbone.openvino_runtime import INT8, OpenVinoRuntime
from stages.graft.core.errors import DataError, ParamsError
from stages.graft.core.progress import Progress
from stages.graft.data.image_locations import image_locations
from stages.graft.data.splits import read_splits
from stages.graft.model import classify
from stages.graft.model.bundle import LIBRARIES, Bundle, load_bundle
from stages.graft.model.export_check import NUM_SAMPLES, Reference, answered_by, compare, references, speed, torch_run
from stages.graft.model.exported_graph import (
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

IMAGES, SPLITS = Path("data/images"), Path("data/splits.csv")
RECIPE, SCRIPT, REPORT, THIS_REPOSITORY = "README.json", "classify.py", "export.json", "."


def export_model(format_: Format, out: Path, model: str, images: Sequence[str], maps: bool) -> None:
    """Write the graph, with heat maps if `maps`, compare it with the pipeline and measure its speed.

    Raises:
        ParamsError, DataError: a package, the model or the images are missing, or `out` holds something else.
    """
    check_packages(format_)
    check_out(out)
    with fetch_bundle(model, Path()) as folder:
        bundle = load_bundle(folder)
        files = images_to_compare(images, model)
        with atomic_path(out) as temporary:
            temporary.mkdir()
            record = write_export(bundle, format_, files, maps, temporary)
    for precision, result in record["precisions"].items():
        print(f"export: {out} in {precision}: {format_result(result)}")
    different = [name for name, result in record["precisions"].items() if not same_labels(result)]
    if different:
        print(f"export: in {', '.join(different)} it is not the same classifier; see {REPORT}", file=sys.stderr)


def check_out(out: Path) -> None:
    """Refuse a folder that holds something else than an export.

    Raises:
        ParamsError: it does.
    """
    if out.exists() and not (out / REPORT).is_file() and not (out.is_dir() and not any(out.iterdir())):
        raise ParamsError(f"--out {out} exists and holds no earlier export; name a new folder")


def images_to_compare(names: Sequence[str], model: str) -> list[ImageFile]:
    """List the named images, or this repository's test split.

    Raises:
        ParamsError: no image is named for the model of another repository.
        DataError: there is no image.
    """
    if names:
        count_images(names)
        return list(named_images(names, io.BytesIO()))
    if model != THIS_REPOSITORY:
        raise ParamsError("--images must name images to compare on, since --model is not this repository's")
    splits, locate = read_splits(SPLITS), image_locations(SPLITS, IMAGES)
    test = splits["id"][splits["split"] == "test"].to_list()
    if not test:
        raise DataError(f"{SPLITS} has no test image; name some with --images")
    return [ImageFile.at(locate(id_)) for id_ in test]


def write_export(
    bundle: Bundle, format_: Format, files: Sequence[ImageFile], maps: bool, folder: Path
) -> dict[str, Any]:
    """Write the graph, how it is called and the record of its quality; returns the record."""
    model, size_px = WholeModel(bundle, maps), bundle.weights.preprocessing.crop_px
    print(f"export: writing the graph as {format_}", file=sys.stderr)
    notes = notes_of(bundle.head.classes, model.outputs)
    write_graph(model, format_, size_px, notes, folder, int8_network(bundle, format_))
    write_json(recipe(bundle.weights.preprocessing, bundle.rule, model.outputs), folder / RECIPE)
    shutil.copyfile(Path(classify.__file__), folder / SCRIPT)
    record: dict[str, Any] = {
        "format": format_,
        "backbone": bundle.weights.to_record(),
        "pipeline": dict(bundle.runtime.record),
        "precisions": measure_precisions(bundle, format_, files, model, folder),
        "versions": {name: version(name) for name in (*LIBRARIES, *(ONNX_PACKAGES if format_ == "onnx" else ()))},
        "sha256": {path.relative_to(folder).as_posix(): sha256_of(path) for path in sorted(folder.rglob("*.*"))},
    }
    write_json(record, folder / REPORT)
    return record


def int8_network(bundle: Bundle, format_: Format) -> OpenVinoRuntime | None:
    """Give a bundle's network in int8 if it has one and the format takes it."""
    runtime = bundle.runtime
    is_int8 = format_ == "openvino" and runtime.record["precision"] == INT8
    return runtime if is_int8 and isinstance(runtime, OpenVinoRuntime) else None


def measure_precisions(
    bundle: Bundle, format_: Format, files: Sequence[ImageFile], model: WholeModel, folder: Path
) -> dict[str, dict[str, Any]]:
    """Compare the graph in each precision with the pipeline and with torch, and measure its speed."""
    predictor, maps = Predictor(bundle), model.num_layers > 0
    names = precisions(format_, int8_network(bundle, format_) is not None)
    graphs = {name: open_graph(folder, format_, name) for name in names}
    with Progress(len(files), desc="compare", unit="images") as progress:
        against_pipeline = compare(graphs, counted(references(predictor, files, maps), progress))
    samples = list(references(predictor, files[:NUM_SAMPLES], maps))
    against_torch = compare(graphs, answered_by(torch_run(model), samples))
    squares = samples[0].squares
    return {
        name: {
            "against_pipeline": against_pipeline[name],
            "against_torch_fp32": against_torch[name],
            "speed": speed(
                open_graph(folder, format_, name, 1), open_graph(folder, format_, name, len(squares)), squares
            ),
        }
        for name in graphs
    }


def counted(images: Iterable[Reference], progress: Progress) -> Iterator[Reference]:
    """Give the images, and show how many have been used."""
    for found in images:
        yield found
        progress.advance(len(found.squares))


def same_labels(result: Mapping[str, Any]) -> bool:
    """Tell whether every image gets the class that the pipeline gives it."""
    return bool(result["against_pipeline"]["same_label"] == result["against_pipeline"]["num_images"])


def format_result(result: Mapping[str, Any]) -> str:
    """Describe the quality and the speed of an exported model in one line."""
    pipeline, exact, speeds = result["against_pipeline"], result["against_torch_fp32"], result["speed"]
    return (
        f"the pipeline's class for {pipeline['same_label']} of {pipeline['num_images']} images, probabilities within "
        f"{pipeline['max_difference_probabilities']:.1g} of it and {exact['max_difference_probabilities']:.1g} of "
        f"torch in fp32; {speeds['latency_ms']:.1f} ms for one image, "
        f"{speeds['images_per_second']:.0f} images/s in batches of {speeds['batch_size']}"
    )
