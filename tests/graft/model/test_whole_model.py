"""The bundle as one network gives the answers of its parts."""

import numpy as np
import pytest
import torch

from stages.graft.model.bundle import load_bundle
from stages.graft.model.decision import answer
from stages.graft.model.scoring import ScoredSet
from stages.graft.model.whole_model import OUTPUTS, WholeModel
from tests.support.bundles import SHADES, picture


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
    expected = answer(bundle.rule, ScoredSet(x=x, logits=bundle.head.logits(x), y=np.zeros(0, np.int64)))
    np.testing.assert_allclose(found["probabilities"], expected.probabilities, atol=1e-5)
    np.testing.assert_allclose(found["distance"], expected.distance, rtol=1e-4)
    np.testing.assert_array_equal(found["unsure"], expected.unsure)
    np.testing.assert_array_equal(found["unknown"], expected.unknown)
    assert found["unknown"][9:].all()


def test_an_image_is_answered_alike_among_any_others(model):
    images, order = squares(6), [3, 1, 5, 0]
    with torch.inference_mode():
        for all_, some in zip(model(images), model(images[order]), strict=True):
            np.testing.assert_allclose(all_[order].numpy(), some.numpy(), atol=1e-4)


def test_nothing_of_it_is_trained(model):
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
