import pytest

from stages.benchmarks.bench_hostile import measured
from stages.benchmarks.hostile_files import gif, jpeg_of_many_scans, png, saved
from stages.graft.images.inspection import inspect


@pytest.mark.parametrize(
    ("data", "format_", "mode"),
    [
        (gif(64), "GIF", "P"),
        (png(64, 8, 6, 4), "PNG", "RGBA"),
        (png(61, 8, 2, 3, interlaced=True), "PNG", "RGB"),
        (png(64, 16, 0, 1), "PNG", "I;16"),
        (png(64, 16, 6, 4), "PNG", "RGBA"),
        (saved("RGB", 64, "JPEG2000"), "JPEG2000", "RGB"),
        (jpeg_of_many_scans(1024, 3), "JPEG", "L"),
    ],
)
def test_hostile_files_are_whole(data, format_, mode):
    info = inspect(data)
    assert (info.format, info.mode, info.is_blank) == (format_, mode, True)


@pytest.mark.rare
def test_a_child_process_tells_what_a_file_costs(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(png(2000, 8, 6, 4))
    empty, found = measured(path, 0, 1), measured(path, 3, 3)
    assert found["verdict"] == "decoded"
    assert 30 < found["peak_mb"] - empty["peak_mb"] < 3 * 4 * 16  # 4 Mpx, of which each takes 11 bytes and at most 16
    path.write_bytes(png(8000, 8, 6, 4))
    assert "over the limit of 50 megapixels" in measured(path, 1, 1)["verdict"]
