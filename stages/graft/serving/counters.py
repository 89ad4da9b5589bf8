"""Counters of what a server does, as text for Prometheus.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/, version 0.0.4.
"""

import threading
from collections import Counter
from collections.abc import Iterator

BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the durations that are counted together, in seconds."""

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Counters:
    """Counts requests, images and answers; may be used in several threads."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, int]] = Counter()
        self._images: Counter[str] = Counter()
        self._labels: Counter[str] = Counter()
        self._buckets: Counter[float] = Counter()
        self._seconds, self._num_timed = 0.0, 0
        self._lost_rows = 0

    def count_request(self, path: str, status: int) -> None:
        """Count a request that has been answered; `path` is one of few."""
        with self._lock:
            self._requests[path, status] += 1

    def count_seconds(self, seconds: float) -> None:
        """Count how long a request for answers took."""
        with self._lock:
            self._seconds, self._num_timed = self._seconds + seconds, self._num_timed + 1
            self._buckets.update(bound for bound in BUCKETS if seconds <= bound)

    def count_image(self, label: str | None, outcome: str) -> None:
        """Count an image: its label, if it has one, and whether it is answered, unsure, unknown or damaged."""
        with self._lock:
            self._images[outcome] += 1
            if label is not None:
                self._labels[label] += 1

    def count_lost_rows(self, number: int) -> None:
        """Count rows of the log that could not be written."""
        with self._lock:
            self._lost_rows += number

    def to_text(self, num_requests: int, num_waiting: int) -> str:
        """Write all counters; the arguments are the requests in work and the images that wait."""
        with self._lock:
            return "\n".join([*self._lines(num_requests, num_waiting), ""])

    def _lines(self, num_requests: int, num_waiting: int) -> Iterator[str]:
        yield "# HELP graft_requests_total Requests by path and status."
        yield "# TYPE graft_requests_total counter"
        for (path, status), number in sorted(self._requests.items()):
            yield f'graft_requests_total{{path="{path}",status="{status}"}} {number}'
        yield "# HELP graft_images_total Images by outcome: answered, unsure, unknown, damaged."
        yield "# TYPE graft_images_total counter"
        for outcome, number in sorted(self._images.items()):
            yield f'graft_images_total{{outcome="{outcome}"}} {number}'
        yield "# HELP graft_answers_total Images by label."
        yield "# TYPE graft_answers_total counter"
        for label, number in sorted(self._labels.items()):
            yield f'graft_answers_total{{label="{_escaped(label)}"}} {number}'
        yield "# HELP graft_answer_seconds Duration of requests for answers."
        yield "# TYPE graft_answer_seconds histogram"
        for bound in BUCKETS:
            yield f'graft_answer_seconds_bucket{{le="{bound}"}} {self._buckets[bound]}'
        yield f'graft_answer_seconds_bucket{{le="+Inf"}} {self._num_timed}'
        yield f"graft_answer_seconds_sum {self._seconds:.6f}"
        yield f"graft_answer_seconds_count {self._num_timed}"
        for name, kind, number, meaning in (
            ("graft_requests_in_work", "gauge", num_requests, "Requests with a body that are worked on."),
            ("graft_images_waiting", "gauge", num_waiting, "Images that wait for the network."),
            ("graft_log_rows_lost_total", "counter", self._lost_rows, "Rows of the log that were not written."),
        ):
            yield f"# HELP {name} {meaning}"
            yield f"# TYPE {name} {kind}"
            yield f"{name} {number}"


def _escaped(label: str) -> str:
    return label.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
