"""A project with a model, its training images and heat maps that count as good, to be served in tests."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from stages.graft.data.manifest import ManifestRow, write_manifest
from stages.graft.model.bundle import BUNDLE
from stages.graft.model.heat_map import EVIDENCE, load_evidence, save_evidence
from stages.graft.model.predictor import ImageFile, load_predictor
from stages.graft.storage.files import read_json, write_json
from stages.graft.storage.hashing import sha256_of
from tests.conftest import REPOSITORY
from tests.support.bundles import write_pictures
from tests.support.features import write_features


def write_served_project(bundle: Path, folder: Path, per_class: int = 6) -> Path:
    """Write a project around a copy of a bundle: tables, features and images of the training split."""
    shutil.copytree(bundle, folder / "data/bundle")
    trust_maps(folder / "data/bundle")
    pictures = write_pictures(folder / "pictures", per_class)
    images = {hashlib.sha256(Path(path).read_bytes()).hexdigest(): path for path in pictures}
    (folder / "data/images").mkdir()
    for id_, path in images.items():
        shutil.copyfile(path, folder / "data/images" / f"{id_}.png")
    plain = {"group": "", "width": 48, "height": 48, "format": "PNG", "mode": "L", "split": "train"}
    rows = [ManifestRow(id=id_, file=Path(path).name, label=pictures[path], **plain) for id_, path in images.items()]
    write_manifest(rows, folder / "data/splits.csv")
    predictor = load_predictor(folder)
    files = [ImageFile.at_address(path, path) for path in images.values()]
    x = np.stack([one.x for one in predictor.answer_all(files)])
    write_features(list(images), x, predictor.weights.to_record(), folder / "data/features.safetensors")
    return folder


def trust_maps(bundle: Path) -> None:
    """Note in a bundle that its heat maps have passed their test, which those of random weights cannot."""
    evidence = load_evidence(bundle)
    trust = replace(evidence.trust, num_images=10, num_better=10, is_trusted=True)
    save_evidence(replace(evidence, trust=trust), bundle)
    record = read_json(bundle / BUNDLE)
    record["sha256"][EVIDENCE] = sha256_of(bundle / EVIDENCE)
    write_json(record, bundle / BUNDLE)


@dataclass(frozen=True, kw_only=True)
class Server:
    """A running `graft serve`."""

    process: subprocess.Popen[bytes]
    """Its process."""
    address: str
    """Where it listens."""
    log: Path
    """What it prints."""

    def output(self) -> str:
        """Give what it has printed."""
        return self.log.read_text(encoding="utf-8")


@contextmanager
def running_server(project: Path, *options: str) -> Iterator[Server]:
    """Run `graft serve` in a project, at a free port, until the end of the context."""
    command = [sys.executable, "-m", "stages.cli", "serve", "--port", "0", *options]
    log = project / "serve.txt"
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    with (
        log.open("wb") as file,
        subprocess.Popen(command, cwd=project, env=environment, stdout=file, stderr=file) as process,
    ):
        try:
            yield Server(process=process, address=_address_in(log, process), log=log)
        finally:
            process.kill()


def _address_in(log: Path, process: "subprocess.Popen[bytes]") -> str:
    """Wait for the line that says where the server listens."""
    for _ in range(600):
        if found := re.search(r"http://127\.0\.0\.1:\d+", log.read_text(encoding="utf-8")):
            return found[0]
        assert process.poll() is None, log.read_text(encoding="utf-8")
        time.sleep(0.1)
    raise AssertionError("no server within a minute")
