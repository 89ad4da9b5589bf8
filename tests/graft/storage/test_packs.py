"""Packs of files: the same bytes for the same files, few packs touched by a change, one file read from any thread."""

import hashlib
import os
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest

from stages.graft.core.errors import DataError
from stages.graft.storage import packs
from stages.graft.storage.packs import INDEX, PackIndex, PackWriter, WaitingFile, has_packs


def files(*numbers, num_bytes=20):
    """Different files by number."""
    return [hashlib.sha512(str(number).encode()).digest()[:num_bytes] * (num_bytes // 64 + 1) for number in numbers]


def id_of(data):
    return hashlib.sha256(data).hexdigest()


def pack(folder, contents, remove=()):
    """Pack files in their order; remove some."""
    folder.mkdir()
    with PackWriter(folder) as writer:
        for data in contents:
            writer.add(WaitingFile.of(id_of(data), f"{id_of(data)}.bin", data, folder))
        writer.remove(map(id_of, remove))
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def zips(packed):
    return {name: data for name, data in packed.items() if name != INDEX}


@pytest.fixture
def small(monkeypatch):
    """Packs of eight files or 4,000 bytes."""
    monkeypatch.setattr(packs, "FILES_PER_PACK", 8)
    monkeypatch.setattr(packs, "BYTES_PER_PACK", 4000)


def read(folder, data):
    return PackIndex(folder).find(id_of(data), f"{id_of(data)}.bin").read()


def test_every_file_is_found_and_any_zip_program_opens_the_packs(tmp_path, small):
    contents = [*files(*range(60)), *files(60, 61, num_bytes=9000)]
    made = pack(tmp_path / "images", contents)
    assert [read(tmp_path / "images", data) for data in contents] == contents
    assert 4 < len(zips(made)) < 20
    inside = {}
    for name in zips(made):
        with zipfile.ZipFile(tmp_path / "images" / name) as archive:
            assert archive.testzip() is None
            inside |= {one: archive.read(one) for one in archive.namelist()}
    assert inside == {f"{id_of(data)}.bin": data for data in contents}


def test_bytes_are_those_of_a_zip_file_without_compression_and_times(tmp_path):
    [made] = zips(pack(tmp_path / "images", [b"one", b"two"])).values()
    with zipfile.ZipFile(tmp_path / "expected.zip", "w") as archive:
        for data in (b"one", b"two"):
            info = zipfile.ZipInfo(f"{id_of(data)}.bin")  # of 1 January 1980
            info.external_attr, info.create_system = 0o100644 << 16, 3
            archive.writestr(info, data)
    assert made == (tmp_path / "expected.zip").read_bytes()


def test_the_same_files_give_the_same_bytes_and_a_file_is_packed_once(tmp_path, small):
    contents = files(*range(40))
    assert pack(tmp_path / "a", contents) == pack(tmp_path / "b", [*contents, contents[3]])


@pytest.mark.parametrize("place", [0, 17, 40])
def test_new_files_in_one_place_change_the_pack_there_alone(tmp_path, small, place):
    contents = files(*range(40))
    before = zips(pack(tmp_path / "before", contents))
    new = files(*range(100, 103))
    after = zips(pack(tmp_path / "after", [*contents[:place], *new, *contents[place:]]))
    assert len(before.items() - after.items()) <= 1
    without = zips(pack(tmp_path / "without", [*contents[:17], *contents[18:]]))
    assert len(before.items() - without.items()) <= 2  # the file may have ended a pack


def test_packs_grow_with_the_files_until_they_are_large(tmp_path, small):
    contents = files(*range(30), num_bytes=3000)
    made = zips(pack(tmp_path / "images", contents))
    assert 15 <= len(made) <= 30  # 4,000 bytes a pack


def test_a_pack_that_is_full_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(packs, "MAX_FILES", 5)
    assert len(zips(pack(tmp_path / "images", files(*range(20))))) >= 4


def test_removed_files_leave_no_bytes(tmp_path, small):
    contents = files(*range(40))
    gone = [contents[0], contents[11], contents[39]]
    made = pack(tmp_path / "images", contents, remove=gone)
    kept = [data for data in contents if data not in gone]
    assert [read(tmp_path / "images", data) for data in kept] == kept
    assert not any(data in packed for data in gone for packed in made.values())
    with pytest.raises(DataError, match=r"index.csv does not have [0-9a-f]{64}\.bin"):
        read(tmp_path / "images", gone[0])
    assert list(pack(tmp_path / "none", contents, remove=contents)) == [INDEX]


def test_large_files_wait_on_disk_and_leave_nothing_there(tmp_path, monkeypatch):
    monkeypatch.setattr(packs, "WAITING_BYTES", 100)
    contents = files(1, 2, num_bytes=500)
    waiting = WaitingFile.of("0" * 64, "0.bin", contents[0], tmp_path)
    assert waiting.content.read_bytes() == contents[0]
    assert list(zips(pack(tmp_path / "images", [*contents, *contents]))) == [f"{id_of(contents[0])[:16]}.zip"]
    assert [read(tmp_path / "images", data) for data in contents] == contents


def test_many_threads_read_at_once(tmp_path, small):
    contents = files(*range(50)) * 20
    pack(tmp_path / "images", contents)
    index = PackIndex(tmp_path / "images")
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda data: index.find(id_of(data), f"{id_of(data)}.bin").read(), contents)) == contents


def test_a_damaged_pack_is_named(tmp_path):
    [data] = files(1)
    [name, _] = pack(tmp_path / "images", [data])
    file = PackIndex(tmp_path / "images").find(id_of(data), f"{id_of(data)}.bin")
    assert str(file) == f"{tmp_path}/images/{name}/{id_of(data)}.bin"
    path = tmp_path / "images" / name
    path.write_bytes(b"x" + path.read_bytes()[:-1])
    with pytest.raises(DataError, match=rf"^{name} is damaged, or index.csv beside it is of other packs$"):
        file.read()
    os.truncate(path, 60)
    with pytest.raises(DataError, match="is damaged"):
        file.read()
    path.unlink()
    with pytest.raises(FileNotFoundError):
        file.read()


def test_a_folder_without_an_index_has_no_packs(tmp_path):
    assert not has_packs(tmp_path)
    (tmp_path / INDEX).write_bytes(b"\xff")
    assert has_packs(tmp_path)
    with pytest.raises(DataError, match=r"index.csv cannot be read"):
        PackIndex(tmp_path)
