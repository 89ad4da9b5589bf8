"""Suggestions through a real Label Studio: it takes the tasks with their guesses, and its exports come back as labels.

It is installed from the package index into a folder of its own, unless LABEL_STUDIO names its command.
"""

import json
import os
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager

import pytest

from stages.graft.labelling.label_files import read_filled
from stages.graft.labelling.label_studio import labelling_config, make_task
from stages.graft.report.gallery import data_address
from tests.support.pictures import png

pytestmark = pytest.mark.label_studio

PORT, TOKEN = 18931, "0123456789abcdef0123456789abcdef01234567"
SECONDS_TO_START = 300
CLASSES = ("hole", "pit & <scratch>")


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    if found := os.environ.get("LABEL_STUDIO"):
        return found
    folder = tmp_path_factory.mktemp("label_studio")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    subprocess.run([folder / "bin/pip", "install", "--quiet", "label-studio"], check=True)
    return folder / "bin/label-studio"


@contextmanager
def running(command, folder):
    """Start the server, wait for it, and end it."""
    quiet = {"COLLECT_ANALYTICS": "false", "SENTRY_DSN": "", "FRONTEND_SENTRY_DSN": "", "LATEST_VERSION_CHECK": "false"}
    environment = os.environ | quiet | {"LABEL_STUDIO_BASE_DATA_DIR": str(folder)}
    user = ["--username", "bea@example.com", "--password", "secret123", "--user-token", TOKEN]
    options = ["--no-browser", "--port", str(PORT), "--internal-host", "127.0.0.1", "--enable-legacy-api-token"]
    with (folder / "server.txt").open("w") as log:
        server = subprocess.Popen([command, "start", *options, *user], env=environment, stdout=log, stderr=log)
        try:
            wait_for(server, folder)
            yield
        finally:
            server.terminate()
            server.wait(30)


def wait_for(server, folder):
    end = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < end:
        assert server.poll() is None, (folder / "server.txt").read_text()
        try:
            ask("GET", "version")
            return
        except OSError:
            time.sleep(1)
    raise AssertionError((folder / "server.txt").read_text())


def ask(method, path, body=None):
    headers = {"Authorization": f"Token {TOKEN}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{PORT}/api/{path}", data, headers, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def test_tasks_are_taken_and_labels_come_back(command, tmp_path):
    picture = data_address(png(0), "image/png")
    tasks = [make_task(f"{number:064x}", f"ü/{number}.png", picture, CLASSES[1]) for number in range(3)]
    with running(command, tmp_path):
        project = ask("POST", "projects", {"title": "graft", "label_config": labelling_config(CLASSES)})["id"]
        taken = ask("POST", f"projects/{project}/import", tasks)
        assert (taken["task_count"], taken["prediction_count"]) == (3, 3)
        there = ask("GET", f"tasks?project={project}&fields=all")["tasks"]
        for task, label in zip(there, CLASSES, strict=False):  # a person labels two of three
            result = task["predictions"][0]["result"][0] | {"value": {"choices": [label]}}
            ask("POST", f"tasks/{task['id']}/annotations", {"result": [result]})
        for kind in ("JSON", "JSON_MIN"):
            export = tmp_path / f"{kind}.json"
            export.write_text(json.dumps(ask("GET", f"projects/{project}/export?exportType={kind}")), encoding="utf-8")
            found = read_filled(export, "", "")
            given = {one.id: (one.path, one.label, one.who) for one in found}
            assert given == {
                one["data"]["image_id"]: (one["data"]["path"], label, "label-studio:1")
                for one, label in zip(there, CLASSES, strict=False)
            }
            assert all(one.when.endswith("Z") and "." not in one.when for one in found)
