"""The power of one simulated device: it counts every durable effect and can fail at any of them.

A simulated seam wraps each effect:

    with self._power.operation("Files.replace", name) as effect:
        ...  # everything, or with `effect.torn` only a part of it

The cut is raised by the call itself (before) or on exit (torn, after; at the next operation when the
seam did not use `with`). From then on the machine is dead, and an
effect of code that was not stopped by the cut is a `ZombieWriteError`, until `restore()`.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from random import Random as Generator
from types import TracebackType
from typing import Protocol, Self


class PowerCut(BaseException):
    """The power failed. No `Exception`: nothing above the simulated seams may catch it."""


class ZombieWriteError(AssertionError):
    """Something had a durable effect after the power was gone."""


class Moment(StrEnum):
    """When the power fails, as seen from one operation."""

    BEFORE = "before"
    TORN = "torn"
    AFTER = "after"


@dataclass(frozen=True, slots=True)
class Operation:
    """One durable effect; numbers start at 1 and go on through power cuts."""

    number: int
    name: str
    detail: str


class PowerLoss(Protocol):
    """A part that forgets something when the power is gone."""

    def lose_power(self, chance: Generator) -> None:
        """Forget what is volatile; `chance` decides what of it had become durable already."""
        ...


@dataclass(slots=True)
class Effect:
    """One operation under way; `torn` asks the seam to do only a part of it."""

    power: "Power"
    moment: Moment | None

    @property
    def torn(self) -> bool:
        """Whether only a part of the effect may reach the medium."""
        return self.moment is Moment.TORN

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.moment is not None:
            self.power.fail()


@dataclass(frozen=True, slots=True)
class _Plan:
    moment: Moment
    number: int | None = None
    name: str | None = None
    occurrence: int = 1


@dataclass(slots=True)
class Power:
    """Counts operations and fails as planned; the same seed loses the same un-flushed writes.

    `history` collects the operations when it is set to a list.
    """

    seed: int = 0
    history: list[Operation] | None = None
    number: int = 0
    cuts: int = 0
    on: bool = True
    last: Operation | None = None
    _plan: _Plan | None = None
    _owed: bool = False
    _parts: list[PowerLoss] = field(default_factory=list)

    def attach(self, part: PowerLoss) -> None:
        """Tell this part of every power cut, when the power comes back."""
        self._parts.append(part)

    def cut_at(self, number: int, moment: Moment) -> None:
        """Fail at the operation of this number; replaces an earlier plan."""
        self._plan = _Plan(moment, number=number)

    def cut_at_name(self, name: str, occurrence: int, moment: Moment) -> None:
        """Fail at so many operations of this name from now, 1 for the next; replaces a plan."""
        self._plan = _Plan(moment, name=name, occurrence=occurrence)

    def keep_on(self) -> None:
        """Forget the plan."""
        self._plan = None

    def operation(self, name: str, detail: str = "") -> Effect:
        """Announce an effect before any of it happens. Raises `PowerCut`, `ZombieWriteError`."""
        if not self.on:
            raise ZombieWriteError(f"{name} {detail} after the power was gone")
        if self._owed:
            self.fail()
        self.number += 1
        self.last = Operation(self.number, name, detail)
        if self.history is not None:
            self.history.append(self.last)
        moment = self._due(name)
        if moment is Moment.BEFORE:
            self.fail()
        self._owed = moment is not None
        return Effect(self, moment)

    def switch_off(self) -> None:
        """The power goes while nothing is under way; nobody is there to be interrupted."""
        if self.on:
            self.on = False
            self.cuts += 1
            self._owed = False
            self._plan = None

    def fail(self) -> None:
        """The power goes here and now: always raises `PowerCut`."""
        self.switch_off()
        raise PowerCut(f"at {self.last}")

    def restore(self) -> None:
        """The power is back: the parts forget what was volatile, and effects are possible again."""
        self.switch_off()
        for place, part in enumerate(self._parts):
            chance = Generator(f"{self.seed}/{self.cuts}/{place}")  # noqa: S311  # repeatable
            part.lose_power(chance)
        self.on = True

    def _due(self, name: str) -> Moment | None:
        plan = self._plan
        if plan is None:
            return None
        if plan.number is not None:
            due = plan.number == self.number
        elif plan.name == name:
            due = plan.occurrence == 1
            self._plan = _Plan(plan.moment, name=name, occurrence=plan.occurrence - 1)
        else:
            due = False
        return plan.moment if due else None
