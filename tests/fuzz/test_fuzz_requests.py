"""Damaged requests to a served model: an answer for each image or a refusal, never an error of the program."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from stages.graft.core.errors import DataError
from stages.graft.model.serving import read_image
from tests.support.bundles import CLASSES, SHADES, picture
from tests.support.fuzzing import NUM_CASES, generator, mutated, mutations
from tests.support.pictures import encoded

pytestmark = [pytest.mark.fuzz, pytest.mark.filterwarnings("default")]

IMAGES = [encoded(picture(shade, 1), format_) for shade in SHADES for format_ in ("PNG", "JPEG", "GIF")]

CELLS = (
    None, 1, -1.5, True, "", " ", [], {}, "x", "data:", "data:,", "file:", "file://[", "file:///dev/zero", "file:\0",
    "file:///%00", "file:////a", "http://a", "ü", "=" * 9, "A" * 5, "\ud800", "data:;base64,AAAA", [[]],
)  # fmt: skip


@pytest.fixture(scope="module")
def answer(bundle_folder, tmp_path_factory):
    """Answer a body as MLflow's server does: the rows, or its refusal as a DataError."""
    from mlflow import MlflowException, pyfunc
    from mlflow.pyfunc.scoring_server import invocations

    from stages.graft.tracking.mlflow_model import LOADER, signature

    folder = tmp_path_factory.mktemp("served") / "model"
    pyfunc.save_model(
        str(folder),
        loader_module=LOADER,
        data_path=str(bundle_folder),
        signature=signature(CLASSES),
        pip_requirements=[],
    )
    model = pyfunc.load_model(str(folder), model_config={"read_paths": True})

    def ask(request: tuple[bytes, str]) -> list[dict[str, Any]]:
        try:
            response = invocations(*request, model, model.metadata.get_input_schema())
        except MlflowException as error:
            if "unexpected error" in error.message:  # the model's own
                raise AssertionError(error.stack_trace) from None
            raise DataError("a refusal of MLflow's") from None
        if response.status != 200:
            raise DataError("a refusal of MLflow's")
        rows: list[dict[str, Any]] = json.loads(response.response)["predictions"]
        for row in rows:
            assert (row["error"] is None) != (row["label"] is None)
            assert row["error"] is None or row["error"].isprintable()
        return rows

    return ask


def test_cells_of_a_table(attack, answer):
    attack("cells of a request", _tables(), answer)


def _tables() -> Iterator[tuple[bytes, str]]:
    rng = generator("cells of a request")
    for _ in range(NUM_CASES // 8):
        cells = [_cell(rng) for _ in range(int(rng.integers(1, 5)))]
        yield json.dumps({"dataframe_records": [{"image": cell} for cell in cells]}).encode(), "application/json"


def _cell(rng: np.random.Generator) -> Any:
    if rng.random() < 0.4:
        return CELLS[int(rng.integers(len(CELLS)))]
    data = mutated(IMAGES[int(rng.integers(len(IMAGES)))], rng)
    return ("" if rng.random() < 0.5 else "data:image/png;base64,") + base64.b64encode(data).decode()


def test_damaged_bodies(attack, answer):
    image = base64.b64encode(IMAGES[0]).decode()
    bodies = [
        json.dumps(body).encode()
        for body in (
            {"dataframe_records": [{"image": image}]},
            {"dataframe_split": {"columns": ["image"], "data": [[image]]}},
            {"inputs": {"image": [image]}},
            {"instances": [{"image": image}]},
        )
    ]
    kinds = ("application/json", "application/json; charset=utf-8", "text/csv")
    damaged = enumerate(mutations([*bodies, f"image\n{image}\n".encode()], "bodies", NUM_CASES // 4))
    attack("bodies", ((data, kinds[number % 5 // 2]) for number, data in damaged), answer)


def test_cells_alone(attack):
    attack("base64", mutations([base64.b64encode(data) for data in IMAGES], "base64"), _read)


def _read(data: bytes) -> None:
    read_image(data.decode("latin-1"), read_paths=True)
