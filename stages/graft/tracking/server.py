"""The address of MLflow's store, whether it answers, and MLflow's settings; without importing MLflow."""

import logging
import os
import re
import socket
import sqlite3
import ssl
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from stages.graft.storage.locks import exclusive_lock

DATABASE, ARTIFACTS = "mlflow.db", "mlartifacts"

QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",  # errors come as exceptions and become one line
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # MLflow's own 7 and 120 s let a dead server hold a build for minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",  # seconds
}
"""Set before MLflow is imported, unless the user has set them."""

PATIENCE = 5.0
"""Longest wait for a server's answer, in seconds."""

LOCK_PATIENCE = 120.0
"""How long another process may take to make the store and publish a run, in seconds."""

DATABASE_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}


@dataclass(frozen=True, kw_only=True)
class Address:
    """The store of the runs."""

    uri: str
    """MLflow's tracking URI; a local database with its absolute path."""
    database: Path | None
    """The SQLite file; None when the store is something else."""
    artifacts: Path | None
    """Folder for the artifacts of a new experiment; None when a server chooses it."""


def find_address(root: Path) -> Address:
    """Find the store: MLFLOW_TRACKING_URI, else mlflow.db in the repository.

    DVC sets DVC_ROOT to the repository: `--temp` and `--queue` experiments run in a folder that is deleted afterwards.
    A relative SQLite path starts there too.
    """
    home = Path(os.environ.get("DVC_ROOT") or root).resolve()
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{DATABASE}"
    scheme, _, rest = uri.partition(":///")
    dialect = uri.partition(":")[0].partition("+")[0]
    if dialect == "sqlite" and rest and rest != ":memory:":
        path, mark, query = rest.partition("?")
        database = home / path
        uri = f"{scheme}:///{database.as_posix()}{mark}{query}"
        return Address(uri=uri, database=database, artifacts=database.parent / ARTIFACTS)
    return Address(uri=uri, database=None, artifacts=home / ARTIFACTS if dialect in DATABASE_PORTS else None)


def check_alive(address: Address) -> None:
    """Ask the store once, for a few seconds: MLflow itself would try for minutes.

    Raises:
        ConnectionError: a server does not answer, or a local file is not a database.
    """
    parts = urlsplit(address.uri)
    port = parts.port or DATABASE_PORTS.get(parts.scheme.partition("+")[0])
    try:
        if parts.scheme in ("http", "https"):
            _ask(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}/health")
        elif parts.hostname and port:
            socket.create_connection((parts.hostname, port), timeout=PATIENCE).close()
        elif address.database and address.database.exists():
            with closing(sqlite3.connect(address.database, timeout=LOCK_PATIENCE)) as database:
                database.execute("PRAGMA schema_version")
    except OSError as error:
        raise ConnectionError(f"no answer from {address.uri} ({getattr(error, 'reason', error)})") from None
    except sqlite3.Error as error:
        raise ConnectionError(f"{address.database} cannot be read as a database ({error})") from None


def _ask(url: str) -> None:
    """Ask a web server; any answer except a server error shows that it is alive."""
    try:
        urlopen(Request(url), timeout=PATIENCE).close()
    except HTTPError as error:
        error.close()
        if error.code >= 500:
            raise ConnectionError(f"HTTP {error.code}") from None
    except URLError as error:
        if not isinstance(error.reason, ssl.SSLError):  # MLflow has its own settings for certificates
            raise


def configure_mlflow() -> None:
    """Configure MLflow before its import: no telemetry, no messages, few retries, no pickle."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    for name in ("alembic", "urllib3"):
        logging.getLogger(name).setLevel(logging.ERROR)


def hide_password(text: str) -> str:
    """Remove user and password, the text between `//` and `@`, from addresses."""
    return re.sub(r"//[^/@\s]+@", "//", text)


def where_to_look(address: Address, experiment: str, run_id: str) -> str:
    """Give the link to a run on a server, in MLflow's pages for model training, or the command that shows it."""
    if not address.uri.startswith("http"):
        return "`make ui` shows it"
    base = hide_password(address.uri).rstrip("/")
    return f"{base}/#/experiments/{experiment}/runs/{run_id}?workflowType=machine_learning"


def publishing_lock(address: Address) -> AbstractContextManager[None]:
    """Let one process at a time publish to a local database; a server needs no lock.

    Raises:
        TimeoutError: another process publishes for longer than `LOCK_PATIENCE`.
    """
    if address.database is None or address.artifacts is None:
        return nullcontext()
    return exclusive_lock(address.artifacts / "publish", seconds=LOCK_PATIENCE)
