"""Where the store is, whether it lives, the lock, and who left a run behind."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from stages.graft.storage.files import write_text
from stages.graft.tracking import server
from stages.graft.tracking.server import (
    Address,
    check_alive,
    find_address,
    hide_password,
    publishing_lock,
    where_to_look,
)


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in ("DVC_ROOT", "MLFLOW_TRACKING_URI", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(server, "PATIENCE", 0.3)


@contextmanager
def web_server(status: int) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(status) if status >= 400 else self.send_response(status)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://user:secret@127.0.0.1:{server.server_port}/prefix/"
        server.shutdown()


def at(uri: str) -> Address:
    return Address(uri=uri, database=None, artifacts=None)


def test_the_store_is_at_the_root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    address = find_address(Path())
    assert address.uri == f"sqlite:///{tmp_path}/mlflow.db"
    assert (address.database, address.artifacts) == (tmp_path / "mlflow.db", tmp_path / "mlartifacts")


def test_in_a_temporary_experiment_the_store_is_the_real_repositorys(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "real"))
    assert find_address(tmp_path).database == tmp_path / "real/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///runs/x.db")
    assert find_address(tmp_path).uri == f"sqlite:///{tmp_path}/real/runs/x.db"


@pytest.mark.parametrize("uri", ["http://host:5000", "databricks", "sqlite://", "sqlite:///:memory:"])
def test_another_store_is_left_as_it_is_named(uri, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert find_address(tmp_path) == at(uri)


def test_another_database_keeps_artifacts_in_the_repository(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql+psycopg2://u:p@host/db")
    assert find_address(tmp_path).artifacts == tmp_path / "mlartifacts"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/else/where.db")
    assert find_address(Path("/")).artifacts == tmp_path / "else/mlartifacts"


@pytest.mark.parametrize("status", [200, 401, 404])
def test_a_server_lives_when_it_answers_at_all(status):
    with web_server(status) as uri:
        check_alive(at(uri))


def test_a_gateway_without_its_server_is_dead():
    with web_server(502) as uri, pytest.raises(ConnectionError, match="HTTP 502"):
        check_alive(at(uri))


@pytest.mark.parametrize("scheme", ["http", "https", "postgresql", "mysql+pymysql"])
def test_no_server_answers(scheme):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ConnectionError, match="no answer from"):
        check_alive(at(f"{scheme}://127.0.0.1:{port}/x"))


def test_a_server_that_accepts_and_says_nothing_is_dead():
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        with pytest.raises(ConnectionError, match="timed out"):
            check_alive(at(f"http://127.0.0.1:{mute.getsockname()[1]}"))


def test_a_file_that_is_no_database_is_named(tmp_path):
    write_text("hello " * 100, tmp_path / "mlflow.db")
    with pytest.raises(ConnectionError, match=r"mlflow\.db cannot be read as a database"):
        check_alive(find_address(tmp_path))


def test_a_store_to_be_made_is_fine(tmp_path):
    check_alive(find_address(tmp_path))
    assert not (tmp_path / "mlflow.db").exists()


def test_the_lock_lets_one_past(tmp_path, monkeypatch):
    monkeypatch.setattr(server, "LOCK_PATIENCE", 0.1)
    local = Address(uri="sqlite:///a", database=tmp_path / "a", artifacts=tmp_path / "artifacts")
    remote = Address(uri="http://host", database=None, artifacts=None)
    with publishing_lock(local), pytest.raises(TimeoutError, match="could not be acquired"), publishing_lock(local):
        pass
    with publishing_lock(local), publishing_lock(remote), publishing_lock(remote):
        pass
    assert list((tmp_path / "artifacts").iterdir()) == []


def test_passwords_stay_out_of_messages():
    assert hide_password("no answer from http://u:p@host/x (why)") == "no answer from http://host/x (why)"


def test_a_run_on_a_server_has_a_link_without_the_password_and_a_local_one_a_command(tmp_path, monkeypatch):
    assert where_to_look(find_address(tmp_path), "1", "ab") == "`make ui` shows it"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:secret@mlflow.example.com/")
    link = where_to_look(find_address(tmp_path), "1", "ab")
    assert link == "https://mlflow.example.com/#/experiments/1/runs/ab?workflowType=machine_learning"
