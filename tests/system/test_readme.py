"""The README's commands, run one after another in a temporary clone."""

import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import REPOSITORY
from tests.support.clones import Clone

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
SERVER, DOWNLOAD = "make ui", "dvc exp run -S backbone.name=vgg19 -S backbone.weights=DEFAULT"

pytestmark = pytest.mark.filterwarnings("default")


def commands() -> list[str]:
    blocks = re.findall(r"^```bash\n(.*?)^```", README, re.M | re.S)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


def images_of_a_user(folder: Path) -> None:
    """Two classes, light and dark, twelve images each, in a folder with a space in its name."""
    for label, level in (("light", 200), ("dark plates", 40)):
        (folder / label).mkdir(parents=True)
        for number in range(12):
            Image.new("L", (40 + number, 40), level + number).save(folder / label / f"{number}.png")


def serves_the_ui(clone: Clone) -> None:
    """Start the target, ask for the page, stop it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with subprocess.Popen(
        [*in_this_environment("make ui"), f"PORT={port}"],
        cwd=clone.folder,
        env=clone.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as server:
        try:
            for _ in range(240):
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=5) as page:
                        assert b"MLflow" in page.read()
                        return
                except OSError:
                    time.sleep(0.5)
            raise AssertionError("no answer within two minutes")
        finally:
            os.killpg(server.pid, 15)


def in_this_environment(command: str) -> list[str]:
    """Make's targets with the environment the tests run in, taken as installed."""
    words = command.split()
    if words[0] != "make":
        return ["bash", "-c", command]
    return [*words, f"VENV={sys.prefix}", f"--old-file={sys.prefix}/.installed"]


def test_every_command_in_the_readme_runs(tmp_path: Path):
    clone = Clone(tmp_path)
    clone.environment |= {"https_proxy": "http://127.0.0.1:9", "TORCH_HOME": str(tmp_path / "torch")}
    clone.environment |= {
        f"GIT_{who}_{what}": "t@example.com" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    images_of_a_user(tmp_path / "your images")
    places = {
        "/path/to/your/images": f"'{tmp_path / 'your images'}'",
        "/path/to/a/shared/folder": str(tmp_path / "remote"),
    }
    found = commands()
    assert {"make repro", SERVER, DOWNLOAD, "dvc repro", "dvc push", "dvc pull"} <= set(found)
    for command in found:
        for place, real in places.items():
            command = command.replace(place, real)
        if command == SERVER:
            serves_the_ui(clone)
        elif command == DOWNLOAD:
            params = (clone.folder / "params.yaml").read_bytes()
            assert "vgg19-dcbb9e9d.pth (548 MB) cannot be downloaded" in clone.run(
                *in_this_environment(command), code=None
            )
            (clone.folder / "params.yaml").write_bytes(params)
        elif command.startswith("git add --all") and not clone.run("git", "status", "--porcelain"):
            continue  # nothing changed since the last commit
        else:
            clone.run(*in_this_environment(command))
    assert (tmp_path / "remote").exists()


def test_the_readme_names_no_parameter_that_does_not_exist():
    params = (REPOSITORY / "params.yaml").read_text(encoding="utf-8")
    for section, key in re.findall(r"`(ingest|split|backbone|extract|train_head|finetune|evaluate)\.(\w+)", README):
        if key != "py":
            assert re.search(rf"^{section}:\n(?:(?:  .*)?\n)*?  {key}:", params, re.M), f"{section}.{key}"
