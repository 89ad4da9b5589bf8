"""Before stage 1, code: hash the files of code that each stage reaches, so that a change re-runs what it can alter.

Reads   stages/
Writes  data/code/, for each stage a list of files and their SHA-256, in the format of sha256sum
Params  none
"""

from pathlib import Path

from stages.graft.artifacts import atomic_path
from stages.graft.errors import run
from stages.graft.hashing import sha256_of
from stages.graft.imports import reached

STAGES = ("ingest", "split", "extract", "train_head", "finetune", "explore", "evaluate", "report")
SIDE_STAGES = ("compare_backbones", "compare_finetuning", "pretrain", "transfer")
"""Scripts of the pipeline in data/backbones."""

CLUSTER = {"cluster", "cluster_extraction", "cluster_prediction", "cluster_training"}
"""They alone import Ray; they move the work to other machines, and what comes out stays the same."""

TRACKING = {
    "durations",
    "model_package",
    "model_places",
    "provenance",
    "registry",
    "run_state",
    "runs",
    "tracking",
    "tracking_store",
}
"""They alone import MLflow, or say when and where a run was made."""

OUTSIDE = CLUSTER | TRACKING
"""Left out, with what they alone import: they cannot change an output."""

LISTS = Path("data/code")


def main() -> None:
    """List what each stage reaches, all lists at once."""
    lists = {stage: sorted(reached(f"stages.{stage}", Path(), OUTSIDE)) for stage in (*STAGES, *SIDE_STAGES)}
    hashes = {path: sha256_of(path) for path in set().union(*lists.values())}
    with atomic_path(LISTS) as folder:
        folder.mkdir()
        for stage, files in lists.items():
            text = "".join(f"{hashes[path]}  {path.as_posix()}\n" for path in files)
            (folder / f"{stage}.sha256").write_text(text, encoding="utf-8", newline="")
    print(f"code: {len(hashes)} files, in the lists of {len(lists)} stages")


if __name__ == "__main__":
    run("code", main)
