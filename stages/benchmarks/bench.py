"""Beside the pipeline, bench: the speed of everything on this machine, each number beside the one committed before.

Reads   the committed state of the repository, the bundled networks; generates its images in a temporary folder
Writes  reports/bench.csv, reports/bench.md
Run     make bench (an hour and a half on two processors), or python -m stages.benchmarks.bench PART … for some parts;
        nothing else should run beside it
"""

import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path

from stages.benchmarks.bench_extraction import measure_costs, measure_extraction, measure_parity
from stages.benchmarks.bench_int8 import measure_int8
from stages.benchmarks.bench_pipelines import SIZES, measure_pipeline
from stages.benchmarks.bench_serve import measure_serving
from stages.benchmarks.measurements import Measurement, compared_table, merge, read_before
from stages.benchmarks.report_parts import machine_description, write_report
from stages.graft.core.errors import ParamsError
from stages.graft.core.stage import run

PAGE = Path("reports/bench.md")

Measure = Callable[[Path], list[Measurement]]
"""Measures a part in an empty folder."""

PARTS: Mapping[str, Measure] = {
    "extraction": measure_extraction,
    "parity": measure_parity,
    "costs": measure_costs,
    "int8": measure_int8,
    "serving": measure_serving,
    **{name: partial(measure_pipeline, size) for name, size in SIZES.items()},
}
"""Parts by the names that the command takes."""


def main(arguments: Sequence[str] = ()) -> None:
    """Measure these parts, by default all, and write the table and the page."""
    if unknown := sorted(set(arguments) - set(PARTS)):
        raise ParamsError(f"there is no part {unknown[0]}; the parts are {', '.join(PARTS)}")
    before, measured = read_before(), set[object]()
    for name in arguments or PARTS:
        with tempfile.TemporaryDirectory(prefix="graft-bench-") as folder:
            found = PARTS[name](Path(folder))
        rows = merge(found)  # each part is kept, even if a later one fails
        measured |= {one.key for one in found}
    write_report(page(rows, [one for one in before if one.key in measured]), PAGE)


def page(rows: Sequence[Measurement], before: Sequence[Measurement]) -> str:
    """Format all parts, each beside what was committed before where it was measured again."""
    parts = groupby(rows, key=lambda one: one.part)
    tables = "\n".join(f"## {part}\n\n{compared_table(group, before)}\n" for part, group in parts)
    return f"""# Speed, measured by `make bench`

{machine_description()}.
Ratios are of one run, but `now / before`: it compares with the numbers that were committed before, perhaps on another
day. Another kind of processor gives others.

- Extraction: from 200 x 200 JPEG files of generated plates. The usual loop is torchvision's ImageFolder and a
  DataLoader with a worker for each processor, in fp32; the best flags are the same with bf16 autocast, channels-last
  and inference mode. From memory is Graft's network without files; the bound is
  1 / (1 / from memory + 1 / decoding alone), since both share the processors.
- int8 and bf16: one batch in memory on all processors, in one process, medians of turns. Calibrated on generated
  plates; cosines are of other plates. ResNet-50 and VGG-19 have random weights.
- Pipelines: `graft repro` on generated textures of ten classes with the parameters of params.yaml; the seconds of a
  stage are without the start of Python.

{tables}"""


if __name__ == "__main__":
    run("bench", partial(main, sys.argv[1:]))
