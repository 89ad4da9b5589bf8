from dataclasses import replace

import numpy as np
import pytest

from stages.graft.evaluation.network_comparison import (
    NUM_FOLDS,
    ScoredNetwork,
    choose_network,
    compare_networks,
    cross_validate_default_head,
)
from stages.graft.heads.cross_validation import HeldOut
from stages.graft.heads.head_params import TrainHeadParams
from stages.graft.heads.mlp_params import MlpParams
from tests.support.features import ids_of, sparse_features

PARAMS = TrainHeadParams(
    kind="mlp", class_weight="none", num_folds=2, l2_grid=(10.0, 1.0),
    mlp=MlpParams(
        hidden_size=1, dropout=0, epochs=1, patience=1, batch_size=1, learning_rate=1, weight_decay=0, seed=0
    ),
)  # fmt: skip
IDS = ids_of(40)
ALONE = {id_: id_ for id_ in IDS}


def network(name, num_right, seconds=1.0, sure=2.0):
    """A network whose head gets the first images right, of two classes."""
    right = np.arange(len(IDS)) < num_right
    logits = np.where(right[:, None], [sure, 0.0], [0.0, sure]).astype(np.float32)
    held_out = HeldOut(logits=logits, y=np.zeros(len(IDS), np.int64), ids=IDS)
    return ScoredNetwork(name=name, weights="DEFAULT", held_out=held_out, seconds_per_1000=seconds, num_features=3)


def test_the_best_is_first_and_the_others_are_tested_against_it():
    table = compare_networks([network("poor", 20), network("best", 38), network("close", 36)], ALONE)
    assert table["network"].to_list() == ["best", "close", "poor"]
    assert table["accuracy"].to_list() == [0.95, 0.9, 0.5]
    assert table["num_better"].to_list() == [0, 2, 18]
    # Signs: 2 of 2 gives p = 1/2; 18 of 18 gives 2 / 2 ** 18, twice that by Holm.
    assert table["p_value"].to_list() == [1, 0.5, round(2 * 2 / 2**18, 6)]
    assert table["could_be_best"].to_list() == [True, True, False]
    assert table.loc[0, "accuracy_low"] < 0.95 < table.loc[0, "accuracy_high"]


@pytest.mark.parametrize(("seconds", "chosen"), [(4.5, "fast"), (4.6, "best")])
def test_the_best_is_taken_or_one_that_could_be_as_good_in_half_the_time(seconds, chosen):
    networks = [network("best", 38, 9.0), network("fast", 37, seconds), network("slower", 36, 1.0 + seconds)]
    worse = network("faster", 10, 0.5)
    assert choose_network(compare_networks([*networks, worse], ALONE))["network"] == chosen


def test_a_group_counts_once():
    plates = {id_: f"plate {number // 10}" for number, id_ in enumerate(IDS)}
    table = compare_networks([network("best", 40), network("poor", 20)], plates)
    assert table["num_better"].to_list() == [0, 2]  # 20 images, but two plates
    assert table["could_be_best"].all()


def test_of_equal_accuracies_the_lower_log_loss_is_first():
    table = compare_networks([network("unsure", 40, sure=0.5), network("sure", 40, sure=4.0)], ALONE)
    assert table["network"].to_list() == ["sure", "unsure"]


@pytest.mark.parametrize("groups", [(), tuple(f"group {k // 2}" for k in range(48))])
def test_every_image_is_scored_without_itself_and_its_group(rng, groups):
    images, fits = replace(sparse_features(rng, 12), groups=groups), []
    held_out = cross_validate_default_head(images, PARAMS, lambda: fits.append(1))
    assert len(fits) == NUM_FOLDS
    assert sorted(held_out.ids) == sorted(images.ids)
    assert (held_out.logits.argmax(axis=1) == held_out.y).mean() > 0.8
    shuffled = replace(images, y=rng.permutation(images.y))
    chance = cross_validate_default_head(shuffled, PARAMS, lambda: None)
    assert (chance.logits.argmax(axis=1) == chance.y).mean() < 0.55
