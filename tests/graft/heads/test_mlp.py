import numpy as np
import pytest
import torch

from stages.graft.core.errors import DataError
from stages.graft.heads.head import HEAD, save_head
from stages.graft.heads.mlp import fit_mlp
from stages.graft.heads.mlp_params import MlpParams
from stages.graft.metrics.classification import accuracy, log_loss
from stages.graft.metrics.training_curve import best_epoch
from stages.graft.storage.arrays import read_arrays
from tests.support.features import feature_set, sparse_features

PARAMS = {
    "hidden_size": 16,
    "dropout": 0.1,
    "epochs": 30,
    "patience": 5,
    "batch_size": 16,
    "learning_rate": 1e-2,
    "weight_decay": 1e-2,
    "seed": 0,
}


def mlp_params(**changes):
    return MlpParams(**{**PARAMS, **changes})


def fit(train, val, log=lambda epoch, metrics: None, **changes):
    return fit_mlp(train, val, np.ones(len(train.classes)), mlp_params(**changes), log)


def exclusive_or(rng, number):
    x = rng.normal(size=(number, 2))
    return feature_set(x, (x[:, 0] > 0) ^ (x[:, 1] > 0))


def test_it_learns_what_no_linear_head_can(rng):
    train, val = exclusive_or(rng, 300), exclusive_or(rng, 200)
    head, choices, curve = fit(train, val, epochs=60, patience=60, hidden_size=32)
    assert accuracy(head.logits(val.x).argmax(axis=1), val.y) > 0.9
    assert choices == {"epoch": best_epoch(curve).epoch, "num_epochs": 60}


def test_the_best_epoch_is_kept_and_patience_ends_training(rng):
    train, val = sparse_features(rng, 5), sparse_features(rng, 10)
    val = feature_set(val.x, rng.permutation(val.y))  # nothing to learn: the loss soon rises
    head, choices, curve = fit(train, val, patience=3)
    assert len(curve) == choices["epoch"] + 3 == choices["num_epochs"] < PARAMS["epochs"]
    assert log_loss(head.logits(val.x), val.y) == pytest.approx(best_epoch(curve).val_loss, rel=1e-4)
    assert best_epoch(curve).val_loss == min(record.val_loss for record in curve)


def test_every_epoch_is_logged(rng):
    seen = []
    train = sparse_features(rng, 5)
    _, _, curve = fit(train, train, log=lambda epoch, metrics: seen.append((epoch, metrics)), epochs=3)
    assert [epoch for epoch, _ in seen] == [1, 2, 3]
    assert seen[-1][1] == {
        "train_loss": curve[-1].train_loss,
        "val_loss": curve[-1].val_loss,
        "val_accuracy": curve[-1].val_accuracy,
    }


def test_the_same_seed_gives_the_same_bits_and_torch_is_left_alone(rng):
    train = sparse_features(rng, 5)
    state, num_threads = torch.get_rng_state(), torch.get_num_threads()
    heads = [fit(train, train, epochs=2, seed=seed)[0] for seed in (1, 1, 2)]
    np.testing.assert_array_equal(heads[0].layers[0][0], heads[1].layers[0][0])
    assert not np.array_equal(heads[0].layers[0][0], heads[2].layers[0][0])
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == num_threads


def test_a_torch_module_can_load_the_file(rng, tmp_path):
    train = sparse_features(rng, 5)
    head, _, _ = fit(train, train, epochs=2)
    save_head(head, tmp_path, {})
    module = torch.nn.Sequential(torch.nn.Linear(600, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4))
    module.load_state_dict({name: torch.from_numpy(array) for name, array in read_arrays(tmp_path / HEAD).items()})
    with torch.inference_mode():
        logits = module(torch.from_numpy(train.x)).numpy()
    np.testing.assert_allclose(logits, head.logits(train.x), atol=1e-4)


def test_a_constant_feature_gives_no_nan():
    images = feature_set([[0, 1], [0, 2], [0, 8], [0, 9]], [0, 0, 1, 1])
    head, _, _ = fit(images, images, epochs=2)
    assert np.isfinite(head.logits(images.x)).all()


def test_a_learning_rate_that_is_far_too_high_is_an_error(rng):
    train = sparse_features(rng, 5)
    with pytest.raises(DataError, match=r"lower train_head.mlp.learning_rate"):
        fit(train, train, learning_rate=1e30)
