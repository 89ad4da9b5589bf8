"""Blocks in order, and the cut before one, which changes no bit."""

import pytest
import torch

from stages.graft.backbone.blocks import block_names, block_of, first_tuned, name_in_network, split_backbone
from stages.graft.backbone.network import load_backbone
from stages.graft.backbone.weights import Weights
from stages.graft.core.errors import ParamsError
from stages.graft.images.preprocessing import Preprocessing


@pytest.mark.parametrize(
    ("name", "num_blocks", "first", "last"),
    [
        ("resnet18", 10, "conv1", "layer4.1"),
        ("regnet_x_400mf", 23, "stem", "trunk_output.block4.block4-11"),
        ("vgg11", 10, "features.0", "classifier.3"),
        ("vit_b_32", 14, "conv_proj", "encoder.ln"),
        ("mobilenet_v3_small", 14, "features.0", "classifier.0"),
    ],
)
def test_blocks_have_their_usual_names(name, num_blocks, first, last):
    blocks = block_names(name)
    assert (len(blocks), blocks[0], blocks[-1]) == (num_blocks, first, last)


def test_a_start_is_a_number_a_name_or_the_beginning_of_one():
    blocks = ["conv1", "layer1.0", "layer1.1", "layer10.0"]
    assert [first_tuned(blocks, start) for start in (1, 9, "layer1", "layer10", "layer1.1")] == [3, 0, 1, 3, 2]
    with pytest.raises(ParamsError, match=r"no block 'layer2'; there are conv1, layer1.0, layer1.1, layer10.0"):
        first_tuned(blocks, "layer2")
    assert block_of("layer1.1.conv.weight", blocks) == 2
    assert block_of("norm.weight", blocks) is None


def backbone_of(name, px, layers=("penultimate",), pooling="avg"):
    preprocessing = Preprocessing(
        resize_px=px, crop_px=px, interpolation="bilinear", mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.5)
    )
    return load_backbone(
        Weights(
            name=name,
            weights="random",
            sha256=None,
            preprocessing=preprocessing,
            layers=layers,
            pooling=pooling,
            path=None,
        )
    )


@pytest.mark.parametrize("start", [1, 4])
@pytest.mark.parametrize(
    ("name", "px", "layers", "pooling"),
    [
        ("resnet18", 32, ("penultimate",), "avg"),
        ("resnet18", 32, ("layer2", "layer4"), "avg+std"),
        ("densenet121", 32, ("penultimate",), "avg"),
        ("swin_t", 32, ("penultimate",), "avg"),
        ("vit_b_32", 224, ("penultimate",), "avg"),
    ],
)
def test_the_two_parts_give_the_bits_of_the_backbone(name, px, layers, pooling, start):
    backbone, blocks = backbone_of(name, px, layers, pooling), block_names(name)
    images = torch.randint(0, 256, (2, px, px, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    frozen, tuned = split_backbone(backbone, blocks, first_tuned(blocks, start))
    inputs = frozen(images)
    assert torch.equal(tuned(*inputs), backbone(images))
    shared = {id(one): name_in_network(key) for key, one in backbone.named_parameters()}
    assert {block_of(shared[id(one)], blocks) for one in tuned.parameters()} <= set(
        range(len(blocks) - start, len(blocks))
    )


def test_blocks_that_the_features_do_not_need_are_refused():
    backbone, blocks = backbone_of("resnet18", 32, ("layer2",)), block_names("resnet18")
    with pytest.raises(ParamsError, match="the features do not depend on these blocks"):
        split_backbone(backbone, blocks, first_tuned(blocks, "layer4"))
