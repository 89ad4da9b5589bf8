"""The section `compute` of params.yaml: this machine or a Ray cluster.

It never changes a result, so no stage depends on it and DVC runs nothing again when it changes.
"""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveInt, StringConstraints

from stages.graft.core.params import PARAMS, Params, load_params

AUTO, NEW = "auto", "new"

_HOST_PORT = re.compile(r"^(auto|new|(?:\[[0-9a-fA-F:]+\]|[^\s:/\[\]]+):[0-9]{1,5})$")

Address = Annotated[str, StringConstraints(pattern=_HOST_PORT)]


class ComputeParams(Params):
    """The section `compute`."""

    engine: Literal["local", "ray"]
    """local: this machine; ray: a Ray cluster."""
    address: Address
    """auto: the cluster of this machine; new: a new cluster of this machine only; else a head's host:port."""
    workers: PositiveInt | None
    """Number of processes; null for as many as the cluster has room for."""
    cpus_per_worker: PositiveInt
    """Processors for each process."""
    gpus_per_worker: float = Field(ge=0)
    """GPUs for each process."""


LOCAL = ComputeParams(engine="local", address=AUTO, workers=None, cpus_per_worker=1, gpus_per_worker=0)
"""This machine, independent of params.yaml."""


def load_compute(path: Path = PARAMS) -> ComputeParams:
    """Read the section `compute`.

    Raises:
        ParamsError: as in `load_params`.
    """
    return load_params("compute", ComputeParams, path)
