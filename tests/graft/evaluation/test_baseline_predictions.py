import pandas as pd
import pytest

from stages.graft.core.errors import DataError
from stages.graft.evaluation.baseline_predictions import COLUMNS, read_baselines
from stages.graft.storage.tables import write_csv


def test_classes_are_read_as_text(tmp_path):
    names = ["NA", "007", "", "plate, bent"]
    rows = [(f"{k:064x}", "majority", name, 0.5) for k, name in enumerate(names)]
    write_csv(pd.DataFrame(rows, columns=COLUMNS), tmp_path / "baselines.csv")
    table = read_baselines(tmp_path / "baselines.csv")
    assert table["predicted"].to_list() == names
    assert table["confidence"].to_list() == [0.5] * 4


def test_what_is_no_such_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nothing.csv cannot be read as baselines' predictions .*`dvc repro`"):
        read_baselines(tmp_path / "nothing.csv")
    (tmp_path / "other.csv").write_text("id,label\n")
    with pytest.raises(DataError, match="expected columns id,baseline,predicted,confidence, found id,label"):
        read_baselines(tmp_path / "other.csv")
    (tmp_path / "words.csv").write_text(",".join(COLUMNS) + "\na,b,c,much\n")
    with pytest.raises(DataError, match="could not convert string to float"):
        read_baselines(tmp_path / "words.csv")
