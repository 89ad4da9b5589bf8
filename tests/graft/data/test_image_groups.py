import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.graft.data.image_groups import connected, independent_groups, join_duplicates, leaked
from stages.graft.data.split_assignment import assign_splits


def table(duplicates, group=None, split=None, label="ab"):
    """A manifest of images a, b, c, … with the groups and splits given as words; - for none."""
    num = len(duplicates.split())
    columns = {"duplicates": duplicates, "group": group or "- " * num, "split": split or "- " * num}
    rows = {name: [word.replace("-", "") for word in text.split()] for name, text in columns.items()}
    return pd.DataFrame({"id": list("abcdefghij")[:num], "label": (list(label) * num)[:num], **rows}).astype(str)


def test_groups_and_near_duplicates_are_joined():
    images = table("x x - y y -", "- g g - - h")
    assert independent_groups(images).tolist() == [0, 0, 0, 1, 1, 2]
    assert join_duplicates(images).to_list() == ["g", "g", "g", "d", "d", "h"]


def test_an_image_alone_has_no_group_and_a_group_of_one_keeps_its_name():
    assert join_duplicates(table("- -", "- g")).to_list() == ["", "g"]
    assert join_duplicates(table("- - -")).to_list() == ["", "", ""]


def test_a_given_split_is_respected_and_what_it_parts_is_counted():
    images = table("x x x -", split="train test - -")
    assert join_duplicates(images).to_list() == ["a", "", "a", ""]  # the third joins the one in train
    images["split"] = ["train", "test", "train", "test"]
    assert leaked(images).tolist() == [False, True, False, False]


def test_near_duplicates_in_unused_do_not_leak():
    images = table("x x y y", split="unused test val test")
    assert leaked(images).tolist() == [False, False, False, True]


def test_a_group_of_the_user_stays_whole_where_near_duplicates_are_parted():
    images = table("x x - -", "- g g -", split="test train - -")
    assert join_duplicates(images).to_list() == ["", "g", "g", ""]


def test_parts_are_connected_by_hand():
    assert connected(np.array([4, 1, 3]), np.array([2, 3, 5]), 6).tolist() == [0, 1, 2, 1, 2, 1]
    assert connected(np.array([], int), np.array([], int), 3).tolist() == [0, 1, 2]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=14))
def test_connected_is_what_scipy_says(edges):
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    first, second = (np.array([edge[side] for edge in edges], dtype=np.int64) for side in (0, 1))
    expected = connected_components(coo_array((np.ones(len(edges)), (first, second)), shape=(12, 12)), directed=False)
    codes = connected(first, second, 12)
    assert len(set(codes.tolist())) == expected[0]
    assert len(set(zip(codes.tolist(), expected[1].tolist(), strict=True))) == expected[0]


@pytest.mark.parametrize("seed", range(5))
def test_no_test_image_leaks_when_near_duplicates_are_kept_together(seed):
    rng = np.random.default_rng(seed)
    num = 200
    images = pd.DataFrame({"id": [f"{k:064x}" for k in range(num)], "label": rng.choice(list("abc"), num)})
    images["duplicates"] = [f"d{k}" if k < 40 else "" for k in rng.integers(0, 80, num)]
    images["group"] = [f"g{k}" if k < 10 else "" for k in rng.integers(0, 80, num)]
    splits = assign_splits(images.assign(group=join_duplicates(images)), seed, 0.2, 0.2)
    assert not leaked(images.assign(split=splits)).any()
    assert {"train", "val", "test"} == set(splits)
