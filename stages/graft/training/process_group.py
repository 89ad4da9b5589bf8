"""Who computes a training step: one process, or several that share its parts and add them up in the same order.

A step's gradient is the sum of its parts' gradients, added up in the order of the parts whoever computed them: a team
of any size gives the same bits.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

from torch import nn

Part = TypeVar("Part")
Result = TypeVar("Result")


class ProcessGroup(Protocol):
    """Processes that train one network together, each with a copy of it."""

    @property
    def rank(self) -> int:
        """This process's number, from 0."""

    @property
    def size(self) -> int:
        """How many there are."""

    def add_up(
        self, parameters: Iterable[nn.Parameter], parts: Sequence[Part], compute: Callable[[Part], Result]
    ) -> list[Result]:
        """Compute all parts of a step, each somewhere.

        Args:
            parameters: those that are trained, without gradients.
            parts: of the step, in order.
            compute: adds a part's gradients to those of the parameters.
        Returns:
            The result of each part; the sum of the gradients is left with the parameters of every process.
        """

    def gather(self, mine: Result) -> list[Result]:
        """Give what every process has, by rank."""


class SingleProcess:
    """One process: gradients pile up."""

    rank, size = 0, 1

    def add_up(
        self, parameters: Iterable[nn.Parameter], parts: Sequence[Part], compute: Callable[[Part], Result]
    ) -> list[Result]:
        """As `Team.add_up`."""
        return [compute(part) for part in parts]

    def gather(self, mine: Result) -> list[Result]:
        """As `Team.gather`."""
        return [mine]


SINGLE_PROCESS: ProcessGroup = SingleProcess()
