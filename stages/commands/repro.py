"""Beside the pipeline, repro: `dvc repro`, after another one in the same folder has ended.

DVC's own `--wait-for-lock` waits for its short locks only: while a stage runs, a second `dvc repro` ends at once.

Run     graft repro [what dvc repro takes] (make repro does)
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from stages.graft.storage.locks import exclusive_lock

TURN = Path(".dvc/tmp/repro")


def main(arguments: Sequence[str]) -> None:
    """Wait, run, and end as DVC does."""
    if any(one in ("-h", "--help") for one in arguments):
        print("usage: graft repro …, with what `dvc repro` takes; waits while another one runs in this folder\n")
    with exclusive_lock(TURN, "another `graft repro` runs in this folder; waiting for it"):
        command = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", *arguments]
        code = subprocess.run(command, check=False).returncode
    sys.exit(code)
