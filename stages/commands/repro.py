"""graft repro: run `dvc repro` after another one in the same folder has ended.

DVC's own `--wait-for-lock` waits for its short locks only: while a stage runs, a second `dvc repro` ends at once.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from stages.commands.start_checks import check_start
from stages.graft.storage.locks import exclusive_lock

LOCK = Path(".dvc/tmp/repro")


def run_repro(arguments: Sequence[str]) -> int:
    """Wait, then run `dvc repro` with these arguments; returns its exit code."""
    if not {"-h", "--help"}.intersection(arguments):
        check_start()
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", *arguments]
    with exclusive_lock(LOCK, "another `graft repro` runs in this folder; waiting for it"):
        return subprocess.run(command, check=False).returncode
