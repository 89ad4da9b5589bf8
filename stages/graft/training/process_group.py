"""The processes of a training: one alone, or several that share the parts of every step.

A step's gradient is the sum of its parts' gradients, always added in the order of the parts: process groups of any size
give the same bits.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

from torch import nn

Part = TypeVar("Part")
Result = TypeVar("Result")


class ProcessGroup(Protocol):
    """Processes that train one network together; each has a copy of it."""

    @property
    def rank(self) -> int:
        """Number of this process, counted from 0."""

    @property
    def size(self) -> int:
        """Number of processes."""

    def compute_parts(
        self, parameters: Iterable[nn.Parameter], parts: Sequence[Part], compute: Callable[[Part], Result]
    ) -> list[Result]:
        """Compute all parts of a step, each in one of the processes, and sum their gradients.

        Args:
            parameters: trained parameters, without gradients; at the end they have the sum, in every process.
            parts: parts of the step, in order.
            compute: adds the gradients of a part to those of the parameters.
        Returns:
            The result of each part, in order.
        """

    def gather(self, value: Result) -> list[Result]:
        """Collect one value from every process, in order of rank."""


class SingleProcess:
    """One process, which computes all parts."""

    rank, size = 0, 1

    def compute_parts(
        self, parameters: Iterable[nn.Parameter], parts: Sequence[Part], compute: Callable[[Part], Result]
    ) -> list[Result]:
        """As `ProcessGroup.compute_parts`."""
        return [compute(part) for part in parts]

    def gather(self, value: Result) -> list[Result]:
        """As `ProcessGroup.gather`."""
        return [value]


SINGLE_PROCESS: ProcessGroup = SingleProcess()
