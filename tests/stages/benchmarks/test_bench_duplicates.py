import numpy as np
import pytest

from stages.benchmarks.bench_duplicates import count_beside, count_found, look
from stages.benchmarks.planted_duplicates import HARD, KINDS, plant, plant_kinds
from tests.support.scenes import scene

SCENES = [scene(seed) for seed in range(6)]
EASY = ("jpeg", "light", "flip", "shift", "quarter turn")


@pytest.mark.parametrize("kind", [*KINDS, *HARD])
def test_a_plant_differs_and_depends_on_the_seed_alone(kind):
    changes = KINDS if kind in KINDS else HARD
    first, again, other = (plant(SCENES[0], 0, (kind,), np.random.default_rng(seed), changes) for seed in (1, 1, 2))
    assert (first.copy, first.kind) == (again.copy, kind)
    assert first.copy != first.original
    assert kind in HARD or kind == "quarter turn" or first.copy != other.copy


def test_each_kind_is_planted_alone_and_then_two_together():
    kinds = plant_kinds(300, np.random.default_rng(0))
    assert [len(kind) for kind in kinds] == [1] * 198 + [2] * 102
    assert {kind for (kind,) in kinds[:198]} == set(KINDS)
    assert all(a != b for a, b in kinds[198:])


def test_what_is_planted_is_found_and_counted():
    rng = np.random.default_rng(3)
    plants = [plant(SCENES[k], k, (kind,), rng) for k, kind in enumerate(EASY)]
    kinds = look(SCENES, plants)
    found = count_found("scenes", kinds, plants, len(SCENES)).set_index("kind")
    assert found.loc["all"].to_dict() == {"set": "scenes", "num_planted": 5, "strict": 1.0, "related": 1.0}
    beside = count_beside("scenes", kinds, plants, list("aabbcc"))
    assert (beside["num_images"], beside["in_related_pairs"]) == (6, 0)
