"""People who share a project: the day of two of them, with a git remote, an S3 remote and an MLflow server.

What they type is taken from docs/teams.md, block by block.
"""

import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.conftest import REPOSITORY
from tests.support.clones import Clone
from tests.support.imports import STAGES
from tests.support.pages import blocks, commands, headings, section
from tests.support.servers import BUCKET, S3_KEYS, mlflow_server, running, s3_server, ssh_server
from tests.system.test_end_to_end import ran
from tests.system.test_workflows import steps

if TYPE_CHECKING:
    from mlflow.entities import Run

pytestmark = pytest.mark.filterwarnings("default")

PAGE = "docs/teams.md"

FIRST_DAY, DATA, SERVER = "Your first day", "Share the data", "Share one MLflow server"
EXPERIMENTS, CONFLICT = "Run experiments", "Solve a conflict in dvc.lock"
"""The headings that have commands."""

FOLDER, SSH, S3, RESULT = range(4)
"""The blocks below DATA: three kinds of remote, and how a result is shared."""

CHECK = "Are the results those of this code, data and parameters?"
"""A step of the workflow `results`."""


def typed_blocks(heading: str) -> list[list[str]]:
    """The commands of each block under a heading of the page."""
    return blocks(section(PAGE, heading))


TYPED: set[str] = set()
"""Lines of the page that a person has typed."""


class Person(Clone):
    """A clone and the person who works in it."""

    def __init__(self, folder: Path, name: str, origin: Path | None = None, **environment: str) -> None:
        super().__init__(folder / name, origin)
        identity = {f"GIT_{role}_{key}": name for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}
        self.environment |= identity | {"COLUMNS": "120"} | environment

    def type(self, *lines: str, places: dict[str, str] | None = None, code: int | None = 0) -> str:
        """Type lines of the page, with the places and names in them replaced; gives what they print."""
        return "".join(self._type(line, places or {}, code) for line in lines)

    def _type(self, line: str, places: dict[str, str], code: int | None) -> str:
        TYPED.add(line)
        for place, real in places.items():
            line = line.replace(place, real)
        if line.startswith("make "):  # the environment the tests run in, taken as installed
            line += f" VENV={sys.prefix} --old-file={sys.prefix}/.installed"
        return self.run("bash", "-c", line, code=code)

    def wait_for_queue(self) -> None:
        """Wait until no experiment is queued or running."""
        for _ in range(360):
            status = self.run("dvc", "queue", "status")
            assert "Failed" not in status, status
            if not re.search(r"Running|Queued", status):
                return
            time.sleep(0.5)
        raise AssertionError(status)

    def table(self) -> list[str]:
        """What `make compare` shows of experiments and commits, a line each."""
        lines = self.type("make compare").splitlines()
        assert max(map(len, lines)) <= 100
        return [" ".join(line.split()) for line in lines]

    def param(self, name: str) -> object:
        """A parameter of params.yaml, by `section.key`."""
        section, key = name.split(".")
        return yaml.safe_load((self.folder / "params.yaml").read_text(encoding="utf-8"))[section][key]


def runs_of(uri: str) -> dict[str, "Run"]:
    """Every run of a state in a store, by name; each is there once."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("graft")
    runs = client.search_runs([experiment.experiment_id]) if experiment else []
    runs = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]  # a slow stage has one of its own
    found = {run.info.run_name: run for run in runs}
    assert len(found) == len(runs)
    return found


def store_of(person: Person) -> tuple[list[str], dict[Path, int]]:
    """All that a person's own MLflow store holds, with the times of its files."""
    with closing(sqlite3.connect(person.folder / "mlflow.db")) as database:
        files = (person.folder / "mlartifacts").rglob("*")
        return list(database.iterdump()), {path: path.stat().st_mtime_ns for path in files if path.is_file()}


def finished(uri: str) -> list[str]:
    """The names of a store's runs, all of which are whole."""
    runs = runs_of(uri)
    assert all(run.info.status == "FINISHED" and len(run.data.tags["graft.results"]) == 64 for run in runs.values())
    assert all("accuracy" in run.data.metrics for run in runs.values())
    return sorted(runs)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A bare repository to push to."""
    return bare(tmp_path / "origin.git")


def bare(folder: Path) -> Path:
    """Make a bare repository."""
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", str(folder)], check=True)
    return folder


def begin(person: Person, home: Path, *settings: str, places: dict[str, str] | None = None) -> None:
    """Name a place for the data, compute the first results and share them, on the git remote's branch `main`."""
    person.type("git branch --move main", f"git remote add origin {home}", "git push --quiet -u origin main")
    person.type(*settings, places=places)
    assert ran(person.repro()) == list(STAGES)
    person.type(*typed_blocks(DATA)[RESULT], "git push --quiet", "dvc push --run-cache")


def tracking(address: str) -> dict[str, str]:
    """The variable that the page sets, with the address of a server of the test."""
    [[export]] = typed_blocks(SERVER)[1:]
    TYPED.add(export)
    name, _, _ = export.removeprefix("export ").partition("=")
    return {name: address}


def test_every_section_with_commands_is_typed_by_a_test_here():
    with_commands = [heading for heading in headings(PAGE)[1:] if commands(section(PAGE, heading))]
    assert with_commands == [FIRST_DAY, DATA, SERVER, EXPERIMENTS, CONFLICT]


@pytest.mark.team
def test_a_day_of_two_people(tmp_path: Path, home: Path):
    with s3_server(tmp_path / "s3") as s3, running(mlflow_server(tmp_path / "mlflow")) as mlflow:
        world = S3_KEYS | tracking(mlflow.address)
        alice = Person(tmp_path, "alice", **world)
        begin(
            alice, home, *typed_blocks(DATA)[S3], places={"bucket": BUCKET, "https://storage.example.com": s3.address}
        )
        bob = Person(tmp_path, "bob", home, **world)
        first_day(alice, bob, mlflow.address)
        experiments(alice, bob, mlflow.address)
        exchange(alice, bob, mlflow.address)
        keep(alice)
        conflict(alice, bob, mlflow.address)
    asked = {line for heading in (FIRST_DAY, EXPERIMENTS, CONFLICT) for line in commands(section(PAGE, heading))}
    asked |= {*typed_blocks(DATA)[S3], *typed_blocks(DATA)[RESULT], *typed_blocks(SERVER)[1]}
    assert asked <= TYPED


def first_day(alice: Person, bob: Person, mlflow: str) -> None:
    """Bob's first day: nothing to run, his commit's run is there, and he computes the same bytes from nothing."""
    (block,) = typed_blocks(FIRST_DAY)
    said = bob.type(*block)
    assert ran(said) == []
    assert "is published already" in said
    assert bob.digests() == alice.digests()
    assert ran(bob.run("dvc", "repro", "--force", "--no-run-cache")) == list(STAGES)
    assert bob.digests() == alice.digests()
    assert bob.run("git", "status", "--porcelain") == ""
    assert len(finished(mlflow)) == 1


def experiments(alice: Person, bob: Person, mlflow: str) -> None:
    """Each runs two experiments, at the same time: in the workspace, in a temporary folder, two queued at once."""
    run, temp, queue, start, compare, diff = typed_blocks(EXPERIMENTS)[0]
    with ThreadPoolExecutor(2) as both:
        alices, bobs = both.submit(alice.type, run, temp), both.submit(bob.type, queue, start)
        bobs.result()
        bob.wait_for_queue()
        alices.result()
    names = [name for name in finished(mlflow) if not name.startswith("main-")]
    assert names == ["heads-1", "heads-2", "seed-one", "seed-two"]
    assert len(finished(mlflow)) == 5
    assert "split.seed" in alice.type(diff)
    assert "train_head.kind" in bob.type(compare)


def exchange(alice: Person, bob: Person, mlflow: str) -> None:
    """Each pushes two experiments and pulls the other's; both see the same table, and nothing has to run."""
    push, list_, pull = typed_blocks(EXPERIMENTS)[1]
    for name in ("seed-one", "seed-two"):
        alice.type(push, places={"seed-one": name})
    for name in ("heads-1", "heads-2"):
        bob.type(push, places={"seed-one": name})
        alice.type(pull, places={"seed-one": name})
    assert all(name in bob.type(list_) for name in ("seed-one", "seed-two", "heads-1", "heads-2"))
    for name in ("seed-one", "seed-two"):
        bob.type(pull, places={"seed-one": name})
    table = alice.table()
    assert bob.table() == table
    # heads-1 is the commit's state and is not shown twice; each seed has test images of its own.
    assert [line.split()[0] for line in table if line.endswith("train_head.kind=prototype")] == ["heads-2"]
    assert {"seed-one", "seed-two"} <= {line.split()[0] for line in table if line}
    assert sum("test images (set " in line for line in table) == 3
    bob.type("dvc exp apply seed-one")
    assert ran(bob.repro()) == []
    assert "is published already" in bob.type("graft publish")
    assert bob.digests() == alice.digests()  # seed-one is what her workspace holds
    assert len(finished(mlflow)) == 5


def keep(alice: Person) -> None:
    """Alice commits one experiment and makes the other a branch; before she pushes, she reads what it changes."""
    (changes,) = typed_blocks(EXPERIMENTS)[3]
    said = alice.type(changes)
    assert re.search(r"split\.seed +0 +1", said)
    assert "`evaluate.gate`" in said
    alice.type(*typed_blocks(EXPERIMENTS)[2])
    assert "another-split" in alice.run("git", "ls-remote", "--heads", "origin")


def conflict(alice: Person, bob: Person, mlflow: str) -> None:
    """Bob commits another head, meets Alice's split in dvc.lock, and lets the pipeline decide, by the recipe."""
    bob.type("dvc exp apply heads-2", "git add --all", "git commit -qm 'Another head'")
    said = bob.type("git pull --no-rebase", code=1)
    assert "CONFLICT (content): Merge conflict in dvc.lock" in said
    (block,) = typed_blocks(CONFLICT)
    assert ran(bob.type(*block)) == ["train_head", "finetune", "explain", "evaluate", "report"]
    assert (bob.param("split.seed"), bob.param("train_head.kind")) == (1, "prototype")
    assert ran(bob.repro()) == []
    assert bob.run("git", "status", "--porcelain") == ""
    alice.type("git pull --no-rebase", "dvc pull")
    assert ran(alice.repro()) == []
    assert alice.digests() == bob.digests()
    assert "is published already" in alice.type("graft publish")
    assert len(finished(mlflow)) == 6
    assert not [name for name in finished(mlflow) if name.endswith("-dirty")]


@pytest.mark.team
def test_data_through_ssh(tmp_path: Path, home: Path):
    with ssh_server(tmp_path / "key") as port:
        alice = Person(tmp_path, "alice")
        # The key is a setting of each person's own; elsewhere ssh finds it.
        key = f"dvc remote modify --local storage keyfile {tmp_path / 'key'}"
        places = {"user@host/path/to": f"me@127.0.0.1:{port}{tmp_path}"}
        begin(alice, home, *typed_blocks(DATA)[SSH], key, places=places)
        bob = Person(tmp_path, "bob", home)
        bob.type(key, "dvc pull")
        assert ran(bob.repro()) == []
        assert bob.digests() == alice.digests()
        alice.type("dvc exp run --name prototypes -S train_head.kind=prototype", "dvc exp push origin prototypes")
        bob.type("dvc exp pull origin prototypes", "dvc exp apply prototypes")
        assert bob.digests() == alice.digests()


@pytest.mark.team
def test_experiments_of_all_kinds_make_one_store_together(tmp_path: Path):
    """Two at a time from a queue and one beside them, where no store was before: it is made once, for all of them."""
    alice = Person(tmp_path, "alice")
    run, temp, queue, start, *_ = typed_blocks(EXPERIMENTS)[0]
    alice.type(queue, start)
    alice.type(temp)
    alice.wait_for_queue()
    alice.type(run)
    assert finished(f"sqlite:///{alice.folder}/mlflow.db") == ["heads-1", "heads-2", "seed-one", "seed-two"]
    assert not list(alice.folder.glob(".dvc/tmp/exps/*/mlflow.db"))


@pytest.mark.team
def test_a_server_that_dies_before_during_or_after_a_run(tmp_path: Path):
    server = mlflow_server(tmp_path / "mlflow")
    with running(server):
        alice = Person(tmp_path, "alice", **tracking(server.address))
        server.kill()
        said = alice.repro()  # before: one line, and the run goes through
        assert ran(said) == list(STAGES)
        assert said.count("no answer from") == 2  # the page shows no champion, and the run is published later
        assert "`graft publish` publishes them later" in said
        server.start()
        assert runs_of(server.address) == {}
        assert "published" in alice.type("graft publish")
        assert len(finished(server.address)) == 1
        alice.type("git add --all", "git commit -qm First")
        alice.set_params("train_head", kind="mlp")  # its training is watched, so the server dies while it trains
        with ThreadPoolExecutor(1) as beside:
            going = beside.submit(alice.repro)
            wait_until(lambda: any(run.info.status == "RUNNING" for run in runs_of(server.address).values()))
            server.kill()
            said = going.result()
        assert "evaluate" in ran(said)
        assert "`graft publish` publishes them later" in said
        server.start()
        alice.type("graft publish")
        state = {
            run.data.tags["graft.state"] for run in runs_of(server.address).values() if "graft.state" in run.data.tags
        }
        server.kill()  # after: what is published stays
        assert "no answer from" in alice.type("graft publish")
        server.start()
        assert "is published already" in alice.type("graft publish")
        assert len(state) == 2


def wait_until(true: Callable[[], bool]) -> None:
    """Wait for something, five minutes at most."""
    for _ in range(600):
        if true():
            return
        time.sleep(0.5)
    raise AssertionError


@pytest.fixture(scope="module")
def two_people(tmp_path_factory: pytest.TempPathFactory) -> tuple[Person, Person]:
    """Alice, who has shared the first results through a folder, and Bob, who has pulled them; each with an MLflow."""
    folder = tmp_path_factory.mktemp("team")
    home = bare(folder / "origin.git")
    alice = Person(folder, "alice")
    begin(alice, home, *typed_blocks(DATA)[FOLDER], places={"/path/to/a/shared/folder": str(folder / "remote")})
    bob = Person(folder, "bob", home)
    bob.type("dvc pull --run-cache")
    return alice, bob


@pytest.mark.team
def test_after_a_pull_there_is_nothing_to_run_and_the_run_is_published_once(two_people: tuple[Person, Person]):
    alice, bob = two_people
    assert ran(bob.repro()) == []
    assert bob.digests() == alice.digests()
    assert not (bob.folder / "mlflow.db").exists()
    assert re.search(r"run main-\w{7} of graft published", bob.type("graft publish"))
    before = store_of(bob)
    assert "is published already" in bob.type("graft publish")
    assert store_of(bob) == before


@pytest.mark.team
def test_what_the_run_cache_gives_back_is_published(two_people: tuple[Person, Person]):
    _, bob = two_people
    lock = bob.folder / "dvc.lock"
    committed = lock.read_bytes()
    stages = yaml.safe_load(committed)
    del stages["stages"]["report"]
    lock.write_text(yaml.safe_dump(stages), encoding="utf-8")
    (bob.folder / "mlflow.db").unlink(missing_ok=True)
    said = bob.type("make repro")
    assert ran(said) == []
    assert "Stage 'report' is cached - skipping run, checking out outputs" in said
    assert re.search(r"run main-\w{7} of graft published", said)
    assert yaml.safe_load(lock.read_bytes()) == yaml.safe_load(committed)


@pytest.mark.team
def test_ci_says_what_a_branch_changes_and_finds_what_was_not_run(two_people: tuple[Person, Person]):
    """The steps of the workflow, as GitHub's runner has them: git's files alone, nothing pulled."""
    _, bob = two_people
    ci = Person(bob.folder.parents[1], "ci", Path(bob.run("git", "remote", "get-url", "origin").strip()))
    ci.environment |= {"BASE": "main", "GITHUB_STEP_SUMMARY": str(ci.folder / "summary.md")}
    of_ci = {step.get("name"): step.get("run") for step in steps(REPOSITORY / ".github/workflows/results.yaml")}
    check, changes, fail = (of_ci[name] for name in (CHECK, "Say what changed", "Fail where the results are older"))
    ci.run("bash", "-e", "-c", f"{check}\n{changes}\n{fail}")
    assert "No parameter and no metric changed." in (ci.folder / "changes.md").read_text()
    ci.set_params("train_head", kind="prototype")
    ci.run("bash", "-e", "-c", f"{check}\n{changes}")
    said = (ci.folder / "summary.md").read_text()
    assert "**dvc.lock is older than what it is made of**" in said
    assert "| train_head.kind | auto | prototype |  |" in said
    assert "'train_head'" in ci.run("bash", "-e", "-c", fail, code=1)
