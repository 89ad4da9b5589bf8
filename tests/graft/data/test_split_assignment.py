import hashlib
from collections import Counter

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.graft.core.errors import DataError
from stages.graft.data.split_assignment import assign_splits
from stages.graft.data.splits import SPLITS

SEEDS = st.integers(0, 1000)
FRACTIONS = st.sampled_from([0.05, 0.1, 0.15, 0.2, 0.3, 0.45])
CLASS_SIZES = st.lists(st.integers(3, 40), min_size=2, max_size=4)

quick = settings(deadline=None, max_examples=25, derandomize=True)  # the same examples on every run


def id_of(number):
    return hashlib.sha256(str(number).encode()).hexdigest()


def manifest(labels, groups=None, splits=None):
    """A manifest with one image per label."""
    nothing = [""] * len(labels)
    ids = [id_of(number) for number in range(len(labels))]
    return pd.DataFrame({"id": ids, "label": labels, "group": groups or nothing, "split": splits or nothing})


def of_sizes(sizes, **columns):
    return manifest([f"class {k}" for k, size in enumerate(sizes) for _ in range(size)], **columns)


def assign(table, seed=0, val_fraction=0.15, test_fraction=0.15, train_per_class=None):
    """Columns id, label, split, sorted by id."""
    splits = assign_splits(table, seed, val_fraction, test_fraction, train_per_class)
    return table[["id", "label"]].assign(split=splits).sort_values("id", ignore_index=True)


def ids_in(table, *splits):
    return set(table["id"][table["split"].isin(splits)])


def count(table):
    """Images by (label, split)."""
    return Counter(zip(table["label"], table["split"], strict=True))


@st.composite
def grouped(draw, mixed):
    """A manifest whose images are in groups; of one class each unless `mixed`."""
    sizes = draw(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 12)), min_size=9, max_size=20))
    sizes += [(label, 2) for label in range(3) for _ in range(3)]
    rows = [
        (f"class {(label + mixed * place) % 3}", f"plate {number}")
        for number, (label, size) in enumerate(sizes)
        for place in range(size)
    ]
    return manifest([label for label, _ in rows], groups=[group for _, group in rows])


def test_the_counts_of_a_hundred_images_a_class():
    table = assign(of_sizes([100, 20]))
    assert count(table) == {
        ("class 0", "train"): 70,
        ("class 0", "val"): 15,
        ("class 0", "test"): 15,
        ("class 1", "train"): 14,
        ("class 1", "val"): 3,
        ("class 1", "test"): 3,
    }


@quick
@given(CLASS_SIZES, SEEDS, FRACTIONS, FRACTIONS)
def test_every_image_has_one_split_and_fractions_hold_within_one_image(sizes, seed, val_fraction, test_fraction):
    images = of_sizes(sizes)
    table = assign(images, seed, val_fraction, test_fraction)
    assert table["id"].to_list() == sorted(images["id"])
    assert dict(zip(table["id"], table["label"], strict=True)) == dict(zip(images["id"], images["label"], strict=True))
    counts = count(table)
    for k, size in enumerate(sizes):
        train, val, test = (counts[f"class {k}", split] for split in SPLITS)
        assert train + val + test == size
        assert min(train, val, test) >= 1
        assert abs(val - size * val_fraction) <= 1
        assert abs(test - size * test_fraction) <= 1
        if size * min(val_fraction, test_fraction) >= 0.5:  # else one image more than its share goes to val or test
            assert abs(train - size * (1 - val_fraction - test_fraction)) <= 1 + 1e-9


@quick
@given(CLASS_SIZES, SEEDS, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(sizes, seed, random):
    images = of_sizes(sizes)
    order = list(range(len(images)))
    random.shuffle(order)
    pd.testing.assert_frame_equal(assign(images.iloc[order], seed), assign(images, seed))


@quick
@given(CLASS_SIZES, SEEDS, st.integers(1, 9), st.integers(1, 9))
def test_few_shot_sets_are_nested_and_leave_val_and_test_alone(sizes, seed, shots, more):
    images = of_sizes(sizes)
    whole, few, many = (assign(images, seed, train_per_class=number) for number in (None, shots, shots + more))
    assert ids_in(few, "train") <= ids_in(many, "train") <= ids_in(whole, "train")
    for split in ("val", "test"):
        assert ids_in(few, split) == ids_in(many, split) == ids_in(whole, split)
    assert ids_in(few, "train", "unused") == ids_in(whole, "train")
    for k in range(len(sizes)):
        assert count(few)[f"class {k}", "train"] == min(shots, count(whole)[f"class {k}", "train"])


@quick
@given(CLASS_SIZES, SEEDS)
def test_one_fraction_or_another_class_moves_no_other_split(sizes, seed):
    images = of_sizes(sizes)
    table = assign(images, seed)
    assert ids_in(assign(images, seed, val_fraction=0.3), "test") == ids_in(table, "test")
    assert ids_in(assign(images, seed, test_fraction=0.3), "val") == ids_in(table, "val")
    two = images[images["label"].isin(["class 0", "class 1"])]
    kept = table[table["label"].isin(["class 0", "class 1"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(assign(two, seed), kept)


def test_another_seed_gives_another_split():
    images = of_sizes([100, 100])
    assert ids_in(assign(images, seed=0), "test") != ids_in(assign(images, seed=1), "test")


@quick
@given(grouped(mixed=False), SEEDS)
def test_groups_of_one_class_stay_whole_and_come_as_near_as_a_group(images, seed):
    table = assign(images, seed).merge(images[["id", "group"]], on="id")
    assert table.groupby("group")["split"].nunique().max() == 1
    counts, totals = count(table), Counter(images["label"])
    largest = images.groupby("label")["group"].agg(lambda groups: groups.value_counts().max())
    for label, total in totals.items():
        for split in ("val", "test"):
            assert counts[label, split] >= 1
            assert abs(counts[label, split] - total * 0.15) <= largest[label]
        assert counts[label, "train"] >= 1


@quick
@given(grouped(mixed=True), SEEDS)
def test_groups_of_several_classes_stay_whole_too(images, seed):
    table = assign(images, seed).merge(images[["id", "group"]], on="id")
    assert table.groupby("group")["split"].nunique().max() == 1
    assert set(count(table)) == {(label, split) for label in images["label"] for split in SPLITS}


def test_a_few_large_groups_still_reach_all_three():
    images = manifest(["a"] * 102 + ["b"] * 3, groups=["x"] * 100 + ["y", "z"] + ["", "", ""])
    for seed in range(10):
        table = assign(images, seed)
        assert {split: count(table)["a", split] for split in SPLITS} == {"train": 100, "val": 1, "test": 1}


@quick
@given(CLASS_SIZES, SEEDS, st.randoms(use_true_random=False))
def test_given_splits_are_kept_and_the_rest_fills_up(sizes, seed, random):
    images = of_sizes(sizes)
    given_splits = [random.choice(["", "", "", "train"]) for _ in images["id"]]
    for k in range(len(sizes)):  # three free ones a class, so that there is something for val and test
        for row in images.index[images["label"] == f"class {k}"][:3]:
            given_splits[row] = ""
    table = assign(images.assign(split=given_splits), seed)
    split_of = dict(zip(table["id"], table["split"], strict=True))
    assert all(split_of[id_] == split for id_, split in zip(images["id"], given_splits, strict=True) if split)
    for k, size in enumerate(sizes):
        assert count(table)[f"class {k}", "test"] <= max(1, size * 0.15 + 0.5)


def test_a_whole_given_split_is_honoured():
    given_splits = ["train", "val", "val", "test", "val", "test"] * 2
    table = assign(manifest(["a"] * 6 + ["b"] * 6, splits=given_splits), val_fraction=0, test_fraction=0)
    assert dict(zip(table["id"], table["split"], strict=True)) == {id_of(k): s for k, s in enumerate(given_splits)}


def test_a_given_test_set_is_not_added_to_when_it_holds_its_share():
    images = of_sizes([20, 20], splits=(["test"] * 4 + [""] * 16) * 2)
    table = assign(images)
    assert ids_in(table, "test") == {id_of(k) for k in (0, 1, 2, 3, 20, 21, 22, 23)}
    assert count(table)["class 0", "val"] == 3


def test_a_group_follows_its_one_given_image():
    images = of_sizes([8, 8], groups=["x", "x"] + [""] * 14, splits=["test"] + [""] * 15)
    assert {id_of(0), id_of(1)} <= ids_in(assign(images), "test")


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (manifest(["a"] * 5 + ["b"] * 2), r"class 'b' \(2 images\): each class needs 3"),
        (manifest(["a"] * 5 + ["b"]), r"class 'b' \(1 image\): each class needs 3"),
        (manifest(["a"] * 5, groups=["x", "x", "x", "y", "y"]), r"class 'a' \(5 images in 2 groups\): .* of 3 groups"),
        (manifest(["a"] * 5, splits=["test"] * 5), r"left for train and val of class 'a' \(0 train, 0 val, 5 test\)"),
        (
            manifest(list("aaaabbccd"), splits=["train", "train", "val", "test", *["train"] * 5]),
            r"class 'b' \(2 images\), 'c' \(2 images\), 'd' \(1 image\): each",
        ),
        (
            manifest(["a"] * 8, splits=["train"] * 7 + ["val"]).assign(label=["a"] * 7 + ["b"]),
            r"class 'b' \(1 image\).*; no image is left for val of class 'a' \(6 train, 0 val, 1 test\): add images",
        ),
        (manifest(["a"] * 5, groups=["x"] * 2 + [""] * 3, splits=["val", "test", "", "", ""]), "group 'x' is given in"),
    ],
)
def test_what_cannot_be_split_is_named(images, message):
    with pytest.raises(DataError, match=message):
        assign(images)


def test_a_fraction_of_zero_without_given_images_is_an_error():
    with pytest.raises(DataError, match=r"left for test of class 'class 0' .*\): set `split.test_fraction` above 0"):
        assign(of_sizes([10, 10]), test_fraction=0)


@quick
@given(CLASS_SIZES, SEEDS, st.sampled_from(["val", "test"]), st.integers(1, 3))
def test_a_split_that_nobody_gave_is_drawn_from_train(sizes, seed, theirs, num_theirs):
    drawn = "test" if theirs == "val" else "val"
    splits = [theirs if row < num_theirs else "train" for size in sizes for row in range(size + num_theirs)]
    images = of_sizes([size + num_theirs for size in sizes], splits=splits)
    table = assign(images, seed)
    given_ = {id_ for id_, split in zip(images["id"], splits, strict=True) if split == theirs}
    assert ids_in(table, theirs) == given_
    for k, size in enumerate(sizes):
        assert abs(count(table)[f"class {k}", drawn] - (size + num_theirs) * 0.15) <= 1
        assert count(table)[f"class {k}", "train"] >= 1
    other = assign(images, seed, **{f"{drawn}_fraction": 0.3})
    assert ids_in(other, theirs) == given_


@quick
@given(grouped(mixed=True), SEEDS)
def test_a_drawn_split_takes_whole_groups_of_train(images, seed):
    theirs = manifest([f"class {k}" for k in range(3)] * 2).assign(split="test")
    theirs["id"] = [id_of(10_000 + k) for k in range(len(theirs))]
    both = pd.concat([images.assign(split="train"), theirs], ignore_index=True)
    table = assign(both, seed).merge(both[["id", "group"]], on="id")
    assert table[table["group"] != ""].groupby("group")["split"].nunique().max() == 1
    assert ids_in(table, "test") == set(theirs["id"])
    assert {label for label, split in count(table) if split == "val"} == {f"class {k}" for k in range(3)}


def test_of_very_many_rare_classes_the_first_are_listed():
    images = manifest([f"class {k:03}" for k in range(150)])
    with pytest.raises(
        DataError, match=r"'class 000' \(1 image\), .*'class 099' \(1 image\), 50 more: each class needs"
    ):
        assign(images)
