"""Damaged and hostile files of weights: refused in a line, or a network is built of them. No file runs anything."""

import io
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from stages.graft.backbone.architectures import build_network
from stages.graft.backbone.network import load_backbone
from stages.graft.backbone.weights import BackboneParams, find_weights
from stages.graft.storage.hashing import sha256_of
from tests.support.bundles import SMALL_NETWORK
from tests.support.fuzzing import NUM_CASES, generator, mutations

pytestmark = pytest.mark.fuzz


def network() -> dict[str, torch.Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_network(SMALL_NETWORK, 3).state_dict()


def pickled(content: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


@pytest.fixture
def load(tmp_path: Path):
    """Build a network from a file of weights, as `backbone.weights` names it."""

    def call(given: tuple[str, bytes]) -> None:
        suffix, data = given
        path = tmp_path / f"weights{suffix}"
        path.write_bytes(data)
        settings: dict[str, Any] = {"weights": str(path), "sha256": sha256_of(path), "input_px": 64}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            load_backbone(find_weights(BackboneParams(name=SMALL_NETWORK, **settings), tmp_path))

    return call


def test_damaged_files_of_weights(attack, load):
    state = network()
    originals = {".pth": pickled(state), ".safetensors": save({name: one.contiguous() for name, one in state.items()})}
    files = ((suffix, data) for suffix, one in originals.items() for data in mutations([one], suffix, NUM_CASES // 20))
    attack("weights, damaged", files, load)


@pytest.mark.filterwarnings("ignore")  # of torch, on its beta kinds of tensors
def test_contents_that_are_no_weights(attack, load):
    attack("weights, hostile", contents(), load)
    assert attack.counts["refused"] > 20


class Command:
    """Runs a command when it is unpickled."""

    def __reduce__(self):
        return os.system, ("touch /tmp/graft-was-here",)


def contents() -> Iterator[tuple[str, bytes]]:
    """State dicts with one odd tensor, and files without any."""
    state = network()
    first, *_ = (name for name, one in state.items() if one.ndim > 1)
    odd: dict[str, Any] = {
        "sparse": state[first].to_sparse(),
        "compressed": state[first].flatten(1).to_sparse_csr(),
        "meta": state[first].to("meta"),
        "quantized": torch.quantize_per_tensor(state[first], 0.1, 0, torch.qint8),
        "complex": state[first] + 1j,
        "NaN": state[first] * torch.nan,
        "infinite": state[first] + torch.inf,
        "whole numbers": state[first].long(),
        "8 bits": state[first].to(torch.float8_e4m3fn),
        "flags": state[first] > 0,
        "a scalar": torch.tensor(1.0),
        "empty": state[first][:0],
        "text": "a",
        "a number": 5,
        "a list": [state[first]],
        "a view": state[first].expand(2, *state[first].shape),
    }
    for value in odd.values():
        yield ".pth", pickled(state | {first: value})
    for output in ("fc.weight", "fc.bias"):
        for value in (torch.zeros(()), torch.zeros(0, 1024), torch.zeros(3), torch.zeros(2**20, 1, 1)):
            yield ".pth", pickled(state | {output: value})
    yield from (
        (suffix, data) for suffix in (".pth", ".safetensors") for data in (b"", b"\0", b"PK\x03\x04", b"\x80\x02.")
    )
    yield ".safetensors", (2**40).to_bytes(8, "little") + b"{}"
    others: tuple[object, ...] = (
        {1: state[first]}, {None: 1}, {}, [], 5, None, "text", state[first], {"state_dict": {3: 4}},
        {"model": {"model": state}}, {"state_dict": None}, {("a",): state[first]}, Command(), [Command()],
    )  # fmt: skip
    yield from ((".pth", pickled(content)) for content in others)
    rng = generator("weights, random")
    for _ in range(20):
        yield ".pth", rng.bytes(500)


def test_a_file_of_weights_runs_nothing(load):
    Path("/tmp/graft-was-here").unlink(missing_ok=True)
    with pytest.raises(Exception, match="cannot be read as tensors alone"):
        load((".pth", pickled(Command())))
    assert not Path("/tmp/graft-was-here").exists()
