"""The section `compute` of params.yaml: where the work is done, on this machine or on a Ray cluster.

It never changes what comes out, so it is not among the parameters of any stage: DVC runs nothing again for it.
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
    """local is this machine alone; ray is a cluster."""
    address: Address
    """auto: the cluster this machine is part of; new: one of this machine alone; else the head's host:port."""
    workers: PositiveInt | None
    """Processes; null for as many as the cluster has room for."""
    cpus_per_worker: PositiveInt
    """Processors each takes."""
    gpus_per_worker: float = Field(ge=0)
    """GPUs each takes."""


LOCAL = ComputeParams(engine="local", address=AUTO, workers=None, cpus_per_worker=1, gpus_per_worker=0)
"""This machine, whatever params.yaml says."""


def load_compute(path: Path = PARAMS) -> ComputeParams:
    """Read the section `compute`.

    Raises:
        ParamsError: as in `load_params`.
    """
    return load_params("compute", ComputeParams, path)
