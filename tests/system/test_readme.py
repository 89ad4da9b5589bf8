"""README.md, docs/ and CONTRIBUTING.md: their commands work, and what they name exists."""

import importlib.util
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import yaml
from PIL import Image

from tests.conftest import REPOSITORY
from tests.support.clones import Clone
from tests.support.pages import DOCS, PAGES, commands, headings, read_page, section

MAX_WORDS = 1200
"""Of README.md, as `wc -w` counts."""

SERVER, DOWNLOAD = "make ui", "dvc exp run -S backbone.name=vgg19 -S backbone.weights=DEFAULT"

OTHER_TESTS = {
    "docs/teams.md": "tests/system/test_team.py",
    "docs/clusters.md": "tests/system/test_cluster_pipeline.py",
    "docs/using-the-model.md#How do I let people try it?": "tests/stages/commands/test_serve.py",
    "docs/using-the-model.md#How do I serve it?": "tests/graft/model/test_serving.py",
}
"""Pages and sections whose commands another test types, since they need a server or a cluster."""

EXPERIMENT = re.compile(r"dvc exp run -S (backbone|split|finetune)\.(?!name=vgg19)\S+.*")
AS_FAR_AS = {"backbone": "extract", "split": "split", "finetune": "finetune"}
"""Experiments on the user's images run as far as the stage that they are about: others have run the rest."""

LONG = re.compile(r"make (bench|lock|format|check|test\S*)|python -m stages\.benchmarks\.\w+")
"""Commands that take minutes or change the tree: what they would run is looked at."""

pytestmark = pytest.mark.filterwarnings("default")


def typed_here() -> list[str]:
    """Every command that no other test types, once, in the order of reading."""
    texts = {page: read_page(page) for page in PAGES if page not in OTHER_TESTS}
    for place in OTHER_TESTS:
        page, _, heading = place.partition("#")
        if heading:
            texts[page] = texts[page].replace(section(page, heading), "")
    return list(dict.fromkeys(command for text in texts.values() for command in commands(text)))


def make_user_images(folder: Path) -> None:
    """Two classes, light and dark, twelve images each, in a folder with a space in its name."""
    for label, level in (("light", 200), ("dark plates", 40)):
        (folder / label).mkdir(parents=True)
        for number in range(12):
            Image.new("L", (40 + number, 40), level + number).save(folder / label / f"{number}.png")


def check_server(clone: Clone) -> None:
    """Start `make ui`, ask for the page, stop it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with subprocess.Popen(
        [*with_this_environment(SERVER), f"PORT={port}"],
        cwd=clone.folder,
        env=clone.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as server:
        try:
            for _ in range(240):
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=5) as page:
                        assert b"MLflow" in page.read()
                        return
                except OSError:
                    time.sleep(0.5)
            raise AssertionError("no answer within two minutes")
        finally:
            os.killpg(server.pid, 15)


def check_refused_download(clone: Clone, command: str) -> None:
    """Run a command that needs a download where there is no network."""
    said = clone.run(*with_this_environment(command), code=None)
    assert "vgg19-dcbb9e9d.pth (548 MB) cannot be downloaded" in said


def check_long(clone: Clone, command: str) -> None:
    """Check that a target of the Makefile or a module exists, and each module that the target runs."""
    said = command
    if command.startswith("make "):
        said = clone.run(*with_this_environment(command), "--dry-run")
    for module in re.findall(r"python -m (stages\.\S+)", said):
        assert importlib.util.find_spec(module) is not None, module


def with_this_environment(command: str) -> list[str]:
    """Give make the environment that the tests run in, taken as installed."""
    words = command.split()
    if words[0] != "make":
        return ["bash", "-c", command]
    return [*words, f"VENV={sys.prefix}", f"--old-file={sys.prefix}/.installed"]


def test_every_command_runs(made_clone: Clone, tmp_path: Path):
    clone = made_clone.copy(tmp_path)
    clone.environment |= {"https_proxy": "http://127.0.0.1:9", "TORCH_HOME": str(tmp_path / "torch")}
    make_user_images(tmp_path / "your images")
    typed = typed_here()
    assert {"make repro", SERVER, DOWNLOAD, "dvc repro", "graft report", "graft verify"} <= set(typed)
    # Last: they leave results of several sets of parameters, and the very last one fails.
    typed.sort(key=lambda command: (command == DOWNLOAD, EXPERIMENT.fullmatch(command) is not None))
    for command in typed:
        command = command.replace("/path/to/your/images", f"'{tmp_path / 'your images'}'")
        if command == SERVER:
            check_server(clone)
        elif command == DOWNLOAD:
            check_refused_download(clone, command)
        elif LONG.fullmatch(command):
            check_long(clone, command)
        elif experiment := EXPERIMENT.fullmatch(command):
            clone.run(*with_this_environment(f"{command} {AS_FAR_AS[experiment[1]]}"))
        else:
            clone.run(*with_this_environment(command))


def test_what_is_not_typed_here_is_typed_by_another_test():
    for place, test in OTHER_TESTS.items():
        page, _, heading = place.partition("#")
        source = (REPOSITORY / test).read_text(encoding="utf-8")
        assert page in source, f"{test} does not read {page}"
        assert heading in source, f"{test} does not read the section {heading!r} of {page}"


@pytest.mark.parametrize("page", PAGES)
def test_commands_are_in_bash_blocks(page: str):
    """A block of another language is data; commands in it would not be typed by any test."""
    kinds = re.findall(r"^```(.*)\n(?:.*\n)*?```$", read_page(page), re.M)
    assert set(kinds) <= {"bash", "csv", "json", "mermaid", "text"}


def test_the_pages_are_all_read_and_listed():
    assert {f"docs/{path.name}" for path in (REPOSITORY / "docs").glob("*.md")} == set(DOCS)
    assert all(f"({page})" in read_page("README.md") for page in (*DOCS, "CONTRIBUTING.md"))


def test_the_readme_is_short():
    assert len(read_page("README.md").split()) <= MAX_WORDS


@pytest.mark.parametrize("page", PAGES)
def test_relative_links_lead_to_a_file_and_a_heading(page: str):
    for link in re.findall(r"\]\(([^)\s]+)\)", read_page(page)):
        if re.match(r"https?:", link):
            continue
        path, _, anchor = link.partition("#")
        target = ((REPOSITORY / page).parent / path).resolve() if path else REPOSITORY / page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    found = headings(str(path.relative_to(REPOSITORY)))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("page", PAGES)
def test_parameters_that_a_page_names_exist(page: str):
    params = yaml.safe_load((REPOSITORY / "params.yaml").read_text(encoding="utf-8"))
    inside = " ".join(re.findall(r"`([^`\n]+)`", read_page(page)) + commands(read_page(page)))
    sections = "|".join(params)
    for name in re.findall(rf"(?<![\w./:])((?:{sections})(?:\.\w+)+)", inside):
        if name.endswith((".py", ".csv", ".json", ".html")):
            continue
        value = params
        for key in name.split("."):
            assert isinstance(value, dict), name
            assert key in value, name
            value = value[key]


@pytest.mark.parametrize("page", PAGES)
def test_files_that_a_page_names_exist(page: str):
    """Paths of the repository in backticks; what the pipeline or a person makes is not in a fresh clone."""
    made = ("data/", "reports/", "docs/", ".dvc/cache", "stages/NAME", "tests/stages/test_NAME")
    for name in re.findall(r"`([\w.-]+/[\w./-]*)`", read_page(page)):
        if name.split("/")[0] in ("stages", "tests", ".github") and not name.startswith(made):
            assert (REPOSITORY / name).exists(), name


def test_the_map_names_every_folder_of_code():
    text = section("README.md", "Where is the code?")
    packages = sorted(path.name for path in (REPOSITORY / "stages/graft").iterdir() if (path / "__init__.py").exists())
    assert sorted(re.findall(r"`…/(\w+)/`", text)) == packages
    folders = sorted(path.name for path in (REPOSITORY / "stages").iterdir() if (path / "__init__.py").exists())
    assert sorted(re.findall(r"`stages/(\w+)/`", text)) == folders


def test_the_table_has_every_command_of_graft():
    command = [sys.executable, "-c", "from stages.cli import main; main()", "--help"]
    said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPOSITORY).stdout
    table = re.findall(r"^\| `graft (\w+)` \|", read_page("README.md"), re.M)
    assert sorted(table) == sorted(re.findall(r"^  (\w+)  ", said, re.M))


def rows(text: str) -> list[set[str]]:
    """The cells of each table row of a page, without emphasis."""
    lines = re.findall(r"^\|(.*)\|$", text, re.M)
    return [{cell.strip().strip("*") for cell in line.split("|")} for line in lines]


def whole_runs(report: str) -> list[set[str]]:
    """One row for each set of images in reports/bench.md: which images, and the seconds of the whole runs."""
    parts = [part for part in report.split("\n## ") if "| cold: all |" in part]
    return [
        {part.splitlines()[0].replace("images of", "of")}
        | {row.split("|")[3].strip() for row in part.splitlines() if re.match(r"\| (.*: all|nothing to do) \|", row)}
        for part in parts
    ]


@pytest.mark.parametrize(
    ("page", "reports"),
    [("docs/speed.md", ("bench.md", "bench_finetuning.md")), ("docs/fine-tuning.md", ("finetuning.md",))],
)
def test_quoted_measurements_are_those_of_the_reports(page: str, reports: tuple[str, ...]):
    measured = [row for name in reports for row in rows(read_page(f"reports/{name}"))]
    measured += whole_runs(read_page("reports/bench.md"))
    quoted = [row for row in rows(read_page(page)) if any(re.match(r"\d", cell) for cell in row)]
    assert len(quoted) > 4
    for row in quoted:
        assert any(row <= other for other in measured), f"{page}: no report has a row with {row}"


@pytest.mark.parametrize(("name", "dataset"), [("steel", "neu"), ("clothes", "clothing")])
def test_the_accuracy_in_the_readme_is_that_of_the_model_card(name: str, dataset: str):
    card = read_page("data/backbones/efficientnet_lite0.md")
    [row] = [line for line in card.splitlines() if line.startswith(f"| {dataset} | auto |")]
    measured = re.findall(r"(\d+\.\d) ±", row)
    [line] = [line for line in section("README.md", "How good is it?").splitlines() if name in line and line[0] == "|"]
    assert re.findall(r"(\d+\.\d)%", line) == [measured[1], measured[3]]


def test_the_metrics_that_are_explained_are_those_of_the_report():
    metrics = json.loads(read_page("reports/metrics.json"))
    lines = [line for line in section("docs/results.md", "What do the numbers mean?").splitlines() if line[:3] == "| `"]
    explained = {name for line in lines for name in re.findall(r"`(\w+)`", line.split("|")[1])}
    assert len(explained) > 9
    assert explained <= metrics.keys()
