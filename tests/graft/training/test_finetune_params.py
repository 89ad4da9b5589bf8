"""What follows from the parameters of fine-tuning."""

import pytest

from tests.graft.training.test_finetune_loop import finetune_params


@pytest.mark.parametrize(
    ("changes", "boundary", "num_views"),
    [
        ({"strategy": "full", "unfreeze_from": "layer4"}, None, None),
        ({"strategy": "partial", "unfreeze_from": "layer4", "views": 3}, "layer4", 3),
        ({"strategy": "partial", "unfreeze_from": 2, "views": 3, "augmentation": "none"}, 2, 1),
    ],
)
def test_only_partial_training_has_a_boundary_and_views_that_return(changes, boundary, num_views):
    params = finetune_params(**changes)
    assert (params.boundary, params.num_views) == (boundary, num_views)
