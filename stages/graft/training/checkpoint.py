"""Checkpoint of a training after each epoch, in one file: a killed training resumes and ends with the same bytes."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from stages.graft.metrics.training_curve import Epoch
from stages.graft.storage.arrays import METADATA_KEY
from stages.graft.storage.sealed import find_named, named_files, write_named


class TrainingState:
    """Everything that changes while a network is trained."""

    def __init__(
        self, network: nn.Module, average: AveragedModel, optimizer: torch.optim.Optimizer, start: Epoch
    ) -> None:
        """Begin before the first step, with the average of a network's weights, and the results of epoch 0."""
        self.average, self.epochs = average, [start]
        self._network, self._optimizer = network, optimizer

    def take_average(self) -> None:
        """Give the network the averaged weights."""
        self._network.load_state_dict(self.average.module.state_dict())

    def save(self, path: Path) -> None:
        """Write the checkpoint, a named file; it replaces the one before when it is complete."""
        tensors = {
            f"{part}/{name}": value for part, module in self._modules() for name, value in module.state_dict().items()
        }
        for index, state in self._optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{index}/{name}": torch.as_tensor(value) for name, value in state.items()}
        header = {METADATA_KEY: json.dumps({"records": [asdict(epoch) for epoch in self.epochs]})}
        contents = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
        write_named(path, partial(save_file, contents, metadata=header))

    def resume(self, path: Path) -> None:
        """Take over the state from a checkpoint, if there is one; a damaged one is removed."""
        found = find_named(path)
        if found is None:
            return
        tensors, self.epochs = load_file(found), _epochs_in(found)
        for part, module in self._modules():
            module.load_state_dict(_below(part, tensors))
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in _below("optimizer", tensors).items():
            index, name = key.split("/")
            state.setdefault(int(index), {})[name] = value
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": state, "param_groups": groups})

    def _modules(self) -> tuple[tuple[str, nn.Module], ...]:
        return ("network", self._network), ("average", self.average)


def read_epochs(path: Path) -> list[Epoch]:
    """Read the epochs of a checkpoint that other processes write, to show them; none before the first one."""
    try:
        return _epochs_in(named_files(path)[0])
    except (IndexError, FileNotFoundError, SafetensorError, KeyError):  # the file may just be replaced
        return []


def _epochs_in(path: Path) -> list[Epoch]:
    with safe_open(path, framework="pt") as file:
        return [Epoch(**record) for record in json.loads(file.metadata()[METADATA_KEY])["records"]]


def _below(part: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(f"{part}/"): value for key, value in tensors.items() if key.startswith(f"{part}/")}
