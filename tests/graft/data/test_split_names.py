import pytest

from stages.graft.data.split_names import split_named, split_words


@pytest.mark.parametrize(
    ("split", "names"),
    [
        (
            "train",
            "train Train TRAIN training Training_Set trainset TrainData train_2 01-train dataset_train train_images",
        ),
        ("val", "val valid Valid validation VALIDATION_set dev eval valset valid2 development"),
        ("test", "test testing Test_Set testdata hold-out holdout held_out test.images 3_test"),
    ],
)
def test_names_that_people_give_to_splits(split, names):
    assert {name: split_named(name) for name in names.split()} == dict.fromkeys(names.split(), split)


@pytest.mark.parametrize("name", ["", "cat", "trains", "train_test", "bullet_train", "contest", "1", "latest", "data"])
def test_other_names(name):
    assert split_named(name) is None


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("neu_train", "neu_test"), {"neu_train": "train", "neu_test": "test"}),
        (("train-neu", "valid-neu"), {"train-neu": "train", "valid-neu": "valid"}),
        (("NEU Train 2", "NEU Test"), {"NEU Train 2": "train", "NEU Test": "test"}),
        (("bullet_train", "steam_train"), {}),
        (("train", "car"), {"train": "train"}),
        (("my_train",), {}),
        ((), {}),
    ],
)
def test_what_all_names_share_does_not_count(names, words):
    assert split_words(names) == words
