"""Objects in S3 or a compatible service: list, read and write them, with errors in one line.

Credentials, region and endpoint are set as usual for AWS: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL
and others, or a profile.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import Any

from stages.graft.core.errors import GraftError, one_line

SCHEME = "s3://"

NUM_CONNECTIONS = 32
"""Maximum of open connections."""

CONNECT_SECONDS, READ_SECONDS = 10, 60
"""Time to wait for a connection, and for the next bytes, before a new try."""


class UnreachableError(GraftError):
    """An object or folder does not exist, or access is denied; the message needs no addition."""


@dataclass(frozen=True, kw_only=True, slots=True)
class S3Object:
    """An object in a listing."""

    address: str
    """s3://<bucket>/<key>."""
    size: int
    """Size in bytes."""
    etag: str = ""
    """Another one for other bytes."""


def is_remote(address: str) -> bool:
    """Tell whether an address is in S3."""
    return address.startswith(SCHEME)


def list_objects(root: str) -> Iterator[S3Object]:
    """Give all objects below an address as `objects_below`; there must be at least one.

    Raises:
        UnreachableError: there is no object, or the service does not list them.
    """
    objects = objects_below(root)
    first = next(objects, None)
    if first is None:
        raise UnreachableError(f"{root} holds nothing; check the bucket and the prefix, which must be a folder's")
    yield first
    yield from objects


def objects_below(root: str) -> Iterator[S3Object]:
    """Give all objects below an address, sorted by key; a key that ends in a slash is an empty folder.

    Args:
        root: s3://<bucket> or s3://<bucket>/<prefix>, where the prefix is a folder.
    Raises:
        UnreachableError: the service does not list them.
    """
    bucket, _, prefix = root.removeprefix(SCHEME).partition("/")
    prefix = prefix.rstrip("/") + "/" if prefix.strip("/") else ""
    position = dict[str, str]()
    while True:  # one page in memory at a time, since there may be millions of objects
        with _filesystem(root) as files:
            page = files.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, **position)
        for entry in page.get("Contents", ()):
            etag = entry.get("ETag", "").strip('"')
            yield S3Object(address=f"{SCHEME}{bucket}/{entry['Key']}", size=entry["Size"], etag=etag)
        if not page.get("IsTruncated"):
            return
        position = {"ContinuationToken": page["NextContinuationToken"]}


def read_object(address: str, start: int = 0, stop: int | None = None) -> bytes:
    """Read the bytes of an object from `start` to before `stop`, by default all; safe in several threads.

    Raises:
        UnreachableError: the object does not exist or cannot be read.
    """
    with _filesystem(address) as files:
        try:
            data: bytes = files.cat_file(address, start=start or None, end=stop)
        except OSError as error:
            if error.errno == errno.EINVAL and stop is not None:
                return b""  # the object ends before `start`; a file gives the same
            raise
        return data


def write_object(address: str, data: bytes) -> None:
    """Write an object, which appears whole.

    Raises:
        UnreachableError: the object cannot be written.
    """
    with _filesystem(address, "written") as files:
        files.pipe_file(address, data)


def move_object(address: str, to: str) -> None:
    """Rename an object.

    Raises:
        UnreachableError: the object does not exist or cannot be moved.
    """
    with _filesystem(address, "moved") as files:
        files.cp_file(address, to)
        files.rm_file(address)


@cache
def _connected() -> Any:
    """Give one file system for all threads: fsspec talks to the service in one thread of its own."""
    try:
        import s3fs  # noqa: F401  (an extra; fsspec's own message would not name it)
    except ImportError:
        raise GraftError(f"{SCHEME} addresses need optional packages: `pip install dvc-s3`") from None
    import fsspec

    config = {"connect_timeout": CONNECT_SECONDS, "read_timeout": READ_SECONDS, "max_pool_connections": NUM_CONNECTIONS}
    files = fsspec.filesystem("s3", use_listings_cache=False, skip_instance_cache=True, config_kwargs=config)
    files.connect()  # now, else several threads at the same time would each connect
    return files


_connecting = Lock()


@contextmanager
def _filesystem(address: str, done: str = "read") -> Iterator[Any]:
    """Give the file system; every error becomes one line about the address and what is done with it."""
    with _connecting:
        files = _connected()
    from botocore.exceptions import NoCredentialsError

    try:
        yield files
    except FileNotFoundError:
        raise UnreachableError(f"{address} is not there; check the bucket and the name") from None
    except NoCredentialsError:
        message = "no credentials found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile"
        raise UnreachableError(f"{address} cannot be {done}: {message}") from None
    except PermissionError as error:
        message = "are these the right credentials, and do they allow that?"
        raise UnreachableError(f"{address} is refused ({one_line(error)}); {message}") from None
    except GraftError:
        raise
    except Exception as error:  # the client, its HTTP and its event loop raise many kinds
        message = "check the connection and AWS_ENDPOINT_URL"
        raise UnreachableError(f"{address} cannot be {done} ({one_line(error)}); {message}") from None
