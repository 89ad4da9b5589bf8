"""The process that serves: it opens the model, listens, and ends cleanly."""

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import uvicorn

from stages.graft.backbone.extraction import num_workers
from stages.graft.core import memory
from stages.graft.core.errors import DataError
from stages.graft.model.bundle import BUNDLE
from stages.graft.model.predictor import Predictor, load_predictor
from stages.graft.serving.answer_log import AnswerLog
from stages.graft.serving.answering import Answering
from stages.graft.serving.app import Service, make_app
from stages.graft.serving.batching import Batcher
from stages.graft.serving.connections import LimitedProtocol
from stages.graft.serving.corrections import Corrections
from stages.graft.serving.counters import Counters
from stages.graft.serving.gate import LOCAL_NAMES
from stages.graft.serving.limits import MB, Limits
from stages.graft.serving.neighbours import find_training_images
from stages.graft.storage.hashing import sha256_of

BATCH_SIZE, TORCH_BATCH_SIZE = 1, 8
"""Images in a batch. OpenVINO computes one image at a time, on every processor at once: with 8, an image took 12% more
CPU time, and a single one would wait for the padding. A GPU needs more."""

PIXELS_BYTES = 512 * 2**20
"""Room for decoding: one large image at a time, or several small ones."""

KEPT_BYTES = 2**22
"""What each heap keeps after an image, so that a large one leaves little behind: a server runs for months."""

GRACE_SECONDS = 10
"""Time for requests in work when the server is stopped."""

BACKLOG = 2048
"""Connections that wait to be accepted."""


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """How to serve."""

    host: str
    """Address to listen on."""
    port: int
    """Port to listen on; 0 for a free one."""
    corrections: Path | None
    """Folder for corrected images; None: they are refused."""
    log: Path | None
    """Folder for what is asked and answered; None: nothing is kept."""
    max_mb: float
    """Largest body of a request, in millions of bytes."""
    max_megapixels: float
    """Largest image, in millions of pixels."""


def serve(bundle: Path, name: str, options: ServeOptions) -> None:
    """Serve a bundle until the process is interrupted; `name` is the user's name for the model.

    Raises:
        DataError: there is no bundle, or the port is taken.
    """
    with listening(options.host, options.port) as listener, open_service(bundle, name, options) as service:
        config = uvicorn.Config(
            make_app(service), log_level="error", access_log=False, lifespan="off", ws="none", server_header=False,
            proxy_headers=False, http=LimitedProtocol, timeout_graceful_shutdown=GRACE_SECONDS, timeout_keep_alive=60,
        )  # fmt: skip
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        print(f"serve: {name} at http://{shown}:{port} (Ctrl-C ends)", file=sys.stderr, flush=True)
        try:
            uvicorn.Server(config).run(sockets=[listener])
        except KeyboardInterrupt:  # the server has ended well, and says again what ended it
            print("serve: stopped", file=sys.stderr)


@contextmanager
def open_service(bundle: Path, name: str, options: ServeOptions) -> Iterator[Service]:
    """Open the model and all that answers need; at the end, answer what waits and write the log."""
    usual_bytes, memory.PIXELS.num_bytes = memory.PIXELS.num_bytes, PIXELS_BYTES
    memory.share_heaps(KEPT_BYTES)
    predictor, counters = open_predictor(bundle), Counters()
    limits = Limits(max_bytes=round(options.max_mb * MB), max_pixels=round(options.max_megapixels * 1e6))
    limits = replace(limits, max_bytes_at_once=max(limits.max_bytes_at_once, 2 * limits.max_bytes))
    training = find_training_images(bundle, predictor)
    log = None if options.log is None else AnswerLog(options.log, predictor.classes, counters.count_lost_rows)
    answering = Answering(predictor, sha256_of(bundle / BUNDLE), limits.max_pixels, training, log)
    batcher = Batcher(answering.answer, predictor.batch_size, num_workers(predictor.runtime))
    try:
        yield Service(
            name=name,
            answering=answering,
            batcher=batcher,
            corrections=None if options.corrections is None else Corrections(options.corrections, predictor.classes),
            limits=limits,
            counters=counters,
            only_local=options.host in LOCAL_NAMES,
        )
    finally:
        memory.PIXELS.num_bytes = usual_bytes
        memory.share_heaps()
        batcher.close()
        if log is not None:
            log.close()


def open_predictor(bundle: Path) -> Predictor:
    """Open a model for requests of one image or few, and load it fully."""
    predictor = load_predictor(bundle, batch_size=BATCH_SIZE)
    if not str(predictor.runtime.record["runtime"]).startswith("openvino"):
        predictor = load_predictor(bundle, batch_size=TORCH_BATCH_SIZE)
    if predictor.has_maps and predictor.trust.is_trusted:
        predictor.runtime.load_maps()
    return predictor


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """Listen on an address; a DataError when that is not possible."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"cannot listen on {host}, port {port} ({reason}); choose another with --port") from None
    with listener:
        yield listener
