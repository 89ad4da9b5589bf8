"""Objects in S3, or in a store that speaks its language: listed a page at a time, read, written; errors in one line.

Credentials, region and endpoint are the usual ones of AWS: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL
and the others, or a profile.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import Any

from stages.graft.core.errors import GraftError

SCHEME = "s3://"

NUM_CONNECTIONS = 32
"""Open at once, at most."""

CONNECT_SECONDS, READ_SECONDS = 10, 60
"""Until a connection, or the next bytes, are given up and tried again."""


class UnreachableError(GraftError):
    """An image or a folder of them is not there, or may not be read; the message is whole."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Object:
    """What a listing says of an object."""

    address: str
    """s3://<bucket>/<key>."""
    size: int
    """In bytes."""


def is_remote(address: str) -> bool:
    """Say whether an address leads to S3."""
    return address.startswith(SCHEME)


def list_objects(root: str) -> Iterator[Object]:
    """Give all objects below an address as `objects_below`, of which there must be one.

    Raises:
        UnreachableError: there is nothing, or it may not be listed.
    """
    found = False
    for one in objects_below(root):
        found = True
        yield one
    if not found:
        raise UnreachableError(f"{root} holds nothing; check the bucket and the prefix, which must be a folder's")


def objects_below(root: str) -> Iterator[Object]:
    """Give all objects below an address, sorted by key; one whose key ends in a slash is an empty folder.

    Args:
        root: s3://<bucket> or s3://<bucket>/<prefix>, the prefix taken as a folder.
    Raises:
        UnreachableError: it may not be listed.
    """
    bucket, _, prefix = root.removeprefix(SCHEME).partition("/")
    prefix = prefix.rstrip("/") + "/" if prefix.strip("/") else ""
    for entry in _entries(root, bucket, prefix):
        yield Object(address=f"{SCHEME}{bucket}/{entry['Key']}", size=entry["Size"])


def read_object(address: str, start: int = 0, stop: int | None = None) -> bytes:
    """Read an object, or its bytes from one up to, not with, another; any number of threads may at once.

    Raises:
        UnreachableError: it is not there, or cannot be read.
    """
    files = _filesystem()
    with _in_one_line(address):
        try:
            data: bytes = files.cat_file(address, start=start or None, end=stop)
        except OSError as error:
            if error.errno == errno.EINVAL and stop is not None:
                return b""  # the object ends before: as a file does
            raise
        return data


def write_object(address: str, data: bytes) -> None:
    """Write an object; nothing is there until all of it is.

    Raises:
        UnreachableError: it cannot be written.
    """
    files = _filesystem()
    with _in_one_line(address, "written"):
        files.pipe_file(address, data)


def move_object(address: str, to: str) -> None:
    """Give an object another name.

    Raises:
        UnreachableError: it is not there, or may not be moved.
    """
    files = _filesystem()
    with _in_one_line(address, "moved"):
        files.cp_file(address, to)
        files.rm_file(address)


def _entries(root: str, bucket: str, prefix: str) -> Iterator[dict[str, Any]]:
    """The same as the service gives them, so that a listing of millions is never in memory as a whole."""
    files, going_on = _filesystem(), dict[str, str]()
    while True:
        with _in_one_line(root):
            page = files.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, **going_on)
        yield from page.get("Contents", ())
        if not page.get("IsTruncated"):
            return
        going_on = {"ContinuationToken": page["NextContinuationToken"]}


def _filesystem() -> Any:
    """One for all threads: each call goes to the one thread in which fsspec talks to the service."""
    with _connecting:
        return _connected()


@cache
def _connected() -> Any:
    try:
        import s3fs  # noqa: F401  (an extra; fsspec's own message would not name it)
    except ImportError:
        raise GraftError(f"{SCHEME} addresses need optional packages: `pip install dvc-s3`") from None
    import fsspec

    config = {
        "connect_timeout": CONNECT_SECONDS,
        "read_timeout": READ_SECONDS,
        "max_pool_connections": NUM_CONNECTIONS,
    }
    files = fsspec.filesystem("s3", use_listings_cache=False, skip_instance_cache=True, config_kwargs=config)
    files.connect()  # now: threads that come together would each make a connection of their own
    return files


_connecting = Lock()


@contextmanager
def _in_one_line(address: str, done: str = "read") -> Iterator[None]:
    from botocore.exceptions import NoCredentialsError

    try:
        yield
    except FileNotFoundError:
        raise UnreachableError(f"{address} is not there; check the bucket and the name") from None
    except NoCredentialsError:
        message = "no credentials found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile"
        raise UnreachableError(f"{address} cannot be {done}: {message}") from None
    except PermissionError as error:
        message = "are these the right credentials, and do they allow that?"
        raise UnreachableError(f"{address} is refused ({_one_line(error)}); {message}") from None
    except GraftError:
        raise
    except Exception as error:  # the service's client, its HTTP and its event loop raise many kinds
        message = "check the connection and AWS_ENDPOINT_URL"
        raise UnreachableError(f"{address} cannot be {done} ({_one_line(error)}); {message}") from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
