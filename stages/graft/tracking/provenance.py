"""The origin of results: commit, branch, DVC experiment, lock file, weights, library versions, user."""

import getpass
import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from stages.graft.core.git import ask_git
from stages.graft.core.params import flatten
from stages.graft.storage.files import read_json
from stages.graft.storage.hashing import md5_of

LOCK, MODEL = "dvc.lock", "data/model/model.json"
OUTPUTS = ("reports", LOCK)
"""Files in git that the pipeline writes: a change of them does not make the worktree dirty."""

DVC_VARIABLES = ("DVC_EXP_NAME", "DVC_EXP_BASELINE_REV")
PACKAGES = ("torch", "torchvision", "openvino", "scikit-learn", "numpy", "pandas", "pillow", "safetensors", "dvc",
            "mlflow")  # fmt: skip

VERSION = "version."
"""Beginning of the tags with a library's version."""

Tags = dict[str, str]


def read_provenance(root: Path) -> Tags:
    """Read the origin of the pipeline's present state, as tags of an MLflow run; unknown tags are left out."""
    return {
        **_git(root),
        **{name: os.environ[name] for name in DVC_VARIABLES if os.environ.get(name)},
        **({"md5.dvc_lock": md5_of(root / LOCK)} if (root / LOCK).is_file() else {}),
        **_weights(root / MODEL),
        **_versions(),
        **_user(),
    }


def run_name(tags: Tags, key: str) -> str:
    """Name a run by its DVC experiment, or its branch and commit, or without git by its state."""
    if "DVC_EXP_NAME" in tags:
        return tags["DVC_EXP_NAME"]
    if "git.commit" not in tags:
        return f"state-{key[:8]}"
    parts = [tags.get("git.branch", ""), tags["git.commit"][:7], "dirty" if is_dirty(tags) else ""]
    return "-".join(part for part in parts if part)


def is_dirty(tags: Tags) -> bool:
    """Tell whether the worktree had changes that are not in its commit."""
    return tags.get("git.dirty") == "true"


def _git(root: Path) -> Tags:
    excluded = [f":(exclude){path}" for path in OUTPUTS]
    answer = ask_git(root, "status", "--porcelain=v2", "--branch", "--untracked-files=no", "--", ".", *excluded)
    if answer is None:
        return {}
    status = answer.decode(errors="replace").splitlines()
    head = dict(line[2:].split(" ", 1) for line in status if line.startswith("# branch."))
    if head["branch.oid"] == "(initial)":
        return {}
    changed = any(not line.startswith("#") for line in status)
    tags = {"git.commit": head["branch.oid"], "git.dirty": str(changed).lower()}
    if head["branch.head"] != "(detached)":
        tags["git.branch"] = head["branch.head"]
    return tags | {"mlflow.source.git.commit": head["branch.oid"]}  # the commit the MLflow UI shows


def _weights(path: Path) -> Tags:
    """The hash of the backbone's weights, from the model's record."""
    record: dict[str, Any] = flatten(read_json(path)) if path.is_file() else {}
    hashes = [value for name, value in record.items() if name.startswith("backbone.") and name.endswith("sha256")]
    return {"sha256.weights": str(hashes[0])} if hashes and hashes[0] else {}


def _versions() -> Tags:
    """Versions from the packages' metadata: importing torch would take seconds."""
    tags = {}
    for package in PACKAGES:
        try:
            tags[f"{VERSION}{package}"] = version(package)
        except PackageNotFoundError:
            continue
    return tags


def _user() -> Tags:
    try:
        return {"mlflow.user": getpass.getuser()}
    except (KeyError, OSError):  # a container's user without a name
        return {}
