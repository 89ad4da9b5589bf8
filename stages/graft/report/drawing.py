"""The figures, drawn in a process of their own: Matplotlib and MLflow take long to load, here beside each other."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from stages.graft.core.errors import DataError

MODULE = "stages.graft.report.figures"
HOME = Path(__file__).parents[3]
"""The folder that holds `stages`."""

Captions = Callable[[], Mapping[str, str]]
"""Waits for the figures, and gives their captions by file name, in the order of reading."""


@contextmanager
def drawing(plots: Path, metrics: Path, decision: Path, folder: Path) -> Iterator[Captions]:
    """Start to draw the figures, as `draw_figures` does; whoever leaves before they are ready stops it.

    Yields:
        What waits for the figures. It raises a DataError when a table is missing or cannot be read.
    """
    paths = [str(path.absolute()) for path in (plots, metrics, decision, folder)]
    command = [sys.executable, "-m", MODULE, *paths]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=HOME) as process:

        @cache
        def wait() -> Mapping[str, str]:
            answer = process.communicate()[0]
            if process.returncode:
                raise RuntimeError(f"drawing the figures ended with exit code {process.returncode}")
            found = json.loads(answer)
            if "error" in found:
                raise DataError(found["error"])
            return dict(found["captions"])

        try:
            yield wait
        finally:
            process.kill()
