"""The head fitted again: it is the head that the pipeline would fit on the tuned features."""

import numpy as np
import pytest

from stages.graft.backbone.network import run_batch
from stages.graft.heads.features import FeatureSet
from stages.graft.heads.fitting import fit_head
from stages.graft.heads.head import Float32
from stages.graft.images.decode import Batch
from stages.graft.images.loading import read_image
from stages.graft.training.finetune_task import Finetuned, finetune_from_files
from tests.graft.training.test_finetune_loop import (
    CLASSES,
    CPU,
    HEAD_PARAMS,
    PREPROCESSING,
    Images,
    linear_head,
    pipeline_files,
    task,
)  # fmt: skip


def features_of(found: Finetuned, squares: list[Batch]) -> Float32:
    return run_batch(found.backbone, np.stack(squares), 12, CPU)


@pytest.mark.parametrize("scope", [{}, {"unfreeze_from": "stage4.2"}], ids=["full", "partial"])
def test_the_head_is_the_one_fitted_on_the_features_of_the_tuned_network(tmp_path, rng, scope):
    images = Images(tmp_path / "images", 10)
    files = pipeline_files(images, tmp_path)
    found = finetune_from_files(
        task(linear_head(rng, 1024), files, epochs=2, learning_rate=1e-3, **scope), lambda *_: None
    )
    train, val = (
        FeatureSet(
            ids=tuple(ids),
            x=run_batch(
                found.backbone, np.stack([read_image(images.locate(id_), PREPROCESSING) for id_ in ids]), 12, CPU
            ),
            y=np.array([CLASSES.index(images.labels[id_]) for id_ in ids]),
            classes=CLASSES,
        )
        for ids in (sorted(list(images.labels)[:12]), found.val.ids)
    )
    by_validation = HEAD_PARAMS.model_copy(update={"num_folds": 0})
    expected = fit_head(by_validation, train, val, lambda *_: None).head
    assert found.head.kind == expected.kind
    np.testing.assert_allclose(found.head.logits(val.x), expected.logits(val.x), rtol=1e-2, atol=1e-2)
    np.testing.assert_allclose(found.val_after, found.head.logits(val.x), rtol=1e-3, atol=1e-3)
