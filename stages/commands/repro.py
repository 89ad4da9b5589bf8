"""graft repro: run `dvc repro` after another one in the same folder has ended.

DVC's own `--wait-for-lock` waits for its short locks only: while a stage runs, a second `dvc repro` ends at once.
DVC does not look into linked folders, nor at the images that a list names: this command does.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from stages.commands.copies import offered, wait_and_copy
from stages.commands.start_checks import check_start
from stages.graft.advice.advice import LATER, print_advice
from stages.graft.maintenance.verification import repair_dvc
from stages.graft.storage.locks import exclusive_lock

LOCK = Path(".dvc/tmp/repro")
REPORT = Path("reports/ingest.json")

SECONDS_TO_END = 30.0
"""Time that DVC has to end after Ctrl-C."""

HELP = frozenset(("-h", "--help"))
LOOKS_ONLY = HELP | {"--dry"}
INGEST_AGAIN = ("--force", "--single-item", "ingest")


def run_repro(arguments: Sequence[str]) -> int:
    """Wait, then run `dvc repro` with these arguments, and print the advice; returns the exit code."""
    if not HELP.intersection(arguments):
        check_start()
    with exclusive_lock(LOCK, "another `graft repro` runs in this folder; waiting for it"):
        if not LOOKS_ONLY.intersection(arguments):
            for line in repair_dvc(Path()):
                print(f"graft repro: {line}", file=sys.stderr)
        if not LOOKS_ONLY.intersection(arguments) and (reason := _reason_to_ingest()):
            print(f"graft repro: {reason}: ingest runs again", flush=True)
            if code := _dvc_repro(INGEST_AGAIN):
                return code
        if LOOKS_ONLY.intersection(arguments) or any(not argument.startswith("-") for argument in arguments):
            return _dvc_repro(arguments)  # of some stages only: the advice may be older than their results
        os.environ[LATER] = "1"
        code = _dvc_repro(arguments)
        del os.environ[LATER]
    if not code:
        print_advice(Path())
    return code


def _dvc_repro(arguments: Sequence[str]) -> int:
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", *arguments]
    with offered() as asked:
        process = subprocess.Popen(command)
        try:
            return wait_and_copy(process, asked)
        except KeyboardInterrupt as interruption:  # killed, DVC would leave its locks: it ends after its stage
            if signal.SIGTERM in interruption.args:  # came to this process alone; Ctrl-C goes to all of them
                _interrupt_all_below(process.pid)
            with suppress(subprocess.TimeoutExpired):
                process.wait(SECONDS_TO_END)
            process.kill()
            raise


def _interrupt_all_below(pid: int) -> None:
    """Send Ctrl-C to a process and all that it has started: DVC's stages would go on without DVC."""
    import psutil

    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                one.send_signal(signal.SIGINT)


def _reason_to_ingest() -> str | None:
    from stages.graft.core.params import load_params
    from stages.graft.data.ingest_params import IngestParams
    from stages.graft.data.unwatched import reason_to_ingest
    from stages.graft.storage.cache_folder import store_folder

    return reason_to_ingest(load_params("ingest", IngestParams), store_folder(), REPORT)
