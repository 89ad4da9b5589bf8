import pytest

from stages.graft.core.errors import DataError
from stages.graft.report.plot_tables import read_plot_tables, read_table
from tests.support.pictures import write
from tests.support.reports import CLASSES, write_reports


def test_names_stay_text_and_numbers_are_numbers(tmp_path):
    rows = b"class,id,recall,unsure\n007,1,,True\nNA,2,0.5,False\n1e3,null,1,True\n"
    table = read_table(write(tmp_path / "a.csv", rows))
    assert table["class"].to_list() == ["007", "NA", "1e3"]
    assert table["id"].to_list() == ["1", "2", "null"]
    assert table["recall"].isna().to_list() == [True, False, False]
    assert table["recall"].sum() == 1.5
    assert table["unsure"].to_list() == [True, False, True]


@pytest.mark.parametrize("rows", [b"class,recall\na,much\n", b"\xff\xfe,\n", b"", b'a,b\n"'])
def test_a_damaged_table_is_one_line(tmp_path, rows):
    with pytest.raises(DataError, match=r"a\.csv cannot be read"):
        read_table(write(tmp_path / "a.csv", rows))


def test_an_empty_table_keeps_its_columns(tmp_path):
    table = read_table(write(tmp_path / "a.csv", b"id,score,suspected\n"))
    assert list(table.columns) == ["id", "score", "suspected"]
    assert table.empty


def test_curves_are_those_with_an_epoch(tmp_path):
    write_reports(tmp_path, curves=("train_head",))
    write(tmp_path / "reports/plots/pr_curve.csv", b"precision,recall\n1,0\n")
    tables = read_plot_tables(tmp_path / "reports/plots")
    assert list(tables.curves) == ["train_head"]
    assert tables.per_class["class"].to_list() == list(CLASSES)
