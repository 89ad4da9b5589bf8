import hashlib
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages.graft.core.errors import DataError
from stages.graft.data.manifest import COLUMNS, ManifestRow, read_manifest, write_manifest


def row(file: str = "hole/0.png", label: str = "hole", **changes: str) -> ManifestRow:
    id_ = hashlib.sha256(repr((file, label)).encode()).hexdigest()
    plain = ManifestRow(
        id=id_, file=file, label=label, group="", split="", width=12, height=10, format="PNG", mode="RGB"
    )
    return replace(plain, **changes)


def test_rows_are_sorted_by_id_and_come_back(tmp_path):
    rows = [row(f"hole/{number}.png") for number in range(9)]
    write_manifest(rows, tmp_path / "a.csv")
    write_manifest(reversed(rows), tmp_path / "b.csv")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    table = read_manifest(tmp_path / "a.csv")
    assert list(table.columns) == list(COLUMNS)
    assert list(table["id"]) == sorted(row.id for row in rows)
    assert list(table["width"]) == [12] * 9
    assert table["width"].dtype == "int64"


@pytest.mark.parametrize(
    "label", ["NA", "007", "true", "1e5", "null", " hole ", 'a "b", c', "größe", "刮痕", "-", "nan"]
)
def test_text_stays_text(tmp_path, label):
    write_manifest([row(f"{label}/1.png", label)], tmp_path / "manifest.csv")
    table = read_manifest(tmp_path / "manifest.csv")
    assert (table["label"][0], table["file"][0]) == (label, f"{label}/1.png")
    assert (table["group"][0], table["split"][0]) == ("", "")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
@given(file=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
def test_any_file_name_comes_back(tmp_path, file):
    write_manifest([row(file, "hole", group=file)], tmp_path / "manifest.csv")
    table = read_manifest(tmp_path / "manifest.csv")
    assert (table["file"][0], table["group"][0]) == (file, file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read as CSV"),
        ("id,file\n", "columns missing: label, group, split, width"),
        (",".join(COLUMNS) + "\n", "holds no image"),
        (",".join(COLUMNS) + "\nabc,f,l,,,1,1,PNG,RGB\n", "'abc' is not the SHA-256"),
        (",".join(COLUMNS) + f"\n{'a' * 64},f,l,,,1,1,PNG,RGB" * 2 + "\n", "two rows"),
        (",".join(COLUMNS) + f"\n{'a' * 64},f,l,,,wide,1,PNG,RGB\n", "whole numbers"),
    ],
)
def test_bad_manifests_are_refused(tmp_path, text, message):
    path = tmp_path / "manifest.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read_manifest(path)
    assert str(path) in str(caught.value)


def test_a_missing_manifest_says_how_to_make_it(tmp_path):
    with pytest.raises(DataError, match=r"does not exist; run `dvc repro`"):
        read_manifest(tmp_path / "manifest.csv")
