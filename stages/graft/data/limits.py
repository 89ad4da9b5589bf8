"""Limits of an archive: plain files inside it, not too many, not too large, and no archive bombs."""

from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from stages.graft.core.errors import DataError
from stages.graft.data.candidates import readable_name

FETCH_AGAIN = "fetch or pack it again"
UNPACK_IT = "if you trust it, unpack it yourself and point the source at the folder"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds against archives made to fill disk or memory."""

    num_bytes: int = 2**38
    """All files together, unpacked (256 GiB)."""
    num_files: int = 5_000_000
    """Files and folders."""
    ratio: float = 200
    """Bytes unpacked for one byte packed; counts from `ratio_from_bytes` on."""
    ratio_from_bytes: int = 2**28
    """A small archive of blank images packs well and does no harm (256 MiB)."""


LIMITS = Limits()
"""The usual limits."""


class Guard:
    """Counts what an archive holds; refuses members that do not belong in one and archives beyond the limits."""

    def __init__(self, path: Path, name: str, limits: Limits) -> None:
        """Start counting; `name` is that of the source, for messages."""
        self.name, self.limits = name, limits
        self._packed = max(path.stat().st_size, 1)
        self._num_files = self._num_bytes = 0

    def refuse(self, problem: str, advice: str) -> NoReturn:
        """Refuse the archive, with a DataError."""
        raise DataError(f"{self.name} {problem}; {advice}")

    def clean_name(self, name: str) -> str:
        """Give a member's path without `./` and a closing slash; refuse one that leads out of the archive."""
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if name.startswith(("/", "\\")) or ".." in parts or name[1:3] in (":/", ":\\"):
            self.refuse(f"has a member {name!r} that points outside the archive", "do not trust it")
        return readable_name("/".join(parts))

    def count(self, size: int) -> None:
        """Count one more member of `size` bytes."""
        self._num_files += 1
        if self._num_files > self.limits.num_files:
            self.refuse(f"holds more than {self.limits.num_files} files", UNPACK_IT)
        self._num_bytes += size
        self.check_bytes(self._num_bytes)

    def check_bytes(self, unpacked: int) -> None:
        """Refuse too many bytes, or too many for the size of the archive."""
        if unpacked > self.limits.num_bytes:
            self.refuse(f"unpacks to more than {self.limits.num_bytes} bytes", UNPACK_IT)
        if unpacked > max(self.limits.ratio * self._packed, self.limits.ratio_from_bytes):
            self.refuse(f"unpacks to over {self.limits.ratio:g} times its size, as an archive bomb does", UNPACK_IT)
