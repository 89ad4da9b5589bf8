"""Files of very many tiny blocks, which take minutes to walk through, are refused before they are opened."""

from collections.abc import Callable, Iterator

from stages.graft.core.errors import DataError

FREE_BLOCKS, LEAST_BYTES = 1000, 100
"""A file may have so many blocks, and one more for every so many bytes; programs write them full or nearly."""


def check_blocks(data: bytes) -> None:
    """Refuse a PNG or GIF file that is cut in too many blocks, with a DataError; others pass."""
    walk = next((walk for start, walk in _WALKS.items() if data.startswith(start)), None)
    if walk is None:
        return
    limit = FREE_BLOCKS + len(data) // LEAST_BYTES
    for number, _ in enumerate(walk(data)):
        if number >= limit:
            raise DataError(f"over {limit} blocks in {len(data)} bytes; save it again")


def _png(data: bytes) -> Iterator[int]:
    """Give the start of each chunk: its length, type, content and checksum."""
    position = 8
    while position < len(data):
        yield position
        position += 12 + int.from_bytes(data[position : position + 4])


def _gif(data: bytes) -> Iterator[int]:
    """Give the start of each part, up to the second frame: extensions, frames and their sub-blocks of 255 bytes."""
    position, num_frames = 13 + _palette(data[10:11]), 0
    while position < len(data) and num_frames < 2:
        yield position
        kind, position = data[position], position + 1
        if kind == 0x21:
            position += 1
        elif kind == 0x2C:
            num_frames += 1
            position += 10 + _palette(data[position + 8 : position + 9])
        else:
            continue
        while position < len(data) and (size := data[position]):
            yield position
            position += 1 + size
        position += 1


def _palette(flags: bytes) -> int:
    """Size of a palette, in bytes."""
    return 3 * 2 ** ((flags[0] & 7) + 1) if flags and flags[0] & 0x80 else 0


_WALKS: dict[bytes, Callable[[bytes], Iterator[int]]] = {b"\x89PNG\r\n\x1a\n": _png, b"GIF8": _gif}
