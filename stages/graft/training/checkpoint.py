"""A training's state between epochs, in one file, so that a killed run goes on and ends with the same bytes."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from stages.graft.storage.arrays import METADATA_KEY
from stages.graft.storage.files import atomic_path
from stages.graft.training.optimizer import Average


@dataclass(kw_only=True)
class Training:
    """What changes while a network is trained."""

    parameters: list[nn.Parameter]
    """Those that are trained, on the device."""
    optimizer: torch.optim.Optimizer
    """Of the parameters."""
    average: Average
    """Of the network."""
    best: list[Tensor]
    """The averaged parameters at the epoch of lowest validation log loss."""
    records: list[dict[str, Any]]
    """One for each epoch, epoch 0 first."""

    def averaged(self) -> list[Tensor]:
        """Copy the averaged parameters."""
        return [one.detach().clone() for one in self.average.network.parameters()]

    @torch.no_grad()
    def leave_best(self) -> None:
        """Give the network the best epoch's parameters."""
        for one, value in zip(self.parameters, self.best, strict=True):
            one.copy_(value)

    def save(self, path: Path) -> None:
        """Write everything to one file, under a temporary name first."""
        tensors = {f"parameter/{k}": one.detach() for k, one in enumerate(self.parameters)}
        tensors |= {f"average/{k}": one.detach() for k, one in enumerate(self.average.network.parameters())}
        tensors |= {f"best/{k}": one for k, one in enumerate(self.best)}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{index}/{name}": torch.as_tensor(value) for name, value in state.items()}
        header = {"records": self.records, "num_steps": self.average.num_steps}
        with atomic_path(path) as temporary:
            contents = {name: value.cpu().contiguous().clone() for name, value in tensors.items()}
            save_file(contents, temporary, metadata={METADATA_KEY: json.dumps(header)})

    def load(self, path: Path) -> bool:
        """Go back to what was saved; False when nothing whole is there."""
        try:
            with safe_open(path, framework="pt") as file:
                header = json.loads(file.metadata()[METADATA_KEY])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        except (FileNotFoundError, SafetensorError, KeyError):
            return False
        with torch.no_grad():
            for k, one in enumerate(self.parameters):
                one.copy_(tensors[f"parameter/{k}"])
            for k, one in enumerate(self.average.network.parameters()):
                one.copy_(tensors[f"average/{k}"])
            self.best = [tensors[f"best/{k}"].to(one.device) for k, one in enumerate(self.best)]
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith("optimizer/"):
                _, index, name = key.split("/")
                state.setdefault(int(index), {})[name] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        self.records, self.average.num_steps = header["records"], header["num_steps"]
        return True


def saved_records(path: Path) -> list[dict[str, Any]]:
    """Read the epochs' records of a state; none when nothing whole is there."""
    try:
        with safe_open(path, framework="pt") as file:
            records: list[dict[str, Any]] = json.loads(file.metadata()[METADATA_KEY])["records"]
            return records
    except (FileNotFoundError, SafetensorError, KeyError):
        return []
