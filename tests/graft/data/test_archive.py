import io
import lzma
import stat
import struct
import tarfile
import tracemalloc
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from stages.graft.core.errors import DataError
from stages.graft.data.archive import is_archive_name, open_archive
from stages.graft.data.label_rules import label_contents
from stages.graft.data.limits import Limits
from stages.graft.storage import regular_files
from tests.support.pictures import class_folder, png, write

FILES = {"hole/0.png": png(0), "hole/deep/1.png": png(1), "scratch/2.png": png(2)}
TAR_MODES = {"a.tar": "w", "a.tar.gz": "w:gz", "a.tar.xz": "w:xz", "a.tar.bz2": "w:bz2"}


@pytest.fixture
def opened(tmp_path):
    """Open an archive in the test's folder, as a source."""

    @contextmanager
    def open_(path, bounds=None):
        with open_archive(path, path.name, tmp_path / "scratch", bounds or Limits()) as contents:
            yield label_contents(path.name, contents)

    return open_


def zipped(path, files, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def tarred(path, files, mode="w"):
    with tarfile.open(path, mode) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def with_member(path, name, kind, target="hole/0.png"):
    """A tar file of FILES with one more member, that is no plain file."""
    tarred(path, FILES)
    with tarfile.open(path, "a") as archive:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, target
        archive.addfile(info)
    return path


def contents(source):
    return {candidate.file: candidate.read() for candidate in source.candidates}


@pytest.mark.parametrize("name", ["a.zip", *TAR_MODES])
@pytest.mark.parametrize("top", ["", "plates/", "./", "./plates/"])
def test_all_kinds_give_files_labels_and_bytes(tmp_path, opened, name, top):
    files = {top + file: data for file, data in FILES.items()}
    path = zipped(tmp_path / name, files) if name == "a.zip" else tarred(tmp_path / name, files, TAR_MODES[name])
    with opened(path) as source:
        assert contents(source) == FILES
        assert [candidate.file for candidate in source.candidates] == sorted(FILES)
        assert [candidate.label for candidate in source.candidates] == ["hole", "hole", "scratch"]
        assert source.classes == ("hole", "scratch")


@pytest.mark.parametrize("arcname", [".", "plates"])
@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_packed_folder_is_the_folder(tmp_path, opened, arcname, mode):
    folder = class_folder(tmp_path / "folder")
    (folder / "pit").mkdir()
    with tarfile.open(tmp_path / "a.tar", mode) as archive:
        archive.add(folder, arcname)
    with opened(tmp_path / "a.tar") as source:
        assert source.classes == ("hole", "pit", "scratch")
        assert contents(source)["hole/0.png"] == (folder / "hole" / "0.png").read_bytes()


def test_the_content_counts_not_the_suffix(tmp_path, opened):
    with opened(zipped(tmp_path / "download", FILES)) as source:
        assert contents(source) == FILES
    with opened(tarred(tmp_path / "a.zip", FILES, "w:xz")) as source:
        assert contents(source) == FILES


def test_what_macos_adds_and_a_readme_beside_the_folder_do_no_harm(tmp_path, opened):
    extra = {"__MACOSX/plates/hole/._0.png": b"x", "plates/.DS_Store": b"x", "README.md": b"x"}
    with opened(zipped(tmp_path / "a.zip", extra | {f"plates/{file}": data for file, data in FILES.items()})) as source:
        assert contents(source) == FILES | {"README.md": b"x"}
        assert source.classes == ("hole", "scratch")
        assert source.num_hidden == 2


def test_one_class_alone_keeps_its_name(tmp_path, opened):
    with opened(zipped(tmp_path / "a.zip", {"hole/0.png": png(0), "hole/1.png": png(1)})) as source:
        assert source.classes == ("hole",)


@pytest.mark.parametrize("name", ["a b.png", 'it\'s "x", y.png', "größe.png", "刮痕.png", "C.png", "a\\b.png"])
def test_names_stay_as_they_are(tmp_path, opened, name):
    files = {f"hole/{name}": png(0), "scratch/1.png": png(1)}
    for path in (zipped(tmp_path / "a.zip", files), tarred(tmp_path / "a.tar", files)):
        with opened(path) as source:
            assert contents(source) == files


def windows_zip(path, names, folders=()):
    """A zip file as some Windows tools write it: files with backslashes, folders with either."""
    with zipfile.ZipFile(path, "w") as archive:
        for folder in folders:
            archive.writestr(zipfile.ZipInfo(folder), b"")
        for number, name in enumerate(names):
            archive.writestr(zipfile.ZipInfo(name), png(number))
    return path


@pytest.mark.parametrize("folders", [(), ("cat/", "dog/"), ("cat\\", "dog\\")])
@pytest.mark.parametrize("more", [(), ("docs/README.txt",)])
def test_backslashes_separate_in_each_name_that_has_no_slash(tmp_path, opened, folders, more):
    names = [f"{label}\\{number}.png" for label in ("cat", "dog") for number in range(3)]
    with opened(windows_zip(tmp_path / "a.zip", [*names, *more], folders)) as source:
        labels = [candidate.label for candidate in source.candidates if candidate.file.endswith(".png")]
        assert sorted(labels) == ["cat"] * 3 + ["dog"] * 3
        assert {"cat", "dog"} == set(source.classes) - {"docs"}


def test_on_windows_backslashes_separate_beside_slashes_too(tmp_path, opened):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name, system in (("cat/day\\1.png", 0), ("dog/odd\\2.png", 3)):
            info = zipfile.ZipInfo(name)
            info.create_system = system
            archive.writestr(info, png(1))
    with opened(tmp_path / "a.zip") as source:
        assert [candidate.file for candidate in source.candidates] == ["cat/day/1.png", "dog/odd\\2.png"]


def renamed(path, old: bytes, new: bytes, flag: bool, extra: bytes = b""):
    """Write other bytes for a member's name, with or without the flag that says UTF-8."""
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo(f"{old.decode()}/1.png")
        info.extra = extra
        archive.writestr(info, png(1))
        archive.writestr("dog/1.png", png(2))
    data = bytearray(path.read_bytes().replace(old, new))
    if flag:
        for start in (data.index(b"PK\3\4") + 6, data.index(b"PK\1\2") + 8):
            data[start + 1] |= 0x08
    return write(path, data)


@pytest.mark.parametrize(
    ("new", "flag", "label"),
    [
        ("größe".encode(), True, "größe"),
        ("größe".encode(), False, "größe"),
        ("größe..".encode("cp437"), False, "größe.."),
        ("刮痕.".encode(), False, "刮痕."),
    ],
)
def test_names_in_utf_8_without_the_flag_that_says_so(tmp_path, opened, new, flag, label):
    with opened(renamed(tmp_path / "a.zip", b"x" * 7, new, flag)) as source:
        assert set(source.classes) == {label, "dog"}
        assert source.candidates[-1].read() == png(1)


@pytest.mark.parametrize("is_of_this_name", [True, False])
def test_info_zips_name_in_utf_8_counts_when_it_is_of_this_name(tmp_path, opened, is_of_this_name):
    crc = zlib.crc32(b"gr__e__/1.png" if is_of_this_name else b"another")
    field = struct.pack("<BL", 1, crc) + "größe/1.png".encode()
    extra = struct.pack("<HH", 0x7075, len(field)) + field
    with opened(renamed(tmp_path / "a.zip", b"gr__e__", b"gr__e__", False, extra)) as source:
        assert set(source.classes) == {"größe" if is_of_this_name else "gr__e__", "dog"}


def test_a_zip_with_backslashes_only_is_taken_as_meant(tmp_path, opened):
    with opened(zipped(tmp_path / "a.zip", {"hole\\0.png": png(0), "scratch\\1.png": png(1)})) as source:
        assert contents(source) == {"hole/0.png": png(0), "scratch/1.png": png(1)}


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_many_threads_read_at_once(tmp_path, opened, name):
    files = {f"hole/{number:03}.png": png(number) for number in range(100)}
    path = zipped(tmp_path / name, files) if name == "a.zip" else tarred(tmp_path / name, files, "w:gz")
    with opened(path) as source, ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda candidate: candidate.read(), source.candidates * 3)) == list(files.values()) * 3


@pytest.mark.parametrize(
    "name", ["../outside.png", "hole/../../x.png", "/etc/x.png", "C:/x.png", "\\\\host\\x.png", ".."]
)
def test_members_outside_are_refused(tmp_path, opened, name):
    files = FILES | {name: png(9)}
    for path in (zipped(tmp_path / "a.zip", files), tarred(tmp_path / "a.tar", files)):
        with pytest.raises(DataError, match=r"points outside the archive; do not trust it"), opened(path):
            pass
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.tar", "a.zip"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_tar_members_that_are_no_plain_files_are_refused(tmp_path, opened, kind):
    with pytest.raises(DataError, match=r"a\.tar has a member .* 'hole/x\.png'"):
        opened(with_member(tmp_path / "a.tar", "hole/x.png", kind)).__enter__()


def test_zip_links_and_passwords_are_refused(tmp_path, opened):
    link = zipfile.ZipInfo("hole/link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(zipped(tmp_path / "a.zip", FILES), "a") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(DataError, match="has a link"), opened(tmp_path / "a.zip"):
        pass
    data = bytearray(zipped(tmp_path / "b.zip", {"hole/0.png": png(0)}).read_bytes())
    data[data.index(b"PK\1\2") + 8] |= 1  # the central directory's flag for encryption
    with pytest.raises(DataError, match="encrypted"), opened(write(tmp_path / "b.zip", data)):
        pass


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        (Limits(num_files=2), "more than 2 files"),
        (Limits(num_bytes=100), "more than 100 bytes"),
        (Limits(ratio=50, ratio_from_bytes=1000), "over 50 times its size"),
    ],
)
@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz", "a.tar.xz"])
def test_archives_beyond_the_limits_are_refused(tmp_path, opened, bounds, message, name):
    files = FILES | {"hole/blank.bmp": bytes(2**20)}
    path = zipped(tmp_path / name, files) if name == "a.zip" else tarred(tmp_path / name, files, TAR_MODES[name])
    with pytest.raises(DataError, match=f"{message}.*unpack it yourself"), opened(path, bounds):
        pass
    with opened(path) as source:  # small archives of blank images are harmless
        assert len(source.candidates) == 4


def test_one_file_too_large_is_a_bad_image(tmp_path, opened, monkeypatch):
    monkeypatch.setattr(regular_files, "MAX_FILE_BYTES", 10)
    for path in (zipped(tmp_path / "a.zip", FILES), tarred(tmp_path / "a.tar", FILES)):
        with opened(path) as source, pytest.raises(DataError, match="over the limit"):
            source.candidates[0].read()


@pytest.mark.parametrize("name", ["a.zip", *TAR_MODES])
def test_truncated_archives_are_refused(tmp_path, opened, name):
    path = zipped(tmp_path / name, FILES) if name == "a.zip" else tarred(tmp_path / name, FILES, TAR_MODES[name])
    data = path.read_bytes()
    half = len(data.rstrip(b"\0")) - 100 if name == "a.tar" else len(data) // 2
    write(path, data[:half])
    with pytest.raises(DataError, match=rf"{name} is (damaged|not a whole).*; fetch or pack it again"), opened(path):
        pass


def test_a_damaged_member_of_a_zip_is_a_bad_image(tmp_path, opened):
    path = zipped(tmp_path / "a.zip", FILES, zipfile.ZIP_STORED)
    data = path.read_bytes()
    write(path, data.replace(png(0)[20:60], bytes(40)))
    with opened(path) as source:
        with pytest.raises(DataError, match="damaged in the archive"):
            source.candidates[0].read()
        assert source.candidates[1].read() == png(1)


def test_a_damaged_tar_header_is_not_taken_for_the_end(tmp_path, opened):
    path = tarred(tmp_path / "a.tar", FILES)
    data = bytearray(path.read_bytes())
    data[data.index(b"scratch/2.png") + 150] ^= 0xFF
    with pytest.raises(DataError, match="is damaged"), opened(write(path, data)):
        pass


@pytest.mark.parametrize("data", [b"", b"no archive", png(0), zlib.compress(b"x"), b"Rar!\x1a\x07"])
def test_other_files_are_no_archives(tmp_path, opened, data):
    with pytest.raises(DataError, match=r"a\.rar is not an archive; expected one of \.zip, "):
        opened(write(tmp_path / "a.rar", data)).__enter__()


def test_nothing_stays_in_the_scratch_folder(tmp_path, opened):
    with opened(tarred(tmp_path / "a.tar.gz", FILES, "w:gz")):
        pass
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.parametrize(("name", "expected"), [("A.ZIP", True), ("a.tar.gz", True), ("a.tgz", True), ("a.gz", False)])
def test_archive_names(name, expected):
    assert is_archive_name(name) is expected


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_file_packed_in_a_way_that_cannot_be_stopped_is_refused(tmp_path, opened, method):
    path = zipped(tmp_path / "a.zip", FILES, method)
    with (
        pytest.raises(DataError, match=rf"has a member packed by method {method}, .*; pack it again with deflate"),
        opened(path),
    ):
        pass


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_no_more_is_unpacked_than_a_member_declares(tmp_path, opened, method):
    path = zipped(tmp_path / "a.zip", {**FILES, "hole/lie.png": bytes(2**26)}, method)
    data, size = bytearray(path.read_bytes()), (2**26).to_bytes(4, "little")
    for at in (at for at in range(len(data) - 4) if data[at : at + 2] == b"PK"):
        where = {b"\3\4": 22, b"\1\2": 24}.get(bytes(data[at + 2 : at + 4]))
        if where and data[at + where : at + where + 4] == size:
            data[at + where : at + where + 4] = (10).to_bytes(4, "little")
    path.write_bytes(data)
    with opened(path) as source:
        [lie] = [candidate for candidate in source.candidates if candidate.file == "hole/lie.png"]
        tracemalloc.start()
        with pytest.raises(DataError, match="damaged in the archive"):
            lie.read()
        assert tracemalloc.get_traced_memory()[1] < 2**22
        tracemalloc.stop()


def test_an_xz_file_that_asks_for_gigabytes_is_refused(tmp_path, opened):
    path = tmp_path / "a.tar.xz"
    plain = tarred(tmp_path / "a.tar", FILES).read_bytes()
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 2**30}]
    path.write_bytes(lzma.compress(plain, filters=filters))
    with pytest.raises(DataError, match=r"damaged or cut short \(Memory usage limit exceeded\)"), opened(path):
        pass


def test_xz_streams_behind_each_other_are_one_file(tmp_path, opened):
    plain, path = tarred(tmp_path / "a.tar", FILES).read_bytes(), tmp_path / "a.tar.xz"
    path.write_bytes(lzma.compress(plain[:1000]) + lzma.compress(plain[1000:]) + bytes(8))
    with opened(path) as source:
        assert {candidate.file: candidate.read() for candidate in source.candidates} == FILES
