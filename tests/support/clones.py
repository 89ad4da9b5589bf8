"""A temporary clone of the repository, in which commands run as a user would run them."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from tests.conftest import REPOSITORY

OUTS = (
    "data/manifest.csv",
    "data/unlabelled.csv",
    "data/unlabelled_duplicates.csv",
    "data/unlabelled.safetensors",
    "data/duplicates.csv",
    "data/splits.csv",
    "data/features.safetensors",
    "data/head",
    "data/images",
    "data/model",
    "data/evidence",
    "data/baselines.csv",
    "data/bundle",
    "reports/duplicates.csv",
    "reports/figures",
)
"""What the pipeline makes and DVC keeps."""

IDENTITY = ("-c", "user.name=Test", "-c", "user.email=test@example.com")


def environment_of(clone: Path, store: Path) -> dict[str, str]:
    """What commands in a clone find in their environment: its own code as `graft`, and its own store."""
    return os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "GRAFT_STORE": str(store),
        "DVC_NO_ANALYTICS": "1",
        "PYTHONPATH": str(clone),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "2"),
    }


class Clone:
    """A copy of the repository as git sees it, with a small set of plates and its own store."""

    def __init__(self, folder: Path, origin: Path | None = None) -> None:
        """Copy the working tree into a new repository; with an origin, clone that instead."""
        self.folder = folder / "clone"
        self.first_output = ""
        self.folder.mkdir(parents=True)
        self.environment = environment_of(self.folder, folder / "store")
        if origin is not None:
            self.run("git", "clone", "--quiet", str(origin), ".")
            return
        listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
        files = subprocess.run(listed, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.splitlines()
        for name in files:
            if (REPOSITORY / name).is_file() and name != "dvc.lock" and not name.startswith("reports/"):
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(REPOSITORY / name, self.folder / name)
        self.set_spec(per_class=8, size_px=64)
        self.set_params("backbone", input_px=64)
        for command in (["init", "--quiet"], ["add", "--all"], [*IDENTITY, "commit", "--quiet", "--message", "start"]):
            self.run("git", *command)

    @classmethod
    def at(cls, folder: Path, environment: dict[str, str], store: Path) -> "Clone":
        """Take a clone that is there already."""
        clone = object.__new__(cls)
        clone.folder, clone.first_output = folder, ""
        clone.environment = environment | {"GRAFT_STORE": str(store), "PYTHONPATH": str(folder)}
        return clone

    def copy(self, folder: Path) -> "Clone":
        """Copy everything, the cache and the store too; changes of one do not reach the other."""
        shutil.copytree(self.folder.parent, folder, symlinks=True, dirs_exist_ok=True)
        clone = Clone.at(folder / "clone", self.environment, folder / "store")
        clone.first_output = self.first_output
        return clone

    def run(self, *command: str, code: int | None = 0) -> str:
        """Run a command and give what it printed; None expects any failure."""
        done = subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True)
        output = done.stdout + done.stderr
        assert done.returncode == code if code is not None else done.returncode, output
        assert "Traceback" not in output
        return output

    def repro(self, code: int = 0) -> str:
        return self.run("dvc", "repro", code=code)

    def set_params(self, section: str, **changes: object) -> None:
        path = self.folder / "params.yaml"
        params = yaml.safe_load(path.read_text(encoding="utf-8"))
        params[section].update(changes)
        path.write_text(yaml.safe_dump(params), encoding="utf-8")

    def set_spec(self, **changes: object) -> None:
        path = self.folder / "data/plates.yaml"
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")

    def digests(self) -> dict[str, str]:
        """SHA-256 of every file the pipeline writes, but those that tell of times."""
        places = [self.folder / out for out in (*OUTS, "reports")]
        files = [file for place in places for file in (place.rglob("*") if place.is_dir() else [place])]
        return {
            str(file.relative_to(self.folder)): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in files
            if file.is_file()
            and not any(file.is_relative_to(self.folder / path) for path in ("reports/report.html", "reports/times"))
        }
