"""Beside the pipeline, bench_serve: how fast `graft serve` answers, beside extraction and MLflow's server, in one run.

Reads   data/bundle, reports/predictions.csv, requirements.lock; generates its images in a temporary folder
Writes  reports/bench_serve.md
Run     python -m stages.benchmarks.bench_serve (three minutes on two processors; nothing else should run beside it)
"""

import base64
import http.client
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from stages.benchmarks.generated_images import jpeg_plates, write_images
from stages.benchmarks.measurements import Measurement
from stages.benchmarks.rates import prediction_rates
from stages.benchmarks.report_parts import Row, machine_description, markdown_table, write_report
from stages.graft.core.errors import DataError
from stages.graft.core.stage import run
from stages.graft.model.bundle import BUNDLE_FOLDER
from stages.graft.model.predictor import load_predictor
from stages.graft.tracking.mlflow_model import write_model

REPORT = Path("reports/bench_serve.md")

NUM_CLIENTS, NUM_TURNS, NUM_IMAGES, NUM_SINGLE = 8, 3, 600, 200
"""Clients at once, turns of each measurement, images of a turn, and requests of a single client in a turn."""

MAPS, PAGE = "?maps=true", "?maps=true&preview=true&nearest=6"
"""What a request asks for besides the answer: heat maps, and all that the page shows."""

START_SECONDS = 120
"""Time for a server to start."""


def ask_all(port: int, path: str, bodies: Sequence[bytes], num_clients: int, kind: str) -> list[float]:
    """Send requests from several clients at once, each on one connection.

    Args:
        port: of a server on this machine.
        path: address of the requests.
        bodies: their bodies, dealt to the clients in turn.
        num_clients: clients at once.
        kind: the content type.
    Returns:
        Seconds that each request took.
    """

    def client(own: Sequence[bytes]) -> list[float]:
        seconds = list[float]()
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
            for body in own:
                start = time.perf_counter()
                connection.request("POST", path, body, {"Content-Type": kind})
                response = connection.getresponse()
                answer = response.read()
                seconds.append(time.perf_counter() - start)
                if response.status != 200:
                    raise RuntimeError(f"{path}: {response.status} {answer[:200]!r}")
        return seconds

    with ThreadPoolExecutor(num_clients) as pool:
        return [one for own in pool.map(client, [bodies[k::num_clients] for k in range(num_clients)]) for one in own]


def images_per_second(port: int, path: str, images: Sequence[bytes]) -> float:
    """Measure the rate of a server with NUM_CLIENTS clients."""
    start = time.perf_counter()
    ask_all(port, path, images, NUM_CLIENTS, "image/jpeg")
    return len(images) / (time.perf_counter() - start)


def percentiles(seconds: Sequence[float]) -> tuple[float, float]:
    """Give the median and the 95th percentile, in milliseconds."""
    return 1000 * statistics.median(seconds), 1000 * statistics.quantiles(seconds, n=20)[-1]


@contextmanager
def graft_server(folder: Path) -> Iterator[int]:
    """Run `graft serve` of this repository; gives its port."""
    port, corrections = _free_port(), folder / "corrections"
    command = ["-m", "stages.cli", "serve", "--port", str(port), "--corrections", str(corrections)]
    with _running(command, folder / "serve.txt", port, "/ready"):
        yield port


@contextmanager
def mlflow_server(folder: Path) -> Iterator[int]:
    """Run MLflow's server with the same bundle, as an MLflow model; gives its port."""
    write_model(BUNDLE_FOLDER, Path("reports/predictions.csv"), Path("requirements.lock"), folder / "model")
    port = _free_port()
    command = ["-m", "mlflow", "models", "serve", "--model-uri", str(folder / "model")]
    with _running([*command, "--env-manager", "local", "--port", str(port)], folder / "mlflow.txt", port, "/ping"):
        yield port


@contextmanager
def _running(command: Sequence[str], log: Path, port: int, path: str) -> Iterator[None]:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, *command], env=environment, stdout=file, stderr=file, process_group=0
        )
    try:
        _wait_for(port, path, process, log)
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def _wait_for(port: int, path: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
                connection.request("GET", path)
                if connection.getresponse().status == 200:
                    return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"no answer from {process.args!r}: {log.read_text(encoding='utf-8')[-1000:]}")


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def measure_rates(port: int, files: Sequence[Path], scratch: Path) -> list[Row]:
    """Measure the rates of extraction and of the server, in turns; the best of each counts."""
    predictor, images = load_predictor(BUNDLE_FOLDER), [file.read_bytes() for file in files]
    ask_all(port, "/answers" + PAGE, images[:50], NUM_CLIENTS, "image/jpeg")  # the first requests load what they need
    extracting, rates = list[float](), {path: list[float]() for path in ("", MAPS, PAGE)}
    for turn in range(NUM_TURNS):
        extracting.append(prediction_rates(predictor, files, scratch / f"extract{turn}")[1])
        for path, measured in rates.items():
            measured.append(images_per_second(port, "/answers" + path, images))
    most = max(extracting)
    rows: list[Row] = [{"what": "extraction", "images/s": f"{most:.1f}", "of extraction": "1.00"}]
    names = {"": "answers", MAPS: "with heat maps", PAGE: "with all that the page shows"}
    for path, measured in rates.items():
        title = f"`graft serve`, {NUM_CLIENTS} clients, {names[path]}"
        rate = max(measured)
        rows.append({"what": title, "images/s": f"{rate:.1f}", "of extraction": f"**{rate / most:.2f}**"})
    return rows


def measure_latencies(ports: tuple[int, int], images: Sequence[bytes]) -> list[Row]:
    """Measure how long a single client waits at `graft serve` and at MLflow's server, in turns."""
    asked = {
        "`graft serve`": (ports[0], "/answers", "image/jpeg", list(images)),
        "`graft serve`, with heat maps": (ports[0], "/answers" + MAPS, "image/jpeg", list(images)),
        "`mlflow models serve`": (ports[1], "/invocations", "application/json", [_as_table(one) for one in images]),
    }
    seconds = {name: list[float]() for name in asked}
    for turn in range(NUM_TURNS + 1):
        for name, (port, path, kind, bodies) in asked.items():
            took = ask_all(port, path, bodies, 1, kind)
            seconds[name] += took if turn else []  # the first turn warms up
    base = percentiles(seconds["`mlflow models serve`"])[1]
    return [
        {
            "one client": name,
            "median, ms": f"{middle:.1f}",
            "p95, ms": f"{p95:.1f}",
            "of MLflow's p95": f"{p95 / base:.2f}",
        }
        for name, (middle, p95) in ((name, percentiles(took)) for name, took in seconds.items())
    ]


def _as_table(image: bytes) -> bytes:
    return json.dumps({"dataframe_records": [{"image": base64.b64encode(image).decode()}]}).encode()


def report(rates: list[Row], latencies: list[Row]) -> str:
    """Format the results."""
    return f"""# Serving, measured by `python -m stages.benchmarks.bench_serve`

{machine_description()}.
JPEG files of generated plates, one in a request; clients, server and network share the processors. Best of {NUM_TURNS}
turns of {NUM_IMAGES} images.

{markdown_table(rates)}

{NUM_TURNS} turns of {NUM_SINGLE} requests after one that is not counted.

{markdown_table(latencies)}
"""


def measure_serving(folder: Path) -> list[Measurement]:
    """Measure `graft serve` alone, for the page of all benchmarks.

    Raises:
        DataError: there is no model to serve.
    """
    if not BUNDLE_FOLDER.is_dir():
        raise DataError(f"the part serving needs {BUNDLE_FOLDER}; `make repro` makes it, `dvc pull` fetches it")
    files = list(write_images(folder / "images", jpeg_plates(), NUM_IMAGES).values())
    with graft_server(folder) as port:
        rates = measure_rates(port, files, folder)
        images = [file.read_bytes() for file in files[:NUM_SINGLE]]
        ask_all(port, "/answers", images, 1, "image/jpeg")  # warms up
        middle, p95 = percentiles(ask_all(port, "/answers", images, 1, "image/jpeg"))
    found = [(f"{row['what']}: against extraction", float(row["of extraction"].strip("*")), "") for row in rates[1:]]
    found += [(row["what"], float(row["images/s"]), "images/s") for row in rates]
    found += [("`graft serve`, one client: median", middle, "ms"), ("`graft serve`, one client: 95%", p95, "ms")]
    return [Measurement(part="Serving", what=what, value=value, unit=unit) for what, value, unit in found]


def main() -> None:
    """Measure everything and write the report."""
    with tempfile.TemporaryDirectory(prefix="graft-bench-") as name:
        folder, plates = Path(name), jpeg_plates()
        files = list(write_images(folder / "images", plates, NUM_IMAGES).values())
        with graft_server(folder) as port:
            rates = measure_rates(port, files, folder)
            with mlflow_server(folder) as other_port:
                latencies = measure_latencies((port, other_port), [file.read_bytes() for file in files[:NUM_SINGLE]])
    write_report(report(rates, latencies), REPORT)


if __name__ == "__main__":
    run("bench_serve", main)
