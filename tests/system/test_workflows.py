"""The workflows of CI: valid by GitHub's schema, with targets that exist, and with no more rights than they need."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import REPOSITORY

WORKFLOWS = sorted((REPOSITORY / ".github/workflows").glob("*.yaml"))

MAKEFILE = (REPOSITORY / "Makefile").read_text(encoding="utf-8")


def steps(path: Path) -> list[dict[str, Any]]:
    """Every step of every job of a workflow."""
    jobs = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]
    return [step for job in jobs.values() for step in job["steps"]]


def lint(path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(path)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_each_is_valid_and_an_error_is_found(path: Path, tmp_path: Path):
    assert lint(path).returncode == 0, lint(path).stdout
    broken = tmp_path / path.name
    broken.write_text(path.read_text(encoding="utf-8").replace("runs-on:", "run-on:"), encoding="utf-8")
    assert "run-on" in lint(broken).stdout


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_the_commands_are_shell_and_the_targets_are_the_makefiles(path: Path):
    for step in steps(path):
        command = step.get("run", "")
        assert subprocess.run(["bash", "-n", "-c", command], capture_output=True).returncode == 0, command
        # A branch's name or a title must not become a command: it comes through the environment.
        assert "${{" not in command
        for target in re.findall(r"^make ([\w-]+)$", command, re.M):
            assert re.search(rf"^{target}: ", MAKEFILE, re.M)


def test_ci_checks_what_a_person_checks_before_pushing():
    ran = [step["run"] for step in steps(REPOSITORY / ".github/workflows/check.yaml") if "run" in step]
    assert ran == ["make check", "make test"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_only_the_job_that_comments_may_write_and_only_comments(path: Path):
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert workflow["permissions"] == {"contents": "read"}
    rights = {right for job in workflow["jobs"].values() for right in job.get("permissions", {}).items()}
    assert rights <= {("contents", "read"), ("pull-requests", "write")}
    assert "pull_request_target" not in path.read_text(encoding="utf-8")
    assert all(step["uses"].startswith("actions/") for step in steps(path) if "uses" in step)
