"""Downloads: a file is fetched once, resumed after a broken connection and checked against its SHA-256."""

import http.client
import queue
import re
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from stages.graft.core.errors import DataError
from stages.graft.core.progress import Progress
from stages.graft.storage.hashing import sha256_of
from stages.graft.storage.locks import exclusive_lock, mark_used

TIMEOUT_SECONDS = 30.0
"""Time in which a server must begin to answer; a caller may give it less."""

STALL_SECONDS = 10.0
"""A connection slower than the minimum for so long has failed."""

MIN_BYTES_PER_SECOND = 1000
"""Minimum speed; at this one, 100 MB take more than a day."""

ATTEMPTS = 5
"""Connections in a row that may fail with less than the minimum received."""

_BLOCK = 2**16


class _BrokenOff(Exception):
    """The connection ended before the file."""


def is_address(source: str) -> bool:
    """Tell whether a source is an http(s) address."""
    return source.startswith(("http://", "https://"))


class DownloadError(DataError):
    """A file cannot be downloaded; the message gives the reason, and the caller adds what to do."""


def fetch(address: str, sha256: str, folder: Path) -> Path:
    """Give the file at an address, and download it unless the folder has it.

    Args:
        address: http or https.
        sha256: SHA-256 of the file, 64 hex digits.
        folder: the downloads, each named by its SHA-256; an unfinished one ends in `.part`.
    Raises:
        DataError: the address does not answer, refuses, or gives another file.
    """
    sha256 = sha256.lower()
    path = folder / sha256
    wrong = f"the parameter says {sha256}; if you trust what is there now, correct the parameter"
    try:
        fetch_to(path, address, lambda actual: None if actual == sha256 else wrong)
    except _RefusedError as error:
        raise DataError(f"{error}; check ingest.source") from None
    return path


def fetch_to(
    path: Path,
    address: str,
    misfit: Callable[[str], str | None],
    answer_seconds: float = TIMEOUT_SECONDS,
    attempts: int = ATTEMPTS,
) -> str:
    """Download a file to `path`, unless the right one is there, and give its SHA-256.

    One process at a time downloads; the others wait. After a broken connection, `<path>.part` keeps what was received,
    and the next connection continues from there. A connection fails when it is slower than `MIN_BYTES_PER_SECOND` for
    `STALL_SECONDS`.

    Args:
        path: the file.
        address: http or https.
        misfit: says why a SHA-256 is not the expected one; None when it is.
        answer_seconds: time in which the server must begin to answer, including the look-up of its name.
        attempts: connections in a row that may fail with almost nothing received.
    Raises:
        DownloadError: the address does not answer, refuses, or gives another file, which is removed; or the
            folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with exclusive_lock(path, f"download: another process is at {path.name}; waiting for it"):
            if path.exists():
                if misfit(actual := sha256_of(path)) is None:
                    mark_used(path)
                    return actual
                print(f"store: {path} is damaged or another file; it is fetched again", file=sys.stderr)
            part = path.with_name(f"{path.name}.part")
            actual = _fetch_part(part, address, misfit, answer_seconds, attempts)
            part.replace(path)
    except OSError as error:
        raise DownloadError(f"{path} cannot be written ({error})") from None
    return actual


def within(seconds: float, call: Callable[[], Any]) -> Any:
    """Give a call's result within a time limit, from a thread, since the look-up of a name has no limit.

    Raises:
        TimeoutError: the call takes longer; also any error of the call.
    """
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put((call(), None))
        except Exception as error:  # raised again in the caller's thread
            answers.put((None, error))

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer, error = answers.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"no answer within {seconds:.0f} seconds") from None
    if error is not None:
        raise error
    return answer


class _RefusedError(DownloadError):
    """The server answers with an error."""


def _fetch_part(
    part: Path, address: str, misfit: Callable[[str], str | None], answer_seconds: float, attempts: int
) -> str:
    """Complete `part` and give its SHA-256; remove it when it is another file."""
    resumed = part.exists()
    if resumed and misfit(actual := sha256_of(part)) is None:  # a process was killed after the last byte
        return actual
    _download(address, part, answer_seconds, attempts)
    actual = sha256_of(part)
    if (why := misfit(actual)) is not None:
        part.unlink()
        if resumed:  # the file may have changed between the two connections
            return _fetch_part(part, address, misfit, answer_seconds, attempts)
        raise DownloadError(f"{address} has SHA-256 {actual}, {why}")
    return actual


def _download(address: str, part: Path, answer_seconds: float, attempts: int) -> None:
    """Download to `part` and continue from what it has, as long as connections are fast enough."""
    failures = 0
    while True:
        before, since = _size(part), time.monotonic()
        try:
            return _receive(address, part, before, answer_seconds)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and before:
                part.unlink()  # longer than the file on the server, so the start of another file
                continue
            raise _RefusedError(f"{address} answers {error.code} {error.reason}") from None
        except ValueError as error:
            raise DownloadError(f"{address} is not a valid address ({error})") from None
        except PermissionError:
            raise  # the file's; errors of the connection are URLErrors
        except (OSError, http.client.HTTPException, _BrokenOff) as error:
            is_alive = _size(part) - before > MIN_BYTES_PER_SECOND * (time.monotonic() - since)
            failures = 0 if is_alive else failures + 1
            if failures >= attempts:
                reason = " ".join(str(getattr(error, "reason", None) or error).split())
                kept = f"; {_size(part)} bytes are kept, run again to go on" if _size(part) else ""
                raise DownloadError(f"{address} cannot be fetched ({reason}){kept}") from None


def _receive(address: str, part: Path, start: int, answer_seconds: float) -> None:
    headers = {"User-Agent": "graft", **({"Range": f"bytes={start}-"} if start else {})}
    request = urllib.request.Request(address, headers=headers)
    silent_seconds = max(answer_seconds, STALL_SECONDS)  # of the socket; not shorter than the wait for the answer
    with within(answer_seconds, lambda: urllib.request.urlopen(request, timeout=silent_seconds)) as answer:
        if not _continues_from(answer, start):
            start = 0  # the server sends all of the file again
        length = answer.headers.get("Content-Length")
        total = start + int(length) if length else None
        with (
            part.open("ab" if start else "wb") as file,
            Progress(total, desc="download", unit="B", done=start) as shown,
        ):
            _copy(answer.read1, file, shown)
            if total is not None and file.tell() < total:
                raise _BrokenOff(f"broke off after {file.tell()} of {total} bytes")


def _continues_from(answer: http.client.HTTPResponse, start: int) -> bool:
    sent = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    return answer.status == http.client.PARTIAL_CONTENT and sent is not None and int(sent[1]) == start


def _copy(read: Callable[[int], bytes], file: IO[bytes], shown: Progress) -> None:
    """Copy bytes as they come, as long as they come fast enough; `read` must not wait for a full block."""
    since, received = time.monotonic(), 0
    while block := read(_BLOCK):
        file.write(block)
        shown.advance(len(block))
        received += len(block)
        seconds = time.monotonic() - since
        if seconds >= STALL_SECONDS:
            if received < MIN_BYTES_PER_SECOND * seconds:
                raise _BrokenOff(f"stalled: {received} bytes in {seconds:.0f} seconds")
            since, received = time.monotonic(), 0


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
