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
    actions = [step["uses"] for step in steps(path) if "uses" in step]
    assert all(re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", action) for action in actions), "a tag can be moved"


def test_keys_are_for_single_steps_that_run_no_code_of_the_request():
    workflow = yaml.safe_load((REPOSITORY / ".github/workflows/results.yaml").read_text(encoding="utf-8"))
    with_keys = []
    for name, job in workflow["jobs"].items():
        assert "secrets" not in str(job.get("env", ""))
        with_keys += [(name, step) for step in job["steps"] if "secrets" in str(step.get("env", ""))]
    ((name, step),) = with_keys
    checkout, *_ = workflow["jobs"][name]["steps"]
    assert checkout["with"]["ref"] == "${{ github.event.pull_request.base.sha }}"
    assert "make" not in step["run"]
    taken = [step["run"] for step in workflow["jobs"][name]["steps"] if "git checkout" in step.get("run", "")]
    assert [line.split(" -- ")[1] for line in taken[0].splitlines() if "checkout" in line] == [
        "dvc.lock dvc.yaml params.yaml reports"
    ]


def test_the_pins_have_hashes_and_are_installed_by_them():
    lock = (REPOSITORY / "requirements.lock").read_text(encoding="utf-8")
    pins = re.findall(r"^[\w.-]+==.*\n(    --hash=sha256:[0-9a-f]{64}.*\n)?", lock, re.M)
    assert len(pins) > 200
    assert all(pins)
    assert "PINNED = --quiet --disable-pip-version-check --no-deps --require-hashes" in MAKEFILE
    assert "--generate-hashes" in MAKEFILE
    assert "--hash=sha256:" in (REPOSITORY / ".ci/audit.lock").read_text(encoding="utf-8")


def test_an_audit_fails_where_it_cannot_look_something_up():
    """Else it ends well without a connection to what is known of weaknesses."""
    assert "pip_audit --strict" in MAKEFILE
