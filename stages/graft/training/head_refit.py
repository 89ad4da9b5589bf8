"""The head fitted again, on the features of the network that was trained. Letters: n images, d features, c classes."""

from collections.abc import Sequence

import numpy as np
import torch

from stages.graft.heads.features import FeatureSet
from stages.graft.heads.fitting import fit_head
from stages.graft.heads.head import Float32, Head
from stages.graft.heads.head_params import TrainHeadParams
from stages.graft.training.activation_cache import LabelledImages
from stages.graft.training.finetune_loop import TrainingSetup


def refit_head(setup: TrainingSetup, params: TrainHeadParams, classes: Sequence[str]) -> tuple[Head, Float32]:
    """Fit a head as train_head does, on the features that the network gives now.

    Args:
        setup: the trained network, its images and their inputs.
        params: the section `train_head`.
        classes: names of the c classes.
    Returns:
        The head, and its logits of the validation images, shape (n, c).
    """
    train, val = (trained_features(setup, images, classes) for images in (setup.train, setup.val))
    head = fit_head(params, train, val, lambda *_: None).head
    return head, head.logits(val.x)


def trained_features(setup: TrainingSetup, images: LabelledImages, classes: Sequence[str]) -> FeatureSet:
    """Compute features of images without augmentation, in fp32."""
    backbone = setup.network.backbone.eval()
    with torch.inference_mode():
        rows = [backbone(*inputs).flatten(1).cpu().numpy() for inputs in setup.inputs.batches(images.ids, None)]
    return FeatureSet(ids=tuple(images.ids), x=np.concatenate(rows), y=images.y, classes=tuple(classes))
