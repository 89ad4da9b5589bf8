"""Beside the pipeline, bench_load: how long clients wait at a server while another client attacks it, and its memory.

Reads   data/bundle, reports/predictions.csv, requirements.lock; generates its images in memory
Writes  reports/bench_load.csv: server, p95_ms, p95_attacked_ms, ratio, num_requests, num_failed, num_attacks,
        num_refused (attacks), mb_first, mb_middle, mb_last (memory at the end of a turn without attack), most_mb
Run     python -m stages.benchmarks.bench_load, or one of the servers alone: … graft, … mlflow (11 minutes a server;
        nothing else should run beside it)
"""

import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import psutil

from stages.benchmarks.bench_serve import ask_all, graft_server, mlflow_server, percentiles
from stages.benchmarks.generated_images import jpeg_plates, write_images
from stages.benchmarks.hostile_client import HostileClient, Target, form_body, table_body
from stages.graft.core.errors import ParamsError
from stages.graft.core.stage import run
from stages.graft.storage.tables import write_csv

REPORT = Path("reports/bench_load.csv")

NUM_TURNS, TURN_SECONDS = 10, 30.0
"""Turns without and with an attack, and the duration of each: ten minutes in all."""

NUM_CLIENTS, PAUSE_SECONDS, NUM_IMAGES = 2, 0.2, 50
"""Other clients, the pause of each between two requests, and the images that they send."""


@dataclass(kw_only=True)
class Waits:
    """How long the other clients waited."""

    seconds: list[float] = field(default_factory=list)
    """Of each request that was answered."""
    num_failed: int = 0
    """Requests without an answer."""


class MemoryWatch:
    """Notes the memory of all processes below this one, once a second, in a thread."""

    def __init__(self) -> None:
        """Begin."""
        self.mb = list[float]()
        """MB of 1,000,000 bytes, a number for each second."""
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def end(self) -> None:
        """Note no more."""
        self._is_over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._is_over.wait(1):
            self.mb.append(sum(map(_memory, psutil.Process().children(recursive=True))) / 1e6)


def _memory(process: psutil.Process) -> int:
    with suppress(psutil.NoSuchProcess):
        return int(process.memory_info().rss)
    return 0


def ask_calmly(target: Target, images: Sequence[bytes], end: float, waits: Waits) -> None:
    """Ask about one image after the other until a time, as a client with a pause between two requests."""
    number = 0
    while time.monotonic() < end:
        kind, body = target.body([images[number % len(images)]])
        try:
            waits.seconds += ask_all(target.port, target.path, [body], 1, kind)
        except (OSError, RuntimeError):
            waits.num_failed += 1
        number += 1
        time.sleep(PAUSE_SECONDS)


def measure_turn(target: Target, images: Sequence[bytes], seconds: float, attacker: HostileClient | None) -> Waits:
    """Let the other clients ask for so long, and the attacker attack, if there is one."""
    waits, end = Waits(), time.monotonic() + seconds
    with ThreadPoolExecutor(NUM_CLIENTS + 1) as pool:
        tasks = [pool.submit(ask_calmly, target, images[k::NUM_CLIENTS], end, waits) for k in range(NUM_CLIENTS)]
        if attacker is not None:
            tasks.append(pool.submit(attacker.attack, seconds))
        for task in tasks:
            task.result()
    return waits


def measure_server(name: str, target: Target, images: Sequence[bytes]) -> dict[str, Any]:
    """Measure turns without and with an attack by turns; give a row of the table."""
    attacker = HostileClient(target, seed=0)
    ask_all(target.port, target.path, [target.body([image])[1] for image in images], 2, target.body(images[:1])[0])
    watch, waits, calm_mb = MemoryWatch(), {False: Waits(), True: Waits()}, list[float]()
    for _ in range(NUM_TURNS):
        for is_attacked, total in waits.items():
            found = measure_turn(target, images, TURN_SECONDS, attacker if is_attacked else None)
            total.seconds += found.seconds
            total.num_failed += found.num_failed
            calm_mb += [] if is_attacked else watch.mb[-1:]
    watch.end()
    quiet, attacked = (percentiles(total.seconds)[1] for total in waits.values())
    marks = {"mb_first": calm_mb[0], "mb_middle": calm_mb[len(calm_mb) // 2], "mb_last": calm_mb[-1]}
    return {
        "server": name,
        "p95_ms": round(quiet, 1),
        "p95_attacked_ms": round(attacked, 1),
        "ratio": round(attacked / quiet, 2),
        "num_requests": sum(len(total.seconds) for total in waits.values()),
        "num_failed": sum(total.num_failed for total in waits.values()),
        "num_attacks": attacker.num_requests,
        "num_refused": attacker.num_refused,
        **{name: round(mb) for name, mb in (marks | {"most_mb": max(watch.mb)}).items()},
    }


def measure_graft(folder: Path, images: Sequence[bytes]) -> dict[str, Any]:
    """Measure `graft serve`."""
    with graft_server(folder) as port:
        return measure_server("graft serve", Target(port=port, path="/answers", body=form_body), images)


def measure_mlflow(folder: Path, images: Sequence[bytes]) -> dict[str, Any]:
    """Measure MLflow's server."""
    with mlflow_server(folder) as port:
        return measure_server("mlflow models serve", Target(port=port, path="/invocations", body=table_body), images)


SERVERS = {"graft": measure_graft, "mlflow": measure_mlflow}


def main() -> None:
    """Measure the servers that are named, or both, and write the table; the row of the other one stays."""
    names = sys.argv[1:] or [*SERVERS]
    if unknown := {*names} - {*SERVERS}:
        raise ParamsError(f"there is no server {min(unknown)}; the servers are {' and '.join(SERVERS)}")
    with tempfile.TemporaryDirectory(prefix="graft-bench-") as name:
        folder = Path(name)
        files = write_images(folder / "images", jpeg_plates(), NUM_IMAGES).values()
        images = [file.read_bytes() for file in files]
        table = pd.DataFrame([SERVERS[name](folder, images) for name in names])
    before = pd.read_csv(REPORT) if REPORT.exists() else table
    if [*before] == [*table]:  # else its rows are of other columns
        table = pd.concat([before[~before["server"].isin(table["server"])], table])
    write_csv(table, REPORT)
    print(table.to_string(index=False))


if __name__ == "__main__":
    run("bench_load", main)
