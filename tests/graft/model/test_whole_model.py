"""The bundle as one network gives the answers of its parts."""

from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from stages.graft.images.crop import decode_square
from stages.graft.model.bundle import load_bundle
from stages.graft.model.decision import answer
from stages.graft.model.exported_graph import open_graph, write_graph
from stages.graft.model.predictor import ImageFile, load_predictor
from stages.graft.model.whole_model import OUTPUTS, WholeModel
from tests.support.bundles import CLASSES, SHADES, make_bundle, picture
from tests.support.pictures import encoded


@pytest.fixture(scope="module")
def bundle(bundle_folder):
    return load_bundle(bundle_folder)


@pytest.fixture(scope="module")
def model(bundle):
    return WholeModel(bundle)


def squares(number):
    shown = [picture(SHADES[k % 3], k).resize((64, 64)).convert("RGB") for k in range(number)]
    return torch.from_numpy(np.stack([np.asarray(image) for image in shown]))


def test_it_says_what_head_rule_and_detector_say(model, bundle):
    images = squares(12)
    images[9:] = torch.randint(0, 256, images[9:].shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        x = model.backbone(images).numpy()
        found = dict(zip(OUTPUTS, (out.numpy() for out in model(images)), strict=True))
    expected = answer(bundle.rule, x, bundle.head.logits(x))
    np.testing.assert_allclose(found["probabilities"], expected.probabilities, atol=1e-5)
    np.testing.assert_allclose(found["distance"], expected.distance, rtol=1e-4)
    np.testing.assert_array_equal(found["unsure"], expected.unsure)
    np.testing.assert_array_equal(found["unknown"], expected.unknown)
    assert found["unknown"][9:].all()


@pytest.fixture(scope="module")
def four_views(tmp_path_factory):
    """A bundle whose features are averaged over four views of squashed images."""
    folder = tmp_path_factory.mktemp("views")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRAFT_STORE", str(folder / "store"))
        return make_bundle(folder, runtime="torch", views=4, fit="squash")


def wide(number):
    image = picture(SHADES[number % 3], number).convert("RGB")
    return encoded(Image.fromarray(np.hstack([np.asarray(image)] * 2 + [np.zeros((48, 30, 3), np.uint8)])), "PNG")


def test_with_four_views_prediction_network_and_graph_say_the_same(four_views, tmp_path):
    """Of wide images, through the bundle's own preprocessing."""
    predictor = load_predictor(four_views)
    assert (predictor.preprocessing.fit, load_bundle(four_views).weights.views) == ("squash", 4)
    files = [wide(number) for number in range(6)]
    rows = list(predictor.predict(ImageFile(name="", read=partial(bytes, data)) for data in files))
    expected = [[row[f"p_{label}"] for label in CLASSES] for row in rows]
    pixels = np.stack([decode_square(data, predictor.preprocessing) for data in files])
    model = WholeModel(load_bundle(four_views))
    with torch.inference_mode():
        np.testing.assert_allclose(model(torch.from_numpy(pixels))[0].numpy(), expected, atol=1e-4)
    write_graph(model, "openvino", 64, {}, tmp_path)
    found = open_graph(tmp_path, "openvino", "fp32")(pixels)
    np.testing.assert_allclose(found["probabilities"], expected, atol=1e-4)


def test_an_image_is_answered_alike_among_any_others(model):
    images, order = squares(6), [3, 1, 5, 0]
    with torch.inference_mode():
        for all_, some in zip(model(images), model(images[order]), strict=True):
            np.testing.assert_allclose(all_[order].numpy(), some.numpy(), atol=1e-4)


def test_nothing_of_it_is_trained(model):
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
