"""Errors: a user's mistake is one line and exit code 1; everything else is not hidden."""

import inspect
import os
import subprocess
import sys

import pytest

from stages.graft.core import errors
from stages.graft.core.errors import DataError, GraftError, ParamsError, WeightsError
from stages.graft.core.stage import run
from tests.conftest import REPOSITORY


def ended(raised: str) -> "subprocess.CompletedProcess[str]":
    """Run a stage whose main raises what the text says, as a process of its own."""
    code = "from stages.graft.core.errors import *\nfrom stages.graft.core.stage import run\n"
    code += f"def main():\n    {raised}\nrun('split', main)"
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("error", ["GraftError", "ParamsError", "DataError", "WeightsError"])
def test_a_users_mistake_ends_with_its_line_and_code_1(error: str):
    process = ended(f"raise {error}('a.png: the file has zero bytes')")
    assert process.returncode == 1
    assert process.stderr == "split: error: a.png: the file has zero bytes\n"
    assert process.stdout == ""


def test_control_c_ends_with_130_and_no_traceback():
    process = ended("raise KeyboardInterrupt")
    assert process.returncode == 130
    assert "split: interrupted" in process.stderr
    assert "Traceback" not in process.stderr


@pytest.mark.parametrize(
    "raised",
    [
        "raise OSError(28, 'No space left on device', 'data/a.csv')",
        "raise OSError(122, 'Disk quota exceeded', 'data/a.csv')",
        "raise RuntimeError('I/O error: No space left on device (os error 28)')",
    ],
)
def test_a_full_disk_ends_with_one_line_that_says_what_to_do(raised: str):
    process = ended(raised)
    assert process.returncode == 1
    (line,) = process.stderr.splitlines()
    assert line.startswith("split: error: the disk is full")
    assert "`dvc repro` goes on after room is made" in line
    assert ("at data/a.csv" in line) == ("a.csv" in raised)


@pytest.mark.parametrize("error", [ValueError("x"), KeyError("x"), OSError("disk full"), SystemExit(3)])
def test_other_exceptions_pass_through(error: BaseException):
    def main() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        run("split", main)
    assert caught.value is error


def test_success_is_silent(capsys: pytest.CaptureFixture[str]):
    run("split", lambda: None)
    assert capsys.readouterr() == ("", "")


def test_every_error_is_a_grafterror_in_the_tree_on_top():
    found = {kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, Exception)}
    assert found == {GraftError, ParamsError, DataError, WeightsError}
    assert all(issubclass(kind, GraftError) and kind.__name__ in str(errors.__doc__) for kind in found)


def test_a_message_of_several_lines_becomes_one():
    assert errors.one_line(ValueError("no rule\n  for it")) == "no rule for it"
    assert errors.one_line(ValueError("long"), max_length=2) == "lo"
    assert errors.one_line(ValueError()) == "ValueError"


def test_a_reader_that_stops_early_is_no_error():
    code = "from stages.graft.core.stage import run; run('x', lambda: [print('line') for _ in range(100_000)])"
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "line\n"
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait() == 141
