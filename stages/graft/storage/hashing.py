"""A file's SHA-256: what proves that it is the one meant."""

import hashlib
from pathlib import Path


def sha256_of(path: Path) -> str:
    """Read the whole file and give its SHA-256 as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
