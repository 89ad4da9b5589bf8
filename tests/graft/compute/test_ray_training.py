"""Fine-tuning on a cluster: the bytes of one machine, whatever the number of workers, also when one is killed."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from stages.finetune import on_cluster
from stages.graft.compute.engine import open_engine
from stages.graft.compute.ray_training import _set_gradients, _take_gradients
from stages.graft.compute.settings import LOCAL, ComputeParams
from stages.graft.core.errors import DataError
from stages.graft.heads.head import Head
from stages.graft.training.finetune_task import Finetuned, PipelineFiles, finetune_from_files
from tests.graft.training.test_finetune_loop import Images, linear_head, pipeline_files, task
from tests.support.clusters import Nodes, cluster


@pytest.fixture
def images(tmp_path: Path) -> Images:
    return Images(tmp_path / "images", 10)


@pytest.fixture
def files(images: Images, tmp_path: Path) -> PipelineFiles:
    return pipeline_files(images, tmp_path)


@pytest.fixture
def head(rng: np.random.Generator) -> Head:
    return linear_head(rng, 1024)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    pytest.importorskip("ray")
    with cluster() as running:
        yield running


class Trainings:
    """The same fine-tuning again and again."""

    def __init__(self, head: Head, files: PipelineFiles) -> None:
        self._head, self._files = head, files
        self.logged: list[dict[int, dict[str, float]]] = []

    def run(self, compute: ComputeParams = LOCAL, **changes: object) -> Finetuned:
        self.logged.append({})
        to_train = task(self._head, self._files, learning_rate=1e-3, **changes)
        with open_engine(compute, lambda: None, on_cluster) as remote_trainer:
            return finetune_from_files(to_train, self.logged[-1].__setitem__, remote_trainer)


def bytes_of(found: Finetuned) -> list[bytes]:
    backbone = [value.numpy().tobytes() for value in found.backbone.state_dict().values()]
    return [*backbone, *(array.tobytes() for layer in found.head.layers for array in layer)]


@pytest.mark.ray
@pytest.mark.filterwarnings("default")
class TestTraining:
    """On two nodes."""

    def test_one_worker_gives_the_bytes_of_one_machine(self, nodes, head, files):
        trainings = Trainings(head, files)
        local = trainings.run(unfreeze_from="stage4.2", epochs=2)
        remote = trainings.run(nodes.compute, unfreeze_from="stage4.2", epochs=2)  # a step has one part
        assert bytes_of(remote) == bytes_of(local)
        assert remote.val_after.tobytes() == local.val_after.tobytes()
        assert trainings.logged[0] == trainings.logged[1]
        assert not list((files.store / "finetuning").iterdir())

    def test_two_workers_give_the_bytes_of_one_machine(self, nodes, head, files):
        trainings = Trainings(head, files)
        local = trainings.run(accumulate=3)  # parts of 2, 2 and 1 images: a worker is idle in the second round
        remote = trainings.run(nodes.compute, accumulate=3)
        assert local.outcome.epochs[1:] == remote.outcome.epochs[1:]
        assert bytes_of(remote) == bytes_of(local)
        plain = trainings.run()
        assert bytes_of(plain) != bytes_of(local)  # parts do change bits: nothing above is so by chance
        accuracy = [one.outcome.epochs[-1].val_accuracy for one in (plain, remote)]
        assert accuracy[0] == pytest.approx(accuracy[1], abs=0.01)

    def test_a_killed_worker_is_replaced_and_training_goes_on(self, nodes, head, files):
        trainings = Trainings(head, files)
        local = trainings.run(accumulate=2, epochs=12)
        killed = []

        def kill() -> None:
            while not list((files.store / "finetuning").glob("*.safetensors")):
                time.sleep(0.01)
            killed.extend(training_processes())
            os.kill(killed[-1], signal.SIGKILL)

        killer = threading.Thread(target=kill, daemon=True)
        killer.start()
        remote = trainings.run(nodes.compute, accumulate=2, epochs=12)
        killer.join(timeout=5)
        assert len(killed) == 2
        assert bytes_of(remote) == bytes_of(local)
        assert trainings.logged[0] == trainings.logged[1]

    def test_an_error_of_a_worker_is_raised_locally(self, nodes, head, files, images):
        first = next(iter(images.labels))
        images.locate(first).write_bytes(b"no image")
        with pytest.raises(DataError, match=first):
            Trainings(head, files).run(nodes.compute)


def training_processes() -> list[int]:
    """Processes of Ray's that train."""
    names = {int(path.parent.name): path for path in Path("/proc").glob("[0-9]*/cmdline")}
    found = []
    for pid, path in names.items():
        try:
            if b"RayTrainWorker" in path.read_bytes():
                found.append(pid)
        except OSError:
            continue
    return sorted(found)


def test_gradients_come_back_as_they_were_in_the_same_layout():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 2), nn.Linear(2, 2)).to(
        memory_format=torch.channels_last
    )
    network[:3](torch.rand(2, 3, 3, 3)).sum().backward()  # the last layer gets no gradient
    parameters = list(network.parameters())
    before = [one.grad for one in parameters]
    row = _take_gradients(parameters)
    assert all(one.grad is None for one in parameters)
    _set_gradients(parameters, row)
    assert [one.grad is None for one in parameters] == [False] * 4 + [True] * 2
    for one, expected in zip(parameters[:4], before, strict=False):
        assert one.grad is not None
        assert expected is not None
        assert torch.equal(one.grad, expected)
        assert one.grad.stride() == expected.stride()
