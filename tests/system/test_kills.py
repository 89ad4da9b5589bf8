"""Sixty kills in all stages and twenty in experiments, by SIGKILL, SIGTERM and Ctrl-C: the same bytes afterwards.

The kills of a round follow each other: each stage is killed in its turn, and `graft repro` goes on after each.
"""

import shutil
import signal
import time
from collections.abc import Iterator

import numpy as np
import pytest

from tests.support.clones import Clone
from tests.support.faults import check_nothing_lost, commands_in, fault, killed
from tests.support.imports import STAGES
from tests.system.test_faults import clone, forget, training

__all__ = ["clone", "training"]

pytestmark = [pytest.mark.faults, pytest.mark.filterwarnings("default")]

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)

ROUNDS, TRAININGS = 6, 3
"""Of a usual run, with a kill in each stage; and of another one, with a kill in both trainings."""

SEED = "-S", "split.seed=7"


def moment(rng: np.random.Generator, number: int) -> str:
    """When the signal comes: only SIGKILL leaves what is half done."""
    if number == signal.SIGKILL:
        return str(rng.choice(["start", "half:1", "half:2", "whole:1", "whole:2", "end"]))
    return "whole:1"


def plan(seed: int, stages: tuple[str, ...]) -> Iterator[tuple[str, str, int]]:
    """A stage, a moment and a signal for each kill; in three rounds, each stage gets each signal."""
    rng = np.random.default_rng(seed)
    for place, stage in enumerate(stages):
        number = SIGNALS[(place + seed) % 3]
        yield stage, moment(rng, number), number


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_every_stage_is_killed_in_its_turn(clone: Clone, seed: int):
    before = clone.digests()
    forget(clone, *STAGES)
    for stage, when, number in plan(seed, STAGES):
        if stage == "extract" and seed % 2:
            shutil.rmtree(clone.environment["GRAFT_STORE"])
        with fault():
            killed(clone, f"{stage}:{when}", "graft", "repro", number=number)
    with fault(tried=0):
        clone.run("graft", "repro")
        check_nothing_lost(clone, before)


@pytest.mark.parametrize("seed", range(TRAININGS))
def test_every_training_is_killed_in_its_turn(training: Clone, seed: int):
    before = training.digests()
    forget(training, "train_head", "finetune")
    for stage, when, number in plan(seed, ("train_head", "finetune")):
        with fault():
            killed(training, f"{stage}:{when}", "graft", "repro", number=number)
    with fault(tried=0):
        training.run("graft", "repro")
        check_nothing_lost(training, before)


@pytest.fixture(scope="module")
def experiments(clone: Clone, tmp_path_factory: pytest.TempPathFactory) -> tuple[Clone, str]:
    """A clone for experiments, and the lock of one that nothing disturbs."""
    copy = clone.copy(tmp_path_factory.mktemp("experiments"))
    copy.run("dvc", "exp", "run", "--temp", *SEED, "--name", "quiet")
    return copy, lock_of(copy, "quiet")


def lock_of(clone: Clone, name: str) -> str:
    """The hashes of all that an experiment made."""
    lines = clone.run("git", "for-each-ref", "--format=%(objectname) %(refname)", "refs/exps").splitlines()
    revision = next(line.split()[0] for line in lines if line.endswith(f"/{name}"))
    return clone.run("git", "show", f"{revision}:dvc.lock")


KILLS = [(how, number) for how in ("temp", "queue") for number in range(10)]


@pytest.mark.parametrize(("how", "number"), KILLS)
def test_an_experiment_is_killed(experiments: tuple[Clone, str], how: str, number: int):
    clone, expected = experiments
    before, name = clone.digests(), f"{how}-{number}"
    stage = ("split", "train_head", "finetune", "explore", "evaluate", "report")[number % 6]
    which = SIGNALS[number % 3]
    with fault():
        shutil.rmtree(clone.folder / ".dvc/cache/runs")  # else nothing runs
        when = moment(np.random.default_rng(number), which)
        start = ["--temp", *SEED, "--name", name] if how == "temp" else ["--run-all"]
        if how == "queue":
            clone.run("dvc", "exp", "run", "--queue", *SEED, "--name", name)
        killed(clone, f"{stage}:{when}", "dvc", "exp", "run", *start, number=which)
        clean(clone)
        assert clone.digests() == before
        clone.run("dvc", "exp", "run", "--temp", *SEED, "--name", f"{name}-again")
        assert lock_of(clone, f"{name}-again") == expected
        check_nothing_lost(clone, before)


def clean(clone: Clone) -> None:
    """As a person does: take the failed experiment out of the queue, and do what `graft verify` says."""
    until = time.monotonic() + 60
    while "0 active, 0 idle" not in clone.run("dvc", "queue", "status") and time.monotonic() < until:
        time.sleep(1)
    clone.run("dvc", "queue", "remove", "--all")
    for command in commands_in(clone.run("sh", "-c", "graft verify || true")):
        clone.run("sh", "-c", command)
