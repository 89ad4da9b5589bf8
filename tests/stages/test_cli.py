import ast

import pytest

from stages import cli
from tests.conftest import REPOSITORY


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_each_command_is_a_script_that_explains_itself(name, capsys):
    assert ast.get_docstring(
        ast.parse(
            (REPOSITORY / ("stages/report.py" if name == "report" else f"stages/commands/{name}.py")).read_text(
                encoding="utf-8"
            )
        )
    )
    with pytest.raises(SystemExit, match="0"):
        cli.main([name, "--help"])
    assert f"usage: graft {name}" in capsys.readouterr().out


def test_no_command_lists_them_all(capsys):
    cli.main([])
    shown = capsys.readouterr().out
    assert all(name in shown for name in cli.COMMANDS)


def test_an_unknown_command_ends_with_the_list():
    with pytest.raises(SystemExit, match="no command `predcit`") as ended:
        cli.main(["predcit"])
    assert "publish" in str(ended.value)
