"""Archives fetched once: resumed where a connection broke off, checked against their SHA-256, kept in the store."""

import http.client
import queue
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from stages.graft.errors import DataError, ParamsError
from stages.graft.hashing import sha256_of
from stages.graft.progress import Progress

TIMEOUT_SECONDS = 30.0
"""Without a byte for so long, a connection is dead."""

ATTEMPTS = 5
"""Connections that may break off one after the other without a byte received."""

_BLOCK = 2**20


class _BrokenOff(Exception):
    """The connection ended before the file did."""


def is_address(source: str) -> bool:
    """Say whether a source is an http(s) address."""
    return source.startswith(("http://", "https://"))


class DownloadError(DataError):
    """A file cannot be had; the message is the reason, to which the caller adds what to do."""


def fetch(address: str, sha256: str, folder: Path) -> Path:
    """Give the file at an address, from the folder when it is there already, else downloaded.

    Args:
        address: http or https.
        sha256: what the file must hash to, 64 hex digits.
        folder: where downloads are kept, each under its SHA-256; an unfinished one ends in `.part`.
    Raises:
        DataError: the address does not answer, refuses, or gives another file.
    """
    sha256 = sha256.lower()
    path = folder / sha256
    wrong = f"the parameter says {sha256}; if you trust what is there now, correct the parameter"
    try:
        fetch_to(path, address, lambda found: None if found == sha256 else wrong)
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
    """Give the SHA-256 of the file at `path`, after downloading it unless a fitting one is there.

    One process at a time downloads, others wait. What a broken connection brought is kept as `<path>.part` and gone on
    from.

    Args:
        path: where the file is to be.
        address: http or https.
        misfit: says of a SHA-256 why it is not the one meant; None when it is.
        answer_seconds: a server must begin to answer within so long, its name's resolution included.
        attempts: connections that may end one after the other without a byte.
    Raises:
        DownloadError: the address does not answer, refuses, or gives another file, which is not kept.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    with _locked(path.with_name(f"{path.name}.lock")):
        if path.exists() and misfit(found := sha256_of(path)) is None:
            return found
        resumed = part.exists()
        if not resumed or misfit(sha256_of(part)) is not None:
            _download(address, part, answer_seconds, attempts)
        if resumed and misfit(sha256_of(part)) is not None:  # the file may have changed between the two halves
            part.unlink()
            _download(address, part, answer_seconds, attempts)
        found = sha256_of(part)
        if (why := misfit(found)) is not None:
            part.unlink()
            raise DownloadError(f"{address} has SHA-256 {found}, {why}")
        part.replace(path)
    return found


def within(seconds: float, call: Callable[[], Any]) -> Any:
    """Give a call's result, waiting no longer than that; a thread, since looking up a name knows no time limit.

    Raises:
        TimeoutError: it takes longer; also whatever the call raises.
    """
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put((call(), None))
        except Exception as error:  # raised where the answer is waited for
            answers.put((None, error))

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer, error = answers.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"no answer within {seconds:.0f} seconds") from None
    if error is not None:
        raise error
    return answer


def check_sha256(path: Path, sha256: str) -> None:
    """Compare a file with the SHA-256 that the user gave.

    Raises:
        ParamsError: they differ.
    """
    found = sha256_of(path)
    if found != sha256.lower():
        raise ParamsError(f"{path} has SHA-256 {found}, the parameter says {sha256}; correct the parameter or the file")


class _RefusedError(DownloadError):
    """The server answers, but not with the file."""


def _download(address: str, part: Path, answer_seconds: float, attempts: int) -> None:
    """Download to `part`, going on from what it holds, as long as every connection brings something."""
    failures = 0
    while True:
        before = _size(part)
        try:
            return _receive(address, part, before, answer_seconds)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and before:
                part.unlink()  # longer than the file there: another file's beginning
                continue
            raise _RefusedError(f"{address} answers {error.code} {error.reason}") from None
        except ValueError as error:
            raise DownloadError(f"{address} is not a valid address ({error})") from None
        except (OSError, http.client.HTTPException, _BrokenOff) as error:
            failures = 0 if _size(part) > before else failures + 1
            if failures >= attempts:
                reason = " ".join(str(getattr(error, "reason", None) or error).split())
                raise DownloadError(
                    f"{address} cannot be fetched ({reason}); {_size(part)} bytes are kept, run again to go on"
                ) from None


def _receive(address: str, part: Path, start: int, answer_seconds: float) -> None:
    headers = {"User-Agent": "graft", **({"Range": f"bytes={start}-"} if start else {})}
    request = urllib.request.Request(address, headers=headers)
    with within(answer_seconds, lambda: urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)) as answer:
        if not _goes_on_from(answer, start):
            start = 0  # the server sends the whole file again
        length = answer.headers.get("Content-Length")
        total = start + int(length) if length else None
        with (
            part.open("ab" if start else "wb") as file,
            Progress(total, desc="download", unit="B", done=start) as shown,
        ):
            _copy(answer.read, file, shown)
            if total is not None and file.tell() < total:
                raise _BrokenOff(f"broke off after {file.tell()} of {total} bytes")


def _goes_on_from(answer: http.client.HTTPResponse, start: int) -> bool:
    sent = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    return answer.status == http.client.PARTIAL_CONTENT and sent is not None and int(sent[1]) == start


def _copy(read: Callable[[int], bytes], file: IO[bytes], shown: Progress) -> None:
    while block := read(_BLOCK):
        file.write(block)
        shown.advance(len(block))


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let one process at a time download a file; the others wait. Without file locks (Windows), nobody waits."""
    with path.open("wb") as file:
        try:
            import fcntl
        except ImportError:
            yield
        else:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
