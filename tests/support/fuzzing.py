"""Seeded damage to bytes and texts, and the count of what became of it, which the test run prints in the end.

`FUZZ_SEED` (a whole number) gives other damage; `FUZZ_CASES` is the number of inputs of a test.
"""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from stages.graft.core.errors import GraftError

SEED, NUM_CASES = int(os.environ.get("FUZZ_SEED", "0")), int(os.environ.get("FUZZ_CASES", "2000"))

MAX_SECONDS = 10.0
"""Processor time that one small input may take."""

MAX_LINES, MAX_LENGTH = 2, 5000
"""Of the message that refuses an input."""

SHOWN = 5
"""Faults that a failed test shows."""

MAGIC_NUMBERS = (
    b"\0",
    b"\xff",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\x80\0\0\0",
    b"\xff\xd9",
)


def generator(part: str) -> np.random.Generator:
    """Give the generator of a part of the suite: the same for the same `FUZZ_SEED`."""
    return np.random.default_rng([SEED, *part.encode()])


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """Damage a file once, in one of ten ways."""
    return _WAYS[int(rng.integers(len(_WAYS)))](bytearray(data), rng)


def mutations(originals: Sequence[bytes], part: str, num_cases: int = NUM_CASES) -> Iterator[bytes]:
    """Give so many damaged files, each with one to three damages, of all originals in turn."""
    rng = generator(part)
    for number in range(num_cases):
        data = originals[number % len(originals)]
        for _ in range(int(rng.integers(1, 4))):
            data = mutated(data, rng)
        yield data


def _flip_bits(data: bytearray, rng: np.random.Generator) -> bytes:
    for _ in range(int(rng.integers(1, 9)) if data else 0):
        data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    return bytes(data)


def _flip_early_bits(data: bytearray, rng: np.random.Generator) -> bytes:
    """In the header."""
    head, rest = data[:64], data[64:]
    return _flip_bits(head, rng) + bytes(rest)


def _random_bytes(data: bytearray, rng: np.random.Generator) -> bytes:
    start, stop = _part(data, rng, 32)
    data[start:stop] = rng.bytes(stop - start)
    return bytes(data)


def _cut(data: bytearray, rng: np.random.Generator) -> bytes:
    return bytes(data[: int(rng.integers(len(data) + 1))])


def _zeros_to_the_end(data: bytearray, rng: np.random.Generator) -> bytes:
    """As after a copy that stopped half-way."""
    start = int(rng.integers(len(data) + 1))
    return bytes(data[:start]) + bytes(len(data) - start)


def _zeros_inside(data: bytearray, rng: np.random.Generator) -> bytes:
    """A lost block."""
    start, stop = _part(data, rng, 4096)
    data[start:stop] = bytes(stop - start)
    return bytes(data)


def _removed(data: bytearray, rng: np.random.Generator) -> bytes:
    start, stop = _part(data, rng, 64)
    del data[start:stop]
    return bytes(data)


def _repeated(data: bytearray, rng: np.random.Generator) -> bytes:
    start, stop = _part(data, rng, 256)
    data[start:start] = data[start:stop] * int(rng.integers(1, 20))
    return bytes(data)


def _magic_number(data: bytearray, rng: np.random.Generator) -> bytes:
    """An extreme length or size in a header."""
    number = MAGIC_NUMBERS[int(rng.integers(len(MAGIC_NUMBERS)))]
    start = int(rng.integers(min(len(data), 256) + 1))
    data[start : start + len(number)] = number
    return bytes(data)


def _swapped(data: bytearray, rng: np.random.Generator) -> bytes:
    """Two parts in each other's place."""
    middle = int(rng.integers(len(data) + 1))
    return bytes(data[middle:] + data[:middle]) if rng.random() < 0.1 else bytes(data[:middle] + data[middle // 2 :])


_WAYS: Sequence[Callable[[bytearray, np.random.Generator], bytes]] = (
    _flip_bits, _flip_early_bits, _random_bytes, _cut, _zeros_to_the_end, _zeros_inside, _removed, _repeated,
    _magic_number, _swapped,
)  # fmt: skip


def _part(data: bytearray, rng: np.random.Generator, longest: int) -> tuple[int, int]:
    start = int(rng.integers(len(data) + 1))
    return start, min(len(data), start + 1 + int(rng.integers(longest)))


@dataclass(frozen=True, kw_only=True)
class Attack:
    """One test of the suite: inputs are tried, and what becomes of them is counted."""

    folder: Path
    """Where inputs are kept that make trouble."""
    properties: list[tuple[str, object]]
    """Of the test, which the end of the run shows."""
    counts: Counter[str] = field(default_factory=Counter)
    """Inputs tried, taken (an answer came) and refused (in one or two lines)."""

    def __call__(
        self, part: str, inputs: Iterable[Any], call: Callable[[Any], object], refusal: type[Exception] = GraftError
    ) -> None:
        """Call with every input; each is taken, or refused by `refusal` with a message for people, in little time."""
        faults = [
            fault for number, given in enumerate(inputs) if (fault := self._try(part, number, given, call, refusal))
        ]
        counts = ", ".join(f"{self.counts[name]} {name}" for name in ("tried", "taken", "refused"))
        self.properties.append(("fuzz", f"{part}: {counts}, {len(faults)} faults"))
        assert not faults, f"{len(faults)} faults (seed {SEED})\n" + "\n".join(faults[:SHOWN])

    def _try(
        self, part: str, number: int, given: Any, call: Callable[[Any], object], refusal: type[Exception]
    ) -> str | None:
        self.counts["tried"] += 1
        start, outcome, fault = time.thread_time(), "taken", None
        try:
            call(given)
        except refusal as error:
            outcome, fault = "refused", _unfit(str(error))
        except Exception as error:  # the very thing that is looked for
            outcome, fault = "fault", f"{type(error).__name__}: {error}"
        self.counts[outcome] += 1
        seconds = time.thread_time() - start
        fault = fault or (f"takes {seconds:.1f} s" if seconds > MAX_SECONDS else None)
        return fault and f"{self._kept(part, number, given)}: {fault}"

    def _kept(self, part: str, number: int, given: Any) -> Path:
        """Write an input to a file."""
        path = self.folder / f"{part.replace(' ', '_')}-{number}.bin"
        path.write_bytes(given if isinstance(given, bytes) else repr(given).encode("utf-8", "backslashreplace"))
        return path


def _unfit(message: str) -> str | None:
    """Say what is wrong with a message for people; None when it can be shown."""
    lines = message.splitlines()
    if not message or len(lines) > MAX_LINES or len(message) > MAX_LENGTH:
        return f"a message of {len(lines)} lines and {len(message)} characters: {message[:200]!r}"
    if not all(line.isprintable() for line in lines):
        return f"a message that no terminal should be sent: {message[:200]!r}"
    return None
