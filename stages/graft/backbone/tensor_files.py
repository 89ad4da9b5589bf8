"""Files of a network's weights: read without ever running code from them, written as safetensors."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from stages.graft.core.errors import WeightsError, one_line, printable
from stages.graft.storage.arrays import METADATA_KEY, usual_mode
from stages.graft.storage.files import atomic_path


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a checkpoint's tensors without ever running code from the file.

    Raises:
        WeightsError: it is not a complete safetensors file, nor a torch file of tensors alone.
    """
    try:
        content: Any = load_file(path) if path.suffix == ".safetensors" else _load_pickled(path)
    except (SafetensorError, ValueError) as error:
        raise WeightsError(f"{path} is not a complete safetensors file ({one_line(error)}); fetch it again") from None
    tensors = {str(name).removeprefix("module."): value for name, value in content.items() if isinstance(value, Tensor)}
    for name, value in tensors.items():
        if problem := _problem_of(value):
            raise WeightsError(
                f"{path}: the tensor {printable(name)} is {problem}; save the network's state_dict again"
            )
    return tensors


def _problem_of(tensor: Tensor) -> str | None:
    """Say why a tensor cannot be a network's weights; None when it can."""
    if tensor.is_meta or tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex():
        kind = "meta" if tensor.is_meta else str(tensor.layout if tensor.layout != torch.strided else tensor.dtype)
        return f"no plain array of numbers but {kind.removeprefix('torch.')}"
    if tensor.is_floating_point() and not bool(torch.isfinite(tensor.float()).all()):
        return "not finite: it holds NaN or an infinite number"
    return None


def _load_pickled(path: Path) -> Any:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises several kinds on damaged or unsafe files
        reason = one_line(error)
        raise WeightsError(f"{path} cannot be read as tensors alone ({reason}); save its state_dict again") from None
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict):
        raise WeightsError(f"{path} holds {type(content).__name__}, expected a state_dict")
    return content


def save_tensors(network: nn.Module, path: Path) -> None:
    """Write a network's weights in their own precision, without metadata."""
    _save({name: value.detach() for name, value in network.state_dict().items()}, path, None)


def save_network(network: nn.Module, path: Path, metadata: Mapping[str, Any]) -> None:
    """Write a network, output layer included, in half precision as safetensors.

    Its record is the metadata: at least `architecture`, `classes` and `preprocessing`.
    """
    save_halves(network.state_dict(), path, metadata)


def save_halves(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, Any]) -> None:
    """Write tensors in half precision as safetensors, without those of whole numbers; the metadata are their record."""
    halves = {name: value.half() for name, value in tensors.items() if value.is_floating_point()}
    _save(halves, path, {METADATA_KEY: json.dumps(metadata, sort_keys=True)})


def _save(tensors: Mapping[str, Tensor], path: Path, metadata: dict[str, str] | None) -> None:
    with atomic_path(path) as temporary, usual_mode(temporary):
        save_file({name: value.cpu().contiguous() for name, value in tensors.items()}, temporary, metadata=metadata)
