"""Sources that a YAML spec describes: images generated when they are asked for, from nothing but the spec."""

import multiprocessing
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from stages.graft.core.params import load_spec
from stages.graft.core.progress import bar
from stages.graft.core.threads import num_cpus
from stages.graft.data.archive import SharedFile
from stages.graft.data.candidates import Candidate, Source, make_source
from stages.graft.data.synthetic.plates import PlatesSpec, num_plates, plate

_PLATES_FOR_PROCESSES = 200
"""So many plates repay the second it takes to start other processes."""

_PLATES_AT_A_TIME = 16
"""Handed to a process in one go."""


@contextmanager
def open_spec(path: Path, name: str, scratch: Path) -> Iterator[Source]:
    """Generate the images of a YAML spec; they lie in a nameless temporary file as long as the source is open.

    Args:
        path: the spec; `kind: plates` is the only kind.
        name: of the source, for messages.
        scratch: folder for the temporary file.
    """
    spec = load_spec(path, PlatesSpec)
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=scratch) as file:
        shared, candidates = SharedFile(file), []
        for image, label, data in bar(_plates(spec), desc="generate", unit="plates", total=num_plates(spec)):
            read = partial(shared.read, file.tell(), file.write(data))
            candidates.append(Candidate(file=image, label=label, read=read, listed=True))
        yield make_source(name, candidates)


def _plates(spec: PlatesSpec) -> Iterator[tuple[str, str, bytes]]:
    indices = range(num_plates(spec))
    if len(indices) < _PLATES_FOR_PROCESSES or num_cpus() == 1:
        yield from map(partial(plate, spec), indices)
        return
    # Spawned, not forked: a fork of a process with threads can hang.
    with ProcessPoolExecutor(num_cpus(), mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(partial(plate, spec), indices, chunksize=_PLATES_AT_A_TIME)
