import os
import subprocess
import sys
from importlib.metadata import version
from types import SimpleNamespace

import pytest

from stages import cli
from stages.commands import repro
from stages.graft.core.errors import GraftError
from stages.graft.model.exported_graph import FILES
from tests.conftest import REPOSITORY
from tests.support.commands import graft

COMMANDS = {
    "repro",
    "report",
    "changes",
    "compare",
    "compare-backbones",
    "predict",
    "export",
    "verify",
    "store",
    "publish",
    "serve",
    "suggest",
    "labels",
}
SCRIPT = [sys.executable, "-c", "from stages.cli import main; main(prog_name='graft')"]


def run_script(*arguments, **options):
    return subprocess.run([*SCRIPT, *arguments], cwd=REPOSITORY, capture_output=True, text=True, **options)


def test_help_lists_the_commands(capsys):
    assert set(cli.main.commands) == COMMANDS
    graft("--help")
    lines = capsys.readouterr().out.splitlines()
    assert all(any(line.startswith(f"  {name} ") for line in lines) for name in COMMANDS)


@pytest.mark.parametrize("name", sorted(COMMANDS - {"repro"}))
def test_each_command_explains_itself(name, capsys):
    graft(name, "--help")
    assert capsys.readouterr().out.startswith(f"Usage: graft {name}")


def test_the_version_is_the_packages(capsys):
    graft("--version")
    assert capsys.readouterr().out == f"graft, version {version('graft-images')}\n"


def test_help_imports_click_and_nothing_heavy():
    heavy = "{'torch', 'numpy', 'pandas', 'pydantic', 'yaml', 'mlflow', 'openvino', 'importlib.metadata'}"
    code = (
        "import sys; from stages.cli import main; main(['--help'], standalone_mode=False); "
        f"sys.exit(str({heavy} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.stderr.strip() == "set()"


def test_wrong_usage_ends_with_2_and_says_what_is_meant():
    done = run_script("predcit")
    assert done.returncode == 2
    assert "No such command 'predcit'" in done.stderr


def test_a_reader_that_stops_early_gets_no_traceback():
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write) as closed:
        done = subprocess.run([*SCRIPT, "--help"], cwd=REPOSITORY, stdout=closed, stderr=subprocess.PIPE, text=True)
    assert done.stderr == ""


@pytest.mark.parametrize(("name", "arguments"), [("store", ()), ("store prune", ()), ("publish", ())])
def test_a_users_mistake_is_one_line(monkeypatch, name, arguments):
    def fail(**_):
        raise GraftError("what is wrong")

    for function in ("store.list_store", "store.prune_store", "publish.publish_results"):
        monkeypatch.setattr(f"stages.commands.{function}", fail)
    with pytest.raises(SystemExit, match=f"^graft {name}: error: what is wrong$"):
        graft(*name.split())


def test_repro_passes_everything_on(monkeypatch, project):
    project(ingest={"source": "."})
    calls = []
    monkeypatch.setattr(repro, "subprocess", SimpleNamespace(Popen=calls.append))
    monkeypatch.setattr(repro, "wait_and_copy", lambda *_: 7)
    for arguments in (["-fs", "split", "--dry"], ["--help"], ["-h"], ["--no-such"], []):
        with pytest.raises(SystemExit, match="7"):
            graft("repro", *arguments)
        assert calls.pop()[-len(arguments) - 1 :] == ["repro", *arguments]


def test_the_formats_are_those_that_export_knows():
    option = next(option for option in cli.main.commands["export"].params if option.name == "format_")
    assert set(option.type.choices) == set(FILES)
