import numpy as np

from stages.graft.evaluation import shots
from stages.graft.evaluation.shots import shots_table
from tests.support.features import feature_set, sparse_features


def test_more_images_are_better_and_all_are_tried_once(rng):
    table = shots_table(sparse_features(rng, 30), sparse_features(rng, 30), 1.0, 4, 0)
    assert table["train_per_class"].to_list() == [1, 2, 5, 10, 30]  # 25 is nearly all
    assert table["num_train"].to_list() == [4, 8, 20, 40, 120]
    assert table["num_draws"].to_list() == [4, 4, 4, 4, 1]
    assert table["accuracy"].iloc[-1] > table["accuracy"].iloc[0] + 0.1
    assert (table["accuracy_low"] <= table["accuracy"]).all()
    assert (table["accuracy"] <= table["accuracy_high"]).all()
    assert table["deviation"].iloc[-1] == 0 < table["deviation"].iloc[0]


def test_a_seed_gives_the_same_table_and_another_seed_another(rng):
    train, val = sparse_features(rng, 10), sparse_features(rng, 20)
    first, again, other = (shots_table(train, val, 10.0, 3, seed) for seed in (0, 0, 1))
    assert first.equals(again)
    assert not first.equals(other)


def test_one_image_a_class_is_one_row(rng):
    table = shots_table(feature_set(np.eye(3), range(3)), feature_set(np.eye(3), range(3)), 1.0, 5, 0)
    assert table[["train_per_class", "accuracy", "num_draws"]].to_numpy().tolist() == [[1, 1, 1]]


def test_of_many_images_the_last_row_is_a_sample_of_the_size_it_says(rng, monkeypatch):
    monkeypatch.setattr(shots, "MAX_IMAGES", 40)
    table = shots_table(sparse_features(rng, 30), sparse_features(rng, 30), 1.0, 2, 0)
    assert table["train_per_class"].to_list() == [1, 2, 10]
    assert table["num_train"].to_list() == [4, 8, 40]
