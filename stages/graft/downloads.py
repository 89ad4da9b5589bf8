"""Archives fetched once: resumed where a connection broke off, checked against their SHA-256, kept in the store."""

import hashlib
import http.client
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from stages.graft.errors import DataError, ParamsError
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
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder / f"{sha256}.lock"):
        if path.exists() and sha256_of(path) == sha256:
            return path
        part = path.with_suffix(".part")
        resumed = part.exists()
        if not resumed or sha256_of(part) != sha256:
            _download(address, part)
        if resumed and sha256_of(part) != sha256:  # the file may have changed between the two halves
            part.unlink()
            _download(address, part)
        _check(part, address, sha256)
        part.replace(path)
    return path


def sha256_of(path: Path) -> str:
    """Give a file's SHA-256, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_sha256(path: Path, sha256: str) -> None:
    """Compare a file with the SHA-256 that the user gave.

    Raises:
        ParamsError: they differ.
    """
    found = sha256_of(path)
    if found != sha256.lower():
        raise ParamsError(f"{path} has SHA-256 {found}, the parameter says {sha256}; correct the parameter or the file")


def _check(part: Path, address: str, sha256: str) -> None:
    found = sha256_of(part)
    if found != sha256:
        part.unlink()
        raise DataError(
            f"{address} has SHA-256 {found}, the parameter says {sha256}; "
            "if you trust what is there now, correct the parameter"
        )


def _download(address: str, part: Path) -> None:
    """Download to `part`, going on from what it holds, as long as every connection brings something."""
    failures = 0
    while True:
        before = _size(part)
        try:
            return _receive(address, part, before)
        except urllib.error.HTTPError as error:
            if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and before:
                part.unlink()  # longer than the file there: another file's beginning
                continue
            raise DataError(f"{address} answers {error.code} {error.reason}; check ingest.source") from None
        except ValueError as error:
            raise DataError(f"{address} is not a valid address ({error})") from None
        except (OSError, http.client.HTTPException, _BrokenOff) as error:
            failures = 0 if _size(part) > before else failures + 1
            if failures >= ATTEMPTS:
                reason = getattr(error, "reason", None) or error
                raise DataError(
                    f"{address} cannot be fetched ({reason}); {_size(part)} bytes are kept, run again to go on"
                ) from None


def _receive(address: str, part: Path, start: int) -> None:
    headers = {"User-Agent": "graft", **({"Range": f"bytes={start}-"} if start else {})}
    request = urllib.request.Request(address, headers=headers)
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
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
