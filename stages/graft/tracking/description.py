"""The description of a run in Markdown: whether the model is usable, what it was made from, and how long that took."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stages.graft.advice.advice import format_advice_markdown, read_advice
from stages.graft.storage.files import read_json
from stages.graft.tracking.provenance import VERSION, Tags
from stages.graft.tracking.run_state import PAGE, RunState


def describe_run(root: Path, state: RunState, times: Mapping[str, float], tags: Tags) -> str:
    """Describe the present results.

    Args:
        root: the pipeline's folder.
        state: its state.
        times: seconds of each stage.
        tags: their origin, as `read_provenance` gives it.
    """
    paragraphs = (_advice(root), _data(root, state), *_table(times), _versions(tags), _files(root))
    return "\n\n".join(filter(None, paragraphs))


def _advice(root: Path) -> str:
    advice = read_advice(root)
    return format_advice_markdown(advice) if advice else ""


def _data(root: Path, state: RunState) -> str:
    split = _report(root, "split")
    parts = [f"{split[f'num_{name}']} {name}" for name in ("train", "val", "test") if f"num_{name}" in split]
    counts = f": {', '.join(parts)}" if parts else ""
    return f"{state.num_images} images of `{state.source}`{counts}."


def _table(times: Mapping[str, float]) -> Iterator[str]:
    if times:
        rows = [f"| {stage} | {seconds:.1f} |" for stage, seconds in times.items()]
        yield "\n".join(["| stage | seconds |", "|---|---|", *rows, f"| together | {sum(times.values()):.1f} |"])


def _versions(tags: Tags) -> str:
    versions = [f"{name.removeprefix(VERSION)} {tag}" for name, tag in tags.items() if name.startswith(VERSION)]
    return f"Made with {', '.join(versions)}." if versions else ""


def _files(root: Path) -> str:
    return f"Everything else is in the artifacts; begin with `{PAGE}`." if (root / PAGE).is_file() else ""


def _report(root: Path, name: str) -> Mapping[str, Any]:
    path = root / f"reports/{name}.json"
    return read_json(path) if path.is_file() else {}
