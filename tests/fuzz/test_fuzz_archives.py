"""Damaged and lying archives: refused in a line, or read within their limits."""

import struct
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest

from stages.graft.core.errors import DataError
from stages.graft.data.open_source import open_source
from tests.graft.data.test_archive import FILES, TAR_MODES, tarred, zipped
from tests.support.fuzzing import NUM_CASES, generator, mutations

pytestmark = pytest.mark.fuzz


def originals(folder: Path) -> list[bytes]:
    zips = [zipped(folder / f"{method}.zip", FILES, method) for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)]
    tars = [tarred(folder / name, FILES, mode) for name, mode in TAR_MODES.items()]
    return [path.read_bytes() for path in (*zips, *tars)]


@pytest.fixture
def read_all(tmp_path):
    """Open an archive as a source, and read every candidate."""

    def read(data: bytes) -> None:
        path = tmp_path / "source.zip"
        path.write_bytes(data)
        with open_source(path, tmp_path / "cache") as source:
            for candidate in source.candidates:
                with suppress(DataError):
                    candidate.read()

    return read


def test_damaged_archives(attack, read_all, tmp_path):
    attack("archives", mutations(originals(tmp_path), "archives", 5 * NUM_CASES), read_all)


def test_zip_files_whose_numbers_lie(attack, read_all, tmp_path):
    data = zipped(tmp_path / "a.zip", FILES).read_bytes()
    attack("zip numbers", _lies(data), read_all)


def _lies(data: bytes):
    """Other numbers in the headers of members: method, sizes, offsets, counts."""
    rng, places = generator("zip numbers"), [at for at in range(len(data)) if data[at : at + 2] == b"PK"]
    for _ in range(4 * NUM_CASES):
        changed = bytearray(data)
        for _ in range(int(rng.integers(1, 4))):
            at = places[int(rng.integers(len(places)))] + 4 + 2 * int(rng.integers(20))
            number = int(rng.choice([0, 1, 8, 9, 12, 14, 93, 255, 2**15, 2**16 - 1]))
            changed[at : at + 2] = struct.pack("<H", number)
        yield bytes(changed[: len(data)])
