"""The bill of materials and the page of licences: complete, and as the lock and the weights are now."""

import json
import re
import subprocess

import pytest

from stages.commands.bill_of_materials import BILL, LICENCES, pages
from stages.graft.maintenance.components import WEIGHTS, read_components, read_pins
from tests.conftest import REPOSITORY


def test_both_files_are_as_the_lock_and_the_weights_are_now():
    for path, text in pages(REPOSITORY).items():
        assert (REPOSITORY / path).read_text(encoding="utf-8") == text, f"{path} is older: run `make licences`"


def test_every_pin_and_every_file_of_weights_is_listed_with_a_licence():
    components = read_components(REPOSITORY)
    pins = read_pins(REPOSITORY / "requirements.lock")
    assert {(one.name, one.version) for one in components if not one.sha256} == set(pins.items())
    assert len(pins) > 200
    in_git = subprocess.run(["git", "ls-files", "*.safetensors"], cwd=REPOSITORY, capture_output=True, check=True)
    kept = set(in_git.stdout.decode().split())
    assert {path for path in kept if not path.startswith("tests")} == {*WEIGHTS}
    assert [one.name for one in components if not one.licence] == []


def test_the_bill_is_what_readers_of_cyclonedx_expect():
    bill = json.loads((REPOSITORY / BILL).read_text(encoding="utf-8"))
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    for one in bill["components"]:
        assert one["type"] in ("library", "machine-learning-model")
        assert one["licenses"][0]["license"]["name"]
        assert re.fullmatch(r"pkg:pypi/[a-z0-9._-]+@[\w.+!]+", one.get("purl", "pkg:pypi/a@1"))
    assert f"| `{next(iter(WEIGHTS))}` | Apache-2.0 |" in (REPOSITORY / LICENCES).read_text(encoding="utf-8")


@pytest.mark.parametrize("line", ["a==1", "a==1 \\", "a==1 ; sys_platform == 'win32' \\"])
def test_pins_are_read_with_and_without_hashes(tmp_path, line):
    lock = tmp_path / "lock"
    lock.write_text(f"# by hand\n{line}\n    --hash=sha256:00 \\\n    --hash=sha256:11\n")
    assert read_pins(lock) == {"a": "1"}
