"""Part of `make bench`: whole pipelines on small and large sets, cold and warm, by stage, and what changes cost.

Run     python -m stages.benchmarks.bench pipeline-400 pipeline-4000 …
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.benchmarks.bench_extraction import Found, as_part
from stages.benchmarks.measurements import Measurement
from stages.benchmarks.sandbox import Sandbox
from stages.benchmarks.textures import write_textures
from stages.graft.core.stage import FOLDER, read_duration

STAGES = (
    "ingest", "duplicates", "split", "extract", "train_head", "finetune", "explore", "explain", "evaluate", "report",
)  # fmt: skip

NUM_IDLE = 5
"""Runs with nothing to do."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """A set of images."""

    num_images: int
    """How many; a hundredth of them are new in the last run."""
    size_px: int
    """Their sides."""
    input_px: int | None
    """Side of what the network sees; None: as it was trained."""

    @property
    def title(self) -> str:
        """For the page."""
        seen = "" if self.input_px is None else f", seen at {self.input_px} px"
        return f"{self.num_images:,} images of {self.size_px} x {self.size_px} px{seen}"


SIZES = {
    "pipeline-400": Size(num_images=400, size_px=200, input_px=None),
    "pipeline-4000": Size(num_images=4000, size_px=400, input_px=None),
    "pipeline-20000": Size(num_images=20_000, size_px=16, input_px=32),
    "pipeline-100000": Size(num_images=100_000, size_px=16, input_px=32),
}


def measure_pipeline(size: Size, scratch: Path) -> list[Measurement]:
    """Run the pipeline in a clone: everything, nothing, all but the network, another head, a hundredth more images."""
    sandbox, source = Sandbox.clone(scratch / f"clone{size.num_images}"), scratch / f"images{size.num_images}"
    sandbox.set_params("ingest", source=str(source))
    if size.input_px is not None:
        sandbox.set_params("backbone", input_px=size.input_px)
    write_textures(source, range(size.num_images), size.size_px)
    found = [*_repro(sandbox, "cold", STAGES), ("page of results", _page_mb(sandbox), "MB")]
    idle = statistics.median(sandbox.seconds("graft", "repro") for _ in range(NUM_IDLE))
    found.append(("nothing to do", idle, "s"))
    found += _repro(sandbox, "features cached, the rest again", STAGES, "--force")
    sandbox.set_params("train_head", class_weight="balanced")
    found += _repro(sandbox, "another head", STAGES[STAGES.index("train_head") :])
    write_textures(source, range(size.num_images, size.num_images + size.num_images // 100), size.size_px)
    found += _repro(sandbox, "1% new images", STAGES)
    return as_part(size.title, found)


def _repro(sandbox: Sandbox, what: str, stages: Sequence[str], *options: str) -> Found:
    """Time `graft repro`, all of it and the work of every stage; list the most memory that a stage takes."""
    print(f"bench: {what}", flush=True)
    for stage in STAGES:
        (sandbox.folder / FOLDER / f"{stage}.json").unlink(missing_ok=True)
    seconds = sandbox.seconds("graft", "repro", *options)
    ran = [(stage, read_duration(stage, sandbox.folder)) for stage in stages]
    durations = {stage: duration for stage, duration in ran if duration is not None}
    found = [(f"{what}: {stage}", duration.seconds, "s") for stage, duration in durations.items()]
    found.append((f"{what}: start of processes, and DVC", seconds - sum(value for _, value, _ in found), "s"))
    if "extract" in durations:
        found.append((f"{what}: share of extract", durations["extract"].seconds / seconds, ""))
    peak = max(duration.peak_mb or 0 for duration in durations.values())
    return [(f"{what}: all", seconds, "s"), *found, (f"{what}: most memory of a stage", peak, "MB")]


def _page_mb(sandbox: Sandbox) -> float:
    return (sandbox.folder / "reports/report.html").stat().st_size / 1e6
