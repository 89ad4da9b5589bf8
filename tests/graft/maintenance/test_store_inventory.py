"""What the store lists: files with their hash, and what nothing reads any more."""

from functools import partial
from pathlib import Path

from stages.graft.maintenance.store_inventory import read_entries
from stages.graft.storage.sealed import write_named


def write(text: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_files_that_older_versions_wrote_without_a_hash_are_left_over(tmp_path: Path):
    name = "0123456789abcdef" * 2
    state = write_named(tmp_path / f"finetuning/{name}.safetensors", partial(write, "state"))
    weights = write_named(tmp_path / f"weights/{name}.safetensors", partial(write, "weights"))
    old = [tmp_path / f"{path}/{name}.{suffix}" for path, suffix in
           (("finetuning", "safetensors"), ("weights", "safetensors"), ("weights", "sha256"))]  # fmt: skip
    for path in old:
        write("old", path)
    found = [(entry.kind, entry.path) for entry in read_entries(tmp_path)]
    assert found == [("training", state), ("weights", weights), *(("leftover", path) for path in old)]
