"""A sandbox: a folder with its own parameters, in which commands run and end in one line when they fail."""

import sys

import pytest
import yaml

from stages.benchmarks.sandbox import Sandbox
from stages.graft.core.errors import GraftError


@pytest.fixture
def sandbox(project, tmp_path):
    """A sandbox of the repository's parameters."""
    (project() / "data/backbones").mkdir(parents=True)
    return Sandbox.project(tmp_path / "sandbox")


def test_parameters_change_in_the_sandbox_alone(sandbox, tmp_path):
    sandbox.set_params("split", seed=7)
    seeds = [yaml.safe_load((folder / "params.yaml").read_text())["split"]["seed"]
             for folder in (sandbox.folder, tmp_path / "project")]  # fmt: skip
    assert seeds == [7, 0]


def test_commands_run_in_the_folder_with_the_environment(sandbox):
    command = (sys.executable, "-c", "import os; print(os.getcwd(), os.environ['GRAFT_STORE'], os.environ['EXTRA'])")
    printed = sandbox.with_environment(EXTRA="more").run(*command)
    assert printed == f"{sandbox.folder} {sandbox.folder}-store more\n"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import sys; print('out'); sys.exit('the reason')", "^the reason$"),
        ("import sys; print('out'); sys.exit(3)", "^out$"),
        ("import sys; sys.exit(3)", "ends with exit code 3$"),
    ],
)
def test_a_failure_is_the_last_line_printed(sandbox, code, message):
    with pytest.raises(GraftError, match=message):
        sandbox.run(sys.executable, "-c", code)
