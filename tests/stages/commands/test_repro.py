"""graft repro: what it asks of DVC. That it waits for another one is tested with the team's days."""

import os
import signal
import subprocess
import sys

import pytest

from stages.commands import repro
from tests.conftest import REPOSITORY
from tests.support.pictures import class_folder, png, write

AGAIN = ("--force", "--single-item", "ingest")


@pytest.fixture
def asked(project, tmp_path, monkeypatch):
    """Run it on a list of images; gives what DVC was asked to run, and the exit code."""
    class_folder(tmp_path)
    source = write(tmp_path / "list.csv", b"path,label\nhole/0.png,a\nscratch/0.png,b\n")
    project(ingest={"source": str(source)})

    def run(*arguments, fails=()):
        calls = []

        def dvc(given):
            calls.append(tuple(given))
            if tuple(given) == AGAIN and not fails:
                from stages import ingest

                ingest.main()
            return 1 if tuple(given) in fails else 0

        monkeypatch.setattr(repro, "_dvc_repro", dvc)
        return repro.run_repro(arguments), calls

    return run


def test_ingest_runs_again_when_an_image_that_dvc_does_not_watch_has_changed(asked, tmp_path, capsys):
    assert asked("split") == (0, [AGAIN, ("split",)])
    assert "; `graft repro` notices when they change" in capsys.readouterr().out
    assert asked("split") == (0, [("split",)])
    write(tmp_path / "hole/0.png", png(9))
    assert asked() == (0, [AGAIN, ()])
    assert "hole/0.png: ingest runs again" in capsys.readouterr().out
    assert asked() == (0, [()])


def test_a_failed_ingest_is_the_end(asked):
    assert asked(fails=[AGAIN]) == (1, [AGAIN])


@pytest.mark.parametrize("option", ["--dry", "--help", "-h"])
def test_options_that_only_look_run_nothing(asked, option):
    assert asked(option) == (0, [(option,)])


def test_a_source_that_dvc_watches(asked, project):
    write(project(ingest={"source": "data/plates.yaml"}) / "data/plates.yaml", b"kind: plates\n")
    assert asked() == (0, [()])


WAITS = """
import signal, subprocess, sys, time
end = lambda *_: (time.sleep(0.3), print("put away", flush=True), sys.exit(5))
stage = None
if "stage" not in sys.argv:
    stage = subprocess.Popen([sys.executable, __file__, "stage"])
signal.signal(signal.SIGINT, end if stage is None else lambda *_: None)
if stage is None:
    print("begun", flush=True)
    time.sleep(60)
else:
    stage.wait()
    end()
"""
"""DVC and a stage, each of which has something to do before it ends."""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_dvc_and_its_stage_end_well_before_graft_repro_does(tmp_path, number):
    """Ctrl-C goes to all processes; SIGTERM to one, and a stage that went on would disturb the next run."""
    (tmp_path / "dvc.py").write_text(WAITS)
    command = "from stages.commands.repro import _dvc_repro\nfrom stages.graft.core.stage import run\n"
    command += "run('graft repro', lambda: _dvc_repro(()))"
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{REPOSITORY}"}
    with subprocess.Popen(
        [sys.executable, "-c", command], cwd=tmp_path, env=environment, start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout.readline() == "begun\n"
        if number == signal.SIGINT:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        printed, said = process.communicate(timeout=30)
    assert printed == "put away\n" * 2
    assert said.count("\n") == 2
    assert "interrupted" in said
