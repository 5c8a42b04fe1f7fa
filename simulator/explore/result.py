"""What an exploration finds: how far it came, what it counted, and how each broken promise comes about."""

from collections.abc import Callable
from dataclasses import dataclass, field

from simulator.explore.watch import Violation


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one search is; `waiting` states are known and not recovered from yet."""

    configuration: str
    crash_states: int
    distinct: int
    visited: int
    waiting: int
    finished: bool = False


Tell = Callable[[Progress], None]


def unheard(_progress: Progress) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class Cut:
    """How a boot came about: from which one, at which of its operations, and what that left."""

    parent: int
    operation: int
    told: str
    leaves: str


@dataclass(frozen=True, slots=True)
class Broken:
    """A violation, and the chain of cuts that leads there."""

    violation: Violation
    chain: tuple[Cut, ...]


@dataclass(slots=True)
class Result:
    """What one configuration showed.

    `distinct` counts durable states and `boots` the boots that were run from them and behind them: each
    is run once, however many ways lead to it. `chip_cuts` are boots in which only a chip lost its power.
    Of the `merged` states, which were found and not run, some have `other_bytes` than what was run; of these
    `audited` were run after all, and `different` ones went another way.
    """

    board: str
    scenario: str
    operations: int = 0
    crash_states: int = 0
    distinct: int = 0
    boots: int = 0
    chip_cuts: int = 0
    deepest: int = 0
    boots_max: int = 0
    replaced_max: int = 0
    closed: bool = False
    duration_s: float = 0.0
    lost_trials: int = 0
    merged: int = 0
    audited: int = 0
    other_bytes: int = 0
    different: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    broken: list[Broken] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether everything was seen and nothing was broken."""
        return self.closed and not self.broken
