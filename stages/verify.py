"""Beside the pipeline, verify: hash everything again that results rest on, and say how to get back what is damaged.

Reads   dvc.lock and what it names, DVC's cache, the feature store, the weights
Writes  nothing; --rerun builds everything anew in a temporary folder, with an empty store
Run     graft verify [--rerun]
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from stages.graft.errors import GraftError
from stages.graft.params import load_params, read_yaml
from stages.graft.places import store_folder
from stages.graft.progress import Progress
from stages.graft.verification import (
    LOCK,
    Damage,
    compare_locks,
    locked_files,
    verify_cache,
    verify_store,
    verify_weights,
    verify_workspace,
)
from stages.graft.weights import BackboneParams, find_weights

BACKBONES = Path("data/backbones")


def cache_folder(root: Path) -> Path:
    """Ask DVC where its cache is."""
    done = subprocess.run(["dvc", "cache", "dir"], cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise GraftError(f"{root} is no DVC repository; run in the repository's root")
    return root / done.stdout.strip()


def checks(root: Path) -> Iterator[Damage | None]:
    """Look at everything, one after the other."""
    files, cache = locked_files(root), cache_folder(root)
    backbone = load_params("backbone", BackboneParams).model_copy(update={"offline": True})
    bundled = backbone.weights == "bundled"
    repair = f"git checkout -- {BACKBONES}" if bundled else "fetch the file again, or delete it and dvc repro extract"
    return chain(
        verify_workspace(root, files, cache),
        verify_cache(files, cache),
        verify_store(store_folder()),
        verify_weights(lambda: find_weights(backbone, BACKBONES), repair),
    )


def rerun(root: Path) -> list[str]:
    """Build the tracked files' state anew, elsewhere and from nothing; give the outs whose bytes are other ones.

    Raises:
        GraftError: the pipeline fails there.
    """
    with tempfile.TemporaryDirectory(prefix="graft-verify-") as scratch:
        copy = Path(scratch) / "copy"
        subprocess.run(["git", "clone", "--quiet", str(root.resolve()), str(copy)], check=True)
        changed = subprocess.run(["git", "diff", "--binary", "HEAD"], cwd=root, capture_output=True, check=True).stdout
        if changed.strip():
            subprocess.run(["git", "apply", "--whitespace=nowarn", "-"], cwd=copy, input=changed, check=True)
        environment = os.environ | {"GRAFT_STORE": str(Path(scratch) / "store"), "PYTHONPATH": str(copy)}
        # Nobody listens there: what is built to be compared is no result to publish.
        environment["MLFLOW_TRACKING_URI"] = "http://127.0.0.1:1"
        before = read_yaml(copy / LOCK)
        done = subprocess.run(["dvc", "repro", "--force"], cwd=copy, env=environment, check=False)
        if done.returncode:
            raise GraftError("the pipeline does not run through in a fresh copy; its message is above")
        return compare_locks(before, read_yaml(copy / LOCK))


def main(arguments: Sequence[str]) -> None:
    """Check, list the damage, and end with code 1 if there is any."""
    described = argparse.ArgumentParser("graft verify", description="Hash everything again that results rest on.")
    described.add_argument("--rerun", action="store_true", help="also rebuild everything elsewhere and compare")
    options = described.parse_args(arguments)
    damages: list[Damage] = []
    with Progress(None, desc="verify", unit="checks") as progress:
        for found in checks(Path()):
            damages += [found] if found is not None else []
            progress.advance()
    for damage in damages:
        print(f"{damage.what}: {damage.why}\n  repair: {damage.repair}")
    different = rerun(Path()) if options.rerun and not damages else []
    for path in different:
        print(f"{path}: rebuilt from nothing, its bytes are other ones")
    if damages or different:
        sys.exit(f"graft verify: {len(damages) + len(different)} files are not what they are taken for")
    print("graft verify: all is as dvc.lock says" + (", and the same when rebuilt" if options.rerun else ""))
