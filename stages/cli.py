"""`graft`: what people do beside the pipeline. Each command is a script of its own here, and `graft` only finds it.

Run     graft COMMAND --help, in the repository's root
"""

import sys
from collections.abc import Sequence
from importlib import import_module

from stages.graft.core.stage import run

COMMANDS = {
    "repro": "dvc repro, after another one in this folder has ended",
    "report": "write reports/report.html anew from the files, after a pull or a commit",
    "changes": "what changed against a commit, with intervals and the gate's verdict",
    "predict": "classify images, a row for each",
    "export": "write the whole model as one graph of ONNX or OpenVINO",
    "verify": "hash everything again that results rest on",
    "store": "list what the store outside the repository holds, or make room in it",
    "publish": "write the MLflow run of the present results, once",
}
"""A command's name, which is its script's, and what it does."""


def usage() -> str:
    """List the commands."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {meaning}" for name, meaning in COMMANDS.items()]
    return "\n".join(["usage: graft COMMAND …, and graft COMMAND --help for its options", "", *lines])


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command that the first argument names with the others."""
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if name in ("-h", "--help"):
        print(usage())
        return
    if name not in COMMANDS:
        sys.exit(f"graft: error: no command `{name}`\n\n{usage()}")
    command = import_module("stages.report" if name == "report" else f"stages.commands.{name}")
    run(f"graft {name}", lambda: command.main(rest), again=f"graft {name}")
