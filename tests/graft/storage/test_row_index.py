"""The index of rows: what a dictionary would say, whatever the ids and however often they come."""

import hashlib

import numpy as np

from stages.graft.core.image_ids import Ids, as_keys, pack_ids, unpack_ids
from stages.graft.storage.row_index import NOT_FOUND, RowIndex


def ids_of(*numbers):
    """Ids of which every other one is all but equal to its neighbour, zeros at its end among them."""
    return [f"{n // 2:062x}{n % 2:02x}" if n % 3 else hashlib.sha256(str(n).encode()).hexdigest() for n in numbers]


def test_an_empty_index_knows_nothing():
    assert RowIndex().find(pack_ids(ids_of(1, 2))).tolist() == [[NOT_FOUND] * 2] * 2
    assert RowIndex().find(pack_ids([])).shape == (0, 2)


def test_it_answers_as_a_dictionary_does_between_additions(rng):
    index, expected = RowIndex(), {}
    for fragment in range(12):
        numbers = rng.choice(400, size=rng.integers(0, 60), replace=False).tolist()
        index.add(pack_ids(ids_of(*numbers)), fragment)
        expected |= {number: [fragment, row] for row, number in enumerate(numbers)}
        if fragment % 3 == 2:
            asked = rng.permutation(500).tolist()
            found = index.find(pack_ids(ids_of(*asked))).tolist()
            assert [place if place[0] != NOT_FOUND else None for place in found] == [expected.get(n) for n in asked]


def test_ids_are_packed_whole_and_order_as_their_text(rng):
    ids = ids_of(*range(300))
    assert unpack_ids(pack_ids(iter(ids))) == ids
    assert [ids[k] for k in np.argsort(as_keys(pack_ids(ids)), kind="stable")] == sorted(ids)


def test_packed_ids_are_a_sequence_of_text():
    text = ids_of(*range(7))
    ids = Ids(pack_ids(text))
    assert (len(ids), ids[2], ids[-1], list(ids)) == (7, text[2], text[-1], text)
    assert isinstance(ids[2:5], Ids)
    assert list(ids[2:5]) == text[2:5]
    assert text[3] in ids
    assert not Ids(pack_ids([]))
    assert pack_ids(ids) is ids.packed
