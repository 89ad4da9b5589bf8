"""Damaged params.yaml, specs and records: refused in a line that names the key, or every value is allowed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from stages.commands.start_checks import check_all_params
from stages.graft.core.params import load_spec
from stages.graft.data.synthetic.plates import PlatesSpec
from stages.graft.maintenance.dvc_lock import read_lock_entries, repair_lock
from tests.conftest import REPOSITORY
from tests.support.fuzzing import NUM_CASES, generator, mutations

pytestmark = pytest.mark.fuzz

VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1, 2**70, 1e300, float("nan"), float("inf"), "", "\x1b[31m", "../..", "x" * 9000, [], [None], {},
    {"a": {"b": 1}}, "2024-01-01", "1e-3",
)  # fmt: skip


@pytest.fixture
def check(tmp_path: Path):
    """Check a params.yaml as each stage does."""

    def call(data: bytes) -> None:
        (tmp_path / "params.yaml").write_bytes(data)
        check_all_params(tmp_path)

    return call


def test_damaged_parameters(attack, check):
    attack("params, damaged", mutations([(REPOSITORY / "params.yaml").read_bytes()], "params", NUM_CASES // 4), check)


def test_parameters_with_other_values(attack, check):
    attack("params, values", _others(yaml.safe_load((REPOSITORY / "params.yaml").read_text())), check)


def _others(params: dict[str, Any]) -> Iterator[bytes]:
    rng = generator("params, values")
    for _ in range(NUM_CASES // 4):
        changed = yaml.safe_load(yaml.safe_dump(params))
        section = changed[list(changed)[int(rng.integers(len(changed)))]]
        _change(section, rng)
        yield yaml.safe_dump(changed).encode()


def _change(section: dict[Any, Any], rng: np.random.Generator) -> None:
    key = list(section)[int(rng.integers(len(section)))]
    if isinstance(section[key], dict) and rng.random() < 0.8:
        _change(section[key], rng)
    elif rng.random() < 0.2:
        del section[key]
    else:
        section[key] = VALUES[int(rng.integers(len(VALUES)))]


def test_yaml_that_asks_for_more(attack, check):
    """Objects of Python, references to itself, thousands of levels, a key twice."""
    bomb = b"a: &a [x, x]\n" + b"".join(b"%c: &%c [*%c, *%c]\n" % (98 + k, 98 + k, 97 + k, 97 + k) for k in range(20))
    files = [
        b"!!python/object/apply:os.system ['touch /tmp/graft-was-here']", b"a: &a [*a]", b"ingest: &b {c: *b}", bomb,
        b"[" * 5000, b"{" * 5000, b"- " * 5000, b"a: 1\na: 2", b"", b"\xff\xfe", b"\0", b"? !!binary x",
        b"%YAML 9.9\n---\n", b"ingest: !!set {a}", b"1: {}\nnull: {}\n[1]: 2", b"ingest: " + b"9" * 10000,
    ]  # fmt: skip
    attack("params, yaml", files, check)
    assert not Path("/tmp/graft-was-here").exists()


def test_damaged_specs_of_plates(attack, tmp_path):
    def check(data: bytes) -> None:
        path = tmp_path / "plates.yaml"
        path.write_bytes(data)
        load_spec(path, PlatesSpec)

    attack("specs", mutations([(REPOSITORY / "data/plates.yaml").read_bytes()], "specs", NUM_CASES // 4), check)


def test_a_damaged_lock_of_dvc(attack, tmp_path):
    """It is read, or named; and after it was repaired, read."""

    def check(data: bytes) -> None:
        (tmp_path / "dvc.lock").write_bytes(data)
        try:
            read_lock_entries(tmp_path)
        finally:
            if repair_lock(tmp_path) and (tmp_path / "dvc.lock").exists():
                read_lock_entries(tmp_path)

    attack("dvc.lock", mutations([(REPOSITORY / "dvc.lock").read_bytes()], "dvc.lock", NUM_CASES // 20), check)
