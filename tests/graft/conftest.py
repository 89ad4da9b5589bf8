"""Fixtures of the library's tests that take seconds to make."""

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.graft.tracking.publish import _make_database
from stages.graft.tracking.server import configure_mlflow
from tests.support.s3 import Bucket, bucket_server, use


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables, made once; tests copy the file."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SQLAlchemy's, about MLflow
        configure_mlflow()
        _make_database(path)
    return path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    """A server that speaks S3."""
    with bucket_server(tmp_path_factory.mktemp("server")) as bucket:
        yield bucket


@pytest.fixture
def bucket(server: Bucket, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """Its bucket, with the environment of a client of it."""
    use(server.environment, monkeypatch)
    return server
