"""A folder packed in a zip or tar file, read member by member; nothing is ever written under a member's name."""

import bz2
import gzip
import io
import lzma
import stat
import struct
import tarfile
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO, Any

from stages.graft.core.errors import DataError, one_line
from stages.graft.core.memory import FILES, take
from stages.graft.data.candidates import Contents, FoundFile, with_slashes
from stages.graft.data.limits import FETCH_AGAIN, LIMITS, Guard, Limits
from stages.graft.storage.regular_files import check_size

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2")

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""The ways to pack a member of a zip file that stop where they are told to; others unpack a whole block first."""

_XZ_BYTES = 2**28
"""Memory that unpacking xz may take: enough for `xz -9` (64 MiB)."""

_UTF_8_FLAG = 0x800
_UNICODE_PATH = 0x7075
"""Id of Info-ZIP's extra field with a member's name in UTF-8."""


class _Xz(io.RawIOBase):
    """An xz file, unpacked in bounded memory: its header says how much is needed, up to 4 GiB."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._unpacker = file, _unpacker()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Unpack some bytes; streams behind each other, with zeros between, are one file."""
        data = b""
        while not data:
            packed = self._file.read(2**16) if self._unpacker.needs_input or self._unpacker.eof else b""
            if self._unpacker.eof:
                packed = (self._unpacker.unused_data + packed).lstrip(b"\0")
                if not packed:
                    break
                self._unpacker = _unpacker()
            elif self._unpacker.needs_input and not packed:
                raise EOFError("it ends before its end mark")
            data = self._unpacker.decompress(packed, len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _unpacker() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_BYTES)


_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_PACKED_TAR: dict[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"\xfd7zXZ\x00": _Xz,
    b"BZh": bz2.open,
}


class SharedFile:
    """A file that many threads read from."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._lock = threading.Lock()

    def read(self, offset: int, size: int) -> bytes:
        """Read `size` bytes from `offset` on.

        Raises:
            DataError: too large, or the file ends before; the message is the reason alone.
        """
        check_size(size)
        take(FILES, size)
        with self._lock:
            self._file.seek(offset)
            data = self._file.read(size)
        if len(data) < size:
            raise DataError("cut short in the archive")
        return data


def is_archive_name(name: str) -> bool:
    """Say whether a file name is that of an archive."""
    return name.lower().endswith(ARCHIVE_SUFFIXES)


@contextmanager
def open_archive(path: Path, name: str, scratch: Path, limits: Limits = LIMITS) -> Iterator[Contents]:
    """Open a zip or tar file; its files can be read as long as it is open.

    Args:
        path: a zip file, or a tar file, plain or packed with gzip, xz or bzip2, whatever its suffix says.
        name: of the source, for messages.
        scratch: folder for a nameless temporary file that a packed tar file is unpacked to in one piece.
        limits: what it may hold.
    Raises:
        DataError: it is no such archive, is damaged, beyond the limits, or has links or members that lead out of it.
    """
    guard = Guard(path, name, limits)
    with ExitStack() as stack:
        file = stack.enter_context(path.open("rb"))
        magic = file.read(6)
        file.seek(0)
        if magic.startswith(_ZIP):
            contents = _zip_contents(stack.enter_context(_opened_zip(file, guard)), guard)
        elif opener := next((opener for prefix, opener in _PACKED_TAR.items() if magic.startswith(prefix)), None):
            scratch.mkdir(parents=True, exist_ok=True)
            tar = stack.enter_context(tempfile.TemporaryFile(dir=scratch))
            _unpack(stack.enter_context(opener(file)), tar, guard)
            contents = _tar_contents(tar, guard)
        else:
            contents = _tar_contents(file, guard)
        yield contents


def _opened_zip(file: IO[bytes], guard: Guard) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
        guard.refuse(f"is not a whole zip file ({error})", FETCH_AGAIN)


def _zip_contents(archive: zipfile.ZipFile, guard: Guard) -> Contents:
    files, folders = list[FoundFile](), []
    for info in archive.infolist():
        written = member_name(info)
        name = guard.clean_name(written)
        guard.count(info.file_size)
        if stat.S_ISLNK(info.external_attr >> 16):
            guard.refuse(f"has a link, {name!r}", "pack it again with the files themselves")
        if info.compress_type not in _METHODS:
            guard.refuse(f"has a member packed by method {info.compress_type}, {name!r}", "pack it again with deflate")
        if info.flag_bits & 1:
            guard.refuse(f"has an encrypted member, {name!r}", "pack it again without a password")
        if written.endswith("/"):
            folders.append(name)
        else:
            files.append(FoundFile(file=name, read=partial(_read_zipped, archive, info)))
    return Contents(files=files, folders=folders)


def member_name(info: zipfile.ZipInfo) -> str:
    """Give a member's path with forward slashes, in the encoding that it was written in as far as that is known.

    The format says UTF-8 with a flag, else the IBM code page 437. Many tools write UTF-8 without the flag; Info-ZIP
    adds the name in UTF-8. On Windows (system 0) and without any slash, a backslash separates folders.

    Source: PKWARE, APPNOTE.TXT, 4.4.17 and 4.6.9.
    """
    name = info.filename
    if not info.flag_bits & _UTF_8_FLAG:
        raw = info.orig_filename.encode("cp437", "replace")
        with suppress(UnicodeDecodeError):
            name = (_unicode_path(info.extra, raw) or raw.decode("utf-8")).split("\0")[0]
    return name.replace("\\", "/") if info.create_system == 0 else with_slashes(name)


def _unicode_path(extra: bytes, raw: bytes) -> str | None:
    """Read Info-ZIP's field: a version, the CRC-32 of the name that it stands for, the name."""
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        field, extra = extra[4 : 4 + size], extra[4 + size :]
        if kind == _UNICODE_PATH and field[:5] == struct.pack("<BL", 1, zlib.crc32(raw)):
            return field[5:].decode("utf-8")
    return None


def _read_zipped(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    check_size(info.file_size)
    take(FILES, info.file_size)
    try:
        with archive.open(info) as member:
            return member.read(info.file_size + 1)  # unpacks no more than this; the end checks the CRC
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, ValueError) as error:
        raise DataError(f"damaged in the archive: {one_line(error)}") from None


def _unpack(packed: IO[bytes], tar: IO[bytes], guard: Guard) -> None:
    try:
        while block := packed.read(2**20):
            guard.check_bytes(tar.tell() + len(block))
            tar.write(block)
    except (EOFError, zlib.error, lzma.LZMAError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # a full disk, not a damaged archive
        guard.refuse(f"is damaged or cut short ({error})", FETCH_AGAIN)
    tar.seek(0)


def _tar_contents(file: IO[bytes], guard: Guard) -> Contents:
    if not tarfile.is_tarfile(file):
        guard.refuse("is not an archive", f"expected one of {', '.join(ARCHIVE_SUFFIXES)}")
    file.seek(0)
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            contents = _tar_members(archive, SharedFile(file), guard)
    except (tarfile.TarError, EOFError, ValueError, RecursionError) as error:
        guard.refuse(f"is damaged or cut short ({error})", FETCH_AGAIN)
    file.seek(archive.offset)
    if file.read(tarfile.BLOCKSIZE).strip(b"\0"):  # tarfile takes a damaged header for the end
        guard.refuse(f"is damaged at byte {archive.offset}", FETCH_AGAIN)
    return contents


def _tar_members(archive: tarfile.TarFile, shared: SharedFile, guard: Guard) -> Contents:
    files, folders = list[FoundFile](), []
    while info := archive.next():
        archive.members = []  # type: ignore[attr-defined]  # else they pile up
        name = guard.clean_name(with_slashes(info.name))
        guard.count(info.size)
        if info.isdir():
            folders.append(name)
        elif info.isreg() and not info.issparse():
            files.append(FoundFile(file=name, read=partial(shared.read, info.offset_data, info.size)))
        else:
            kind = "a link" if info.issym() or info.islnk() else "not a plain file"
            advice = "pack the files themselves, with tar's options --dereference --hard-dereference"
            guard.refuse(f"has a member that is {kind}, {name!r}", advice)
    return Contents(files=files, folders=folders)
