"""The head fitted again, on the features of the network that was trained. Letters: n images, d features, c classes."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from stages.graft.backbone.network import NormalisedNetwork, averaged
from stages.graft.backbone.weights import Weights
from stages.graft.heads.features import FeatureSet
from stages.graft.heads.fitting import fit_head
from stages.graft.heads.head import Float32, Head
from stages.graft.heads.head_params import TrainHeadParams
from stages.graft.model.classifier import Classifier
from stages.graft.training.activation_cache import ComputedInputs, LabelledImages
from stages.graft.training.finetune_loop import TrainingSetup


def as_used(
    setup: TrainingSetup, weights: Weights, backbone: NormalisedNetwork, inputs: ComputedInputs
) -> TrainingSetup:
    """Give the setup in which the network's features are those of the model: over all views.

    Training sees one view of an image at a time; several are computed from the images themselves, not from activations.

    Args:
        setup: a network that is trained, or will be.
        weights: say how many views there are.
        backbone: the whole of the network.
        inputs: the network's, computed.
    """
    if weights.views == 1:
        return setup
    network = Classifier(averaged(backbone, weights), setup.network.head)
    return replace(setup, network=network, inputs=replace(inputs, frozen=None))


def refit_head(setup: TrainingSetup, params: TrainHeadParams, classes: Sequence[str]) -> tuple[Head, Float32]:
    """Fit a head as train_head does, on the features that the network gives now; the validation images choose it.

    The network has seen the training images: cross-validation on them would choose for features that are too good.

    Args:
        setup: the trained network, its images and their inputs.
        params: the section `train_head`.
        classes: names of the c classes.
    Returns:
        The head, and its logits of the validation images, shape (n, c).
    """
    train, val = (trained_features(setup, images, classes) for images in (setup.train, setup.val))
    head = fit_head(params.model_copy(update={"num_folds": 0}), train, val, lambda *_: None).head
    return head, head.logits(val.x)


def trained_features(setup: TrainingSetup, images: LabelledImages, classes: Sequence[str]) -> FeatureSet:
    """Compute features of images without augmentation, in fp32."""
    backbone = setup.network.backbone.eval()
    with torch.inference_mode():
        rows = [backbone(*inputs).flatten(1).cpu().numpy() for inputs in setup.inputs.batches(images.ids, None)]
    return FeatureSet(ids=tuple(images.ids), x=np.concatenate(rows), y=images.y, classes=tuple(classes))
