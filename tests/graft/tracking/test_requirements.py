"""Pins: from a lock by hand, and from the project's own, whose versions are those installed here."""

from importlib.metadata import version

import pytest

from stages.graft.core.errors import DataError
from stages.graft.tracking.requirements import pinned_requirements
from tests.conftest import REPOSITORY

LOCK = REPOSITORY / "requirements.lock"


def test_a_library_comes_with_what_it_needs(tmp_path):
    """python-dateutil needs six; pandas needs both, numpy, and tzdata on some systems alone."""
    lock = tmp_path / "requirements.lock"
    lock.write_text(
        "# by hand\n"
        "numpy==1 ; python_version < '3'\n"
        "numpy==2 ; python_version >= '3'\n"
        "pandas==3.0\n"
        "python-dateutil==4.1\n"
        "six==5 \\\n    --hash=sha256:00 \\\n    --hash=sha256:11\n"
        "tqdm==6\n"
    )
    assert pinned_requirements(["pandas"], lock) == ["numpy==2", "pandas==3.0", "python-dateutil==4.1", "six==5"]
    assert pinned_requirements(["tqdm", "Six"], lock) == ["six==5", "tqdm==6"]
    with pytest.raises(DataError, match=r"requirements\.lock lacks pillow, pyyaml; `make lock`"):
        pinned_requirements(["pillow", "tqdm", "PyYAML"], lock)


def test_without_a_lock_nothing_is_pinned(tmp_path):
    with pytest.raises(DataError, match="is missing: no model can be registered"):
        pinned_requirements(["numpy"], tmp_path / "requirements.lock")


def test_the_projects_lock_holds_all_that_mlflow_needs_to_serve():
    found = dict(line.split("==") for line in pinned_requirements(["mlflow-skinny", "torch"], LOCK))
    assert {"mlflow-skinny", "fastapi", "uvicorn", "starlette", "pydantic", "torch", "sympy"} <= found.keys()
    assert not {"flask", "sqlalchemy", "dvc", "pytest", "scikit-learn"} & found.keys()
    assert found["fastapi"] == version("fastapi")
