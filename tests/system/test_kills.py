"""Sixty kills in all stages and twenty in experiments, by SIGKILL, SIGTERM and Ctrl-C: the same bytes afterwards.

The kills of a round follow each other: each stage is killed in its turn, and `graft repro` goes on after each. Half of
them come at a step of the stage, the others at any time. `FAULT_SEED` (a whole number) gives other moments.
"""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator

import numpy as np
import pytest

from tests.support.clones import Clone
from tests.support.faults import WAYS, check_nothing_lost, commands_in, ended_in, fault, faulty, killed
from tests.support.imports import STAGES
from tests.system.test_faults import clone, forget, training

__all__ = ["clone", "training"]

pytestmark = [pytest.mark.faults, pytest.mark.filterwarnings("default")]

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)

FIRST_SEED = int(os.environ.get("FAULT_SEED", "0"))

ROUNDS, RANDOM_ROUNDS, TRAININGS = 3, 3, 3
"""Of a usual run, with a kill in each stage, at a step or at any time; and of a run with a kill in both trainings."""

SEED = "-S", "split.seed=7"


def moment(rng: np.random.Generator, number: int) -> str:
    """When the signal comes: only SIGKILL leaves what is half done."""
    if number == signal.SIGKILL:
        return str(rng.choice(["start", "half:1", "half:2", "whole:1", "whole:2", "end"]))
    return "whole:1"


def plan(seed: int, stages: tuple[str, ...]) -> Iterator[tuple[str, str, int]]:
    """A stage, a moment and a signal for each kill; in three rounds, each stage gets each signal."""
    rng = np.random.default_rng(FIRST_SEED + seed)
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


@pytest.mark.parametrize("seed", range(RANDOM_ROUNDS))
def test_every_stage_is_killed_at_any_time(clone: Clone, seed: int):
    """From the start of the stage to its end; where the stage is faster than before, the next one is hit."""
    clone.run("graft", "repro", "--force")  # tells how long each stage takes in this way
    rng, before = np.random.default_rng([FIRST_SEED, seed]), clone.digests()
    forget(clone, *STAGES)
    for place, stage in enumerate(STAGES):
        seconds = json.loads((clone.folder / f"reports/times/{stage}.json").read_text())["seconds"]
        with fault():
            ended_in(clone, STAGES[place:], float(rng.uniform(0, seconds)), WAYS[(place + seed) % len(WAYS)])
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


KILLS = [("temp", range(4)), ("temp", range(4, 8)), ("queue", range(6)), ("queue", range(6, 12))]
"""In `dvc exp run --temp`, and in `dvc queue start`, whose worker is a process of its own."""

STAGES_HIT = ("split", "train_head", "finetune", "explore", "evaluate", "report")


@pytest.mark.parametrize(("how", "numbers"), KILLS)
def test_experiments_are_killed(experiments: tuple[Clone, str], how: str, numbers: range):
    clone, expected = experiments
    before = clone.digests()
    for number in numbers:
        with fault():
            shutil.rmtree(clone.folder / ".dvc/cache/runs", ignore_errors=True)  # else nothing may run
            kill_an_experiment(clone, how, number)
            clean(clone)
            check_nothing_lost(clone, before)
    with fault(tried=0):
        name = f"{how}-{numbers[0]}-again"
        clone.run("dvc", "exp", "run", "--temp", *SEED, "--name", name)
        assert lock_of(clone, name) == expected
        check_nothing_lost(clone, before)


def kill_an_experiment(clone: Clone, how: str, number: int) -> None:
    which, name = SIGNALS[number % 3], f"{how}-{number}"
    where = f"{STAGES_HIT[number % 6]}:{moment(np.random.default_rng([FIRST_SEED, number]), which)}"
    if how == "temp":
        killed(clone, where, "dvc", "exp", "run", "--temp", *SEED, "--name", name, number=which)
        return
    clone.run("dvc", "exp", "run", "--queue", *SEED, "--name", name)
    subprocess.run(["dvc", "queue", "start"], cwd=clone.folder, env=faulty(clone, where, which), check=True)
    time.sleep(2)  # until the worker has begun
    wait_for_workers(clone)
    assert "Success" not in clone.run("dvc", "queue", "status")


def wait_for_workers(clone: Clone) -> None:
    until = time.monotonic() + 120
    while "0 active, 0 idle" not in clone.run("dvc", "queue", "status") and time.monotonic() < until:
        time.sleep(1)


def clean(clone: Clone) -> None:
    """As a person does: take the failed experiment out of the queue, and do what `graft verify` says."""
    wait_for_workers(clone)
    clone.run("dvc", "queue", "remove", "--all")
    for command in commands_in(clone.run("sh", "-c", "graft verify || true")):
        clone.run("sh", "-c", command)
