"""A network's name selects its provider, without importing torch."""

import subprocess
import sys

import pytest

from stages.graft.backbone import efficientnet_lite_networks, timm_networks, torchvision_networks
from stages.graft.backbone.providers import provider_of
from tests.conftest import REPOSITORY


@pytest.mark.parametrize("name", ["resnet18", "timm", "other:resnet18", "xtimm:resnet18", "efficientnet_b0"])
def test_names_without_a_known_prefix_are_torchvisions(name: str):
    assert provider_of(name) is torchvision_networks


def test_timms_names_have_its_prefix():
    assert provider_of("timm:resnet10t") is timm_networks
    assert (provider_of("timm:resnet10t").PACKAGES, provider_of("resnet18").PACKAGES) == (("timm",), ())


def test_selecting_a_provider_imports_neither_torch_nor_timm():
    script = """
import sys
from stages.graft.backbone.providers import provider_of
assert provider_of("timm:x").PACKAGES
assert not {"torch", "torchvision", "timm"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, check=True)


def test_efficientnet_lite_is_its_own_provider():
    assert provider_of("efficientnet_lite0") is efficientnet_lite_networks
