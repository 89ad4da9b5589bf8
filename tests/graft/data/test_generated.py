import pytest

from stages.graft.core.errors import ParamsError
from stages.graft.data import generated
from stages.graft.data.generated import open_spec
from stages.graft.data.synthetic.plates import PlatesSpec, num_plates, plate
from tests.support.pictures import write

SPEC = {"kind": "plates", "per_class": 2, "size_px": 32, "seed": 1, "difficulty": 0.5}


def spec_file(folder, **changes):
    lines = [f"{key}: {value}" for key, value in (SPEC | changes).items() if value is not None]
    return write(folder / "plates.yaml", "\n".join(lines).encode())


@pytest.mark.parametrize("in_processes", [False, True])
def test_plates_are_generated_in_order_of_file(tmp_path, monkeypatch, in_processes):
    monkeypatch.setattr(generated, "_PLATES_FOR_PROCESSES", 0 if in_processes else 10**9)
    monkeypatch.setattr(generated, "num_cpus", lambda: 2)
    spec = PlatesSpec.model_validate(SPEC)
    plates = (plate(spec, index) for index in range(num_plates(spec)))
    expected = {file: (label, data) for file, label, data in plates}
    with open_spec(spec_file(tmp_path), "plates.yaml", tmp_path / "scratch") as source:
        assert [candidate.file for candidate in source.candidates] == sorted(expected)
        assert {candidate.file: (candidate.label, candidate.read()) for candidate in source.candidates} == expected
        assert source.classes == tuple(sorted({label for label, _ in expected.values()}))
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "gears"}, r"plates.yaml: `kind` should be 'plates', got 'gears'"),
        ({"seed": None}, "`seed` is missing"),
        ({"sides": 3}, "`sides` is not a parameter"),
        ({"per_class": "many"}, "`per_class` should be a valid integer"),
        ({"per_class": 0}, "`per_class` should be greater than or equal to 1"),
    ],
)
def test_bad_specs_are_refused(tmp_path, changes, message):
    with pytest.raises(ParamsError, match=message):
        open_spec(spec_file(tmp_path, **changes), "plates.yaml", tmp_path / "scratch").__enter__()


@pytest.mark.parametrize("text", [b"kind: [", b"- plates", b"\xff"])
def test_what_is_no_yaml_mapping_is_refused(tmp_path, text):
    with pytest.raises(ParamsError, match=r"plates\.yaml"):
        open_spec(write(tmp_path / "plates.yaml", text), "plates.yaml", tmp_path / "scratch").__enter__()
