"""Parts of every benchmark's report: a table in Markdown, and a description of the machine."""

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from stages.graft.core.threads import num_cpus
from stages.graft.storage.files import write_text

Row = Mapping[str, str]
"""Cells of one row of a table, by the title of their column."""


def markdown_table(rows: Sequence[Row]) -> str:
    """Format rows as a table in Markdown."""
    lines = [rows[0].keys(), ["---"] * len(rows[0]), *(row.values() for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write_report(text: str, path: Path) -> None:
    """Write a report, and print it."""
    write_text(text, path)
    print(text)


def machine_description() -> str:
    """Describe the processor, a GPU if there is one, and the libraries that compute."""
    import torch  # imported here: bench_rows measures memory, and torch and OpenVINO would add to it

    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, {num_cpus()} processors; {library_versions('torch', 'torchvision')}"
    return f"{_processor()}; {library_versions('torch', 'torchvision', 'openvino')}"


def _processor() -> str:
    """Describe the processor as OpenVINO sees it."""
    from stages.graft.backbone.openvino_runtime import computes_in_bf16
    from stages.graft.backbone.quiet_openvino import openvino

    name = openvino.Core().get_property("CPU", "FULL_DEVICE_NAME")
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8") if platform.system() == "Linux" else ""
    units = [unit for unit, flag in (("AMX", "amx_bf16"), ("AVX512-BF16", "avx512_bf16")) if flag in flags]
    bf16 = "computes in bf16" if computes_in_bf16() else "no bf16"
    return f"{name}, {num_cpus()} processors, {' and '.join(units) or 'neither AMX nor AVX512-BF16'} ({bf16})"


def library_versions(*names: str) -> str:
    """List installed libraries with their versions."""
    return ", ".join(f"{name} {version(name)}" for name in names)
