"""Params: a mistake in params.yaml ends in one line that names section.key and what was found."""

from pathlib import Path
from typing import Literal

import pytest
from dvc.utils.serialize import _yaml as dvc_yaml
from pydantic import Field, PositiveFloat, PositiveInt, ValidationError

from stages.graft.core.errors import ParamsError
from stages.graft.core.params import Params, flatten, load_params, load_spec, read_yaml


class Inner(Params):
    """A section within the section."""

    epochs: PositiveInt
    """At least 1."""


class Section(Params):
    """Every kind of field the stages use."""

    kind: Literal["none", "full"]
    """One of two."""
    rate: PositiveFloat
    """Above 0."""
    seed: int = Field(ge=0)
    """Whole."""
    grid: tuple[float, ...]
    """Any."""
    sha256: str | None
    """May be null."""
    drop: float
    """Any finite number."""
    inner: Inner
    """Nested."""


GOOD = {
    "kind": "full",
    "rate": "1.0e-3",
    "seed": "0",
    "grid": "[3, 0.1]",
    "sha256": "null",
    "drop": "-1",
    "inner": "{epochs: 2}",
}


def write(folder: Path, changes: dict[str, str | None], more: str = "") -> Path:
    """params.yaml with the section `train`; None leaves a key out, text goes in as it stands."""
    lines = [f"  {key}: {text}" for key, text in (GOOD | changes).items() if text is not None]
    path = folder / "params.yaml"
    path.write_text("\n".join(["train:", *lines, more, "other: {a: 1}"]), encoding="utf-8")
    return path


def message(path: Path) -> str:
    with pytest.raises(ParamsError) as caught:
        load_params("train", Section, path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_section_is_read_into_its_types(tmp_path: Path):
    params = load_params("train", Section, write(tmp_path, {}))
    assert params.rate == 0.001
    assert params.grid == (3.0, 0.1)
    assert (params.kind, params.seed, params.sha256, params.drop, params.inner.epochs) == ("full", 0, None, -1.0, 2)


def test_the_file_is_params_yaml_of_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write(tmp_path, {"seed": "7"})
    monkeypatch.chdir(tmp_path)
    assert load_params("train", Section).seed == 7


def test_params_cannot_change(tmp_path: Path):
    params = load_params("train", Section, write(tmp_path, {}))
    with pytest.raises(ValidationError, match="frozen"):
        params.seed = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("rate", "'5e-05'", "`train.rate` should be a valid number, got '5e-05'"),
        ("grid", "[0.1, '1e-3']", "`train.grid.1` should be a valid number, got '1e-3'"),
        ("rate", "0.0", "`train.rate` should be greater than 0, got 0.0"),
        ("rate", "true", "`train.rate` should be a valid number, got True"),
        ("rate", ".inf", "`train.rate` should be a finite number, got inf"),
        ("drop", ".nan", "`train.drop` should be a finite number, got nan"),
        ("seed", "-1", "`train.seed` should be greater than or equal to 0, got -1"),
        ("seed", "1.0", "`train.seed` should be a valid integer, got 1.0"),
        ("seed", "'1'", "`train.seed` should be a valid integer, got '1'"),
        ("seed", "yes", "`train.seed` should be a valid integer, got True"),
        ("kind", "half", "`train.kind` should be 'none' or 'full', got 'half'"),
        ("grid", "3", "`train.grid` should be a valid array, got 3"),
        ("sha256", "12", "`train.sha256` should be a valid string, got 12"),
        ("inner", "{epochs: 0}", "`train.inner.epochs` should be greater than 0, got 0"),
        ("inner", "{epochs: 1, x: 2}", "`train.inner.x` is not a parameter"),
        ("inner", "{}", "`train.inner.epochs` is missing"),
        ("seed", None, "`train.seed` is missing"),
        ("sede", "1", "`train.sede` is not a parameter; check its spelling and section"),
    ],
)
def test_a_wrong_value_is_named_with_what_was_found(tmp_path: Path, key: str, text: str | None, expected: str):
    assert expected in message(write(tmp_path, {key: text}))


@pytest.mark.parametrize("text", ["5e-05", "5E-5", "+5e-5", "5.e-05", ".5e-4", "0.00005"])
def test_numbers_are_those_of_yaml_1_2_as_dvc_writes_them(tmp_path: Path, text: str):
    params = load_params("train", Section, write(tmp_path, {"rate": text, "grid": f"[{text}, 1e-3, 2]"}))
    assert (params.rate, params.grid) == (5e-5, (5e-5, 1e-3, 2.0))


@pytest.mark.parametrize("number", [5e-05, 1e-07, 0.1, 1e22, -2.5e-9, 0.0])
def test_what_dvc_writes_is_read_as_the_same_number(tmp_path: Path, number: float):
    path = tmp_path / "params.yaml"
    content = {"a": number, "b": [number], "c": {"d": number}}
    dvc_yaml.dump_yaml(path, content)
    assert read_yaml(path) == content


@pytest.mark.parametrize("text", ["1e", "e5", "1.2.3", "5 e-5", "0x1p3", "1e-3m", "v1e5"])
def test_what_only_looks_like_a_number_stays_text(tmp_path: Path, text: str):
    assert load_params("train", Section, write(tmp_path, {"sha256": text})).sha256 == text


def test_all_mistakes_come_in_one_line(tmp_path: Path):
    found = message(write(tmp_path, {"seed": "-1", "sede": "1", "kind": None}))
    assert all(key in found for key in ("`train.seed`", "`train.sede`", "`train.kind`"))


@pytest.mark.parametrize("text", ["", "null", "3", "[1]", "text"])
def test_a_section_that_is_no_mapping_is_named(tmp_path: Path, text: str):
    path = tmp_path / "params.yaml"
    path.write_text(f"train: {text}\n")
    assert "`train` should be an object" in message(path)


def test_a_missing_section_lists_the_others(tmp_path: Path):
    path = tmp_path / "params.yaml"
    path.write_text("split: {}\n1: {}\n")
    assert "section `train` is missing; it has split, 1" in message(path)
    path.write_text("{}")
    assert "it has no section" in message(path)


def test_a_missing_file_says_where_to_run(tmp_path: Path):
    assert "does not exist; run from the repository's root" in message(tmp_path / "params.yaml")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"train: {a: [1\n", "is not valid YAML"),
        (b"train:\n\ta: 1\n", "is not valid YAML"),
        (b"train: {a: !!python/object:os.system {}}", "is not valid YAML"),
        (b"train: '\xff'", "is not valid YAML"),
        (b"train: !!int x", "is not valid YAML"),
        (b"[" * 100_000, "nested more than 100 deep"),
        (b"? " * 100_000, "nested more than 100 deep"),
        (b"", "expected sections of `key: value`, found NoneType"),
        (b"- train\n", "expected sections of `key: value`, found list"),
    ],
    ids=["open bracket", "tab", "code", "no utf-8", "no number", "brackets", "keys", "empty", "list"],
)
def test_a_broken_file_is_named_in_one_line(tmp_path: Path, content: bytes, expected: str):
    path = tmp_path / "params.yaml"
    path.write_bytes(content)
    assert expected in message(path)


def test_a_key_given_twice_is_refused_with_its_line(tmp_path: Path):
    path = write(tmp_path, {}, more="  seed: 5")
    found = message(path)
    assert "`seed`" in found
    assert "twice" in found
    assert "line 9" in found
    assert "`train`" in message(write(tmp_path, {}, more="train: {}"))


def test_a_date_stays_text(tmp_path: Path):
    """A folder of images may be called 2026-2-31."""
    assert load_params("train", Section, write(tmp_path, {"sha256": "2026-2-31"})).sha256 == "2026-2-31"
    assert "`train.2026-02-03` is not a parameter" in message(write(tmp_path, {"2026-02-03": "1"}))


def test_what_an_anchor_merges_in_may_be_overridden(tmp_path: Path):
    path = tmp_path / "params.yaml"
    path.write_text("zero: {deep: &one {a: 1, b: 2}}\ntwo: &two {<<: *one, b: 3}\nthree: {<<: *two, a: 4}\n")
    assert read_yaml(path)["two"] == {"a": 1, "b": 3}
    assert read_yaml(path)["three"] == {"a": 4, "b": 3}


def test_a_spec_is_one_section_without_a_name(tmp_path: Path):
    path = tmp_path / "spec.yaml"
    path.write_text("epochs: 3\n")
    assert load_spec(path, Inner).epochs == 3
    path.write_text("epochs: x\n")
    with pytest.raises(ParamsError, match=r"spec\.yaml: `epochs` should be a valid integer, got 'x'"):
        load_spec(path, Inner)


def test_flatten_keeps_values_that_are_not_mappings():
    assert flatten({"a": {"b": {"c": 1}, "d": [{}]}, 5: None}) == {"a.b.c": 1, "a.d": [{}], "5": None}
