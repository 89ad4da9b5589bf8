"""Rows for people: safe in a spreadsheet and on a terminal; for programs, JSON Lines and Parquet have the very text."""

import io
import json

import pytest
from pyarrow import parquet

from stages.graft.model.row_files import csv_rows, open_rows

ROW = {"file": "=1+1.png", "label": "\x1b[31mred", "confidence": -0.5, "unsure": True, "error": None}


@pytest.mark.parametrize(
    ("shown", "line"), [(False, "'=1+1.png,\x1b[31mred,-0.5,true,"), (True, "'=1+1.png,\\x1b[31mred,-0.5,true,")]
)
def test_csv_has_no_formulas_and_a_terminal_gets_nothing_to_obey(shown: bool, line: str):
    file = io.StringIO()
    with csv_rows(file, list(ROW), shown=shown) as write:
        write(ROW)
    assert file.getvalue() == f"file,label,confidence,unsure,error\n{line}\n"


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_programs_get_the_text_as_it_is(tmp_path, suffix):
    types = {"file": str, "label": str, "confidence": float, "unsure": bool, "error": str}
    with open_rows(tmp_path / f"rows{suffix}", types) as write:
        write(ROW)
    path = tmp_path / f"rows{suffix}"
    row = json.loads(path.read_text()) if suffix == ".jsonl" else parquet.read_table(path).to_pylist()[0]
    assert row == ROW
