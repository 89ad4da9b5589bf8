"""A graph in a file answers any number of images as torch does, and says whose classes they are."""

import json
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from stages.graft.backbone.openvino_runtime import openvino
from stages.graft.core.errors import GraftError, ParamsError
from stages.graft.model import exported_graph
from stages.graft.model.bundle import load_bundle
from stages.graft.model.exported_graph import (
    ONNX_PACKAGES,
    check_packages,
    notes_of,
    open_graph,
    precisions,
    write_graph,
)
from stages.graft.model.whole_model import INPUT, OUTPUTS, WholeModel
from tests.graft.model.test_whole_model import squares
from tests.support.bundles import CLASSES

needs_onnx = pytest.mark.skipif(not all(map(find_spec, ONNX_PACKAGES)), reason="the extra `onnx` is not installed")
FORMATS = ["openvino", pytest.param("onnx", marks=needs_onnx)]


@pytest.fixture(scope="module")
def model(bundle_folder):
    return WholeModel(load_bundle(bundle_folder))


@pytest.fixture(scope="module", params=FORMATS)
def written(request, model, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    write_graph(model, request.param, 64, notes_of(CLASSES), folder)
    return folder, request.param


@pytest.mark.parametrize("batch_size", [None, 5])
def test_it_answers_as_torch_does(written, model, batch_size):
    folder, format_ = written
    images = squares(5)
    with torch.inference_mode():
        expected = dict(zip(OUTPUTS, (out.numpy() for out in model(images)), strict=True))
    run = open_graph(folder, format_, "fp32", batch_size)
    for number in [5] if batch_size else [1, 3, 5]:
        found = run(images.numpy()[:number])
        np.testing.assert_allclose(found["probabilities"], expected["probabilities"][:number], atol=1e-4)
        np.testing.assert_allclose(found["distance"], expected["distance"][:number], rtol=1e-3)
        for name in ("unsure", "unknown"):
            assert found[name].dtype == bool
            np.testing.assert_array_equal(found[name], expected[name][:number])


def test_bf16_is_near_where_the_processor_has_it(written, model):
    folder, format_ = written
    images = squares(5).numpy()
    fp32 = open_graph(folder, format_, "fp32")(images)
    for precision in precisions(format_):
        found = open_graph(folder, format_, precision)(images)
        np.testing.assert_allclose(found["probabilities"], fp32["probabilities"], atol=0.02)
    assert precisions("onnx") == ("fp32",)


def test_an_openvino_file_names_its_classes_and_outputs(model, tmp_path):
    write_graph(model, "openvino", 64, notes_of(CLASSES), tmp_path)
    graph = openvino.Core().read_model(tmp_path / "1/model.xml")
    assert json.loads(graph.get_rt_info(["graft", "classes"]).value) == list(CLASSES)
    assert [output.any_name for output in graph.outputs] == list(OUTPUTS)
    assert graph.inputs[0].any_name == INPUT
    assert graph.inputs[0].partial_shape.to_string() == "[?,64,64,3]"


@needs_onnx
def test_an_onnx_file_names_its_classes_and_outputs(model, tmp_path):
    import onnxruntime

    write_graph(model, "onnx", 64, notes_of(CLASSES), tmp_path)
    assert [path.name for path in (tmp_path / "1").iterdir()] == ["model.onnx"]
    session = onnxruntime.InferenceSession(tmp_path / "1/model.onnx")
    assert json.loads(session.get_modelmeta().custom_metadata_map["classes"]) == list(CLASSES)
    assert [output.name for output in session.get_outputs()] == list(OUTPUTS)
    (given,) = session.get_inputs()
    assert (given.name, given.type, given.shape[1:]) == (INPUT, "tensor(uint8)", [64, 64, 3])


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setattr(exported_graph, "find_spec", lambda name: None if name == "onnxscript" else object())
    check_packages("openvino")
    with pytest.raises(ParamsError, match="--format onnx needs onnxscript; `pip install onnxscript` brings it"):
        check_packages("onnx")


def test_what_cannot_be_written_is_one_line(model, tmp_path, monkeypatch):
    monkeypatch.setattr(WholeModel, "forward", lambda self, images: 1 / 0)
    with pytest.raises(GraftError, match=r"the network cannot be written as openvino: .*; try another --format"):
        write_graph(model, "openvino", 64, {}, tmp_path)
