"""When the agent looks again, in seconds of the monotonic clock.

However many notices come, metadata is refreshed at most once in `refresh_interval_min_s`.
"""

from datetime import datetime
from typing import TYPE_CHECKING, Final, Protocol

from agent.backoff import full_jitter
from agent.basics import TimingSettings
from agent.rest import FAILURES_MAX, Memory

if TYPE_CHECKING:  # a glance has no time for all of the seams
    from agent.interfaces import Random

SPREAD: Final = 0.1
"""The part of the regular interval by which devices drift apart."""

HOLD_SPREAD_S_MAX: Final = 900.0


class Monotonic(Protocol):
    """The part of a `Clock` that an agenda goes by."""

    def monotonic_s(self) -> float:
        """Seconds of this boot."""
        ...


class Agenda:
    """The next check, and the next try of an update that is under way."""

    def __init__(self, clock: Monotonic, random: "Random", timing: TimingSettings) -> None:
        self._clock = clock
        self._random = random
        self._timing = timing
        self._checked_s: float | None = None
        self._failures = 0
        self._check_due_s = 0.0
        self._step_due_s = 0.0

    def start(self) -> None:
        """After a boot: look soon, but not as one with every device that the power came back to."""
        now = self._clock.monotonic_s()
        self._check_due_s = now + self._random.uniform(0.0, self._timing.refresh_interval_min_s)
        self._step_due_s = now

    def recall(self, memory: Memory) -> None:
        """After a rest in the same boot: go on as if there had been none."""
        self._check_due_s = memory.check_due_ms / 1000
        self._checked_s = memory.checked_ms / 1000 if memory.checked_ms >= 0 else None
        self._failures = memory.failures
        self._step_due_s = self._clock.monotonic_s()

    def memory(self, boot_id: str, detail: str) -> Memory:
        """What to remember over a rest."""
        return Memory(
            boot_id=boot_id,
            check_due_ms=max(0, int(self._check_due_s * 1000)),
            checked_ms=-1 if self._checked_s is None else int(self._checked_s * 1000),
            failures=min(self._failures, FAILURES_MAX),
            detail=detail,
        )

    def check_is_due(self) -> bool:
        """Whether it is time to refresh and decide."""
        return self._clock.monotonic_s() >= self._check_due_s

    def step_is_due(self) -> bool:
        """Whether it is time to go on with the update."""
        return self._clock.monotonic_s() >= self._step_due_s

    def wait_s(self, *, updating: bool) -> float:
        """How long there is nothing to do but listen."""
        due = self._step_due_s if updating else self._check_due_s
        return max(0.0, due - self._clock.monotonic_s())

    def noticed(self, spread_s: int) -> None:
        """Somebody says: look again. It may bring the next check forward, never push it back."""
        wish = self._clock.monotonic_s() + self._random.uniform(0.0, spread_s)
        self._check_due_s = min(self._check_due_s, max(wish, self._earliest_s()))

    def hurry(self) -> None:
        """Someone at the device asks for a check now."""
        self._check_due_s = self._clock.monotonic_s()

    def checking(self) -> None:
        """A check begins: the interval to the next one runs from here."""
        self._checked_s = self._clock.monotonic_s()

    def checked(self, *, now: datetime, until: datetime | None) -> None:
        """A check ended well: look again at the regular time, or at `until` if that comes before."""
        self._failures = 0
        interval_s = self._timing.check_every_s * self._random.uniform(1.0 - SPREAD, 1.0 + SPREAD)
        if until is not None:
            interval_s = min(interval_s, max(0.0, (until - now).total_seconds()))
        self._check_due_s = max(self._clock.monotonic_s() + interval_s, self._earliest_s())
        self._step_due_s = self._clock.monotonic_s()

    def failed(self) -> None:
        """A check or a step failed in a way that time may mend."""
        pause_s = full_jitter(self._random, self._failures, self._timing.retry_max_s)
        self._failures += 1
        self._step_due_s = self._clock.monotonic_s() + pause_s
        self._check_due_s = max(self._step_due_s, self._earliest_s())

    def hold(self, again_s: float) -> None:
        """The owner's limits hold the update up: go on after so long, not all devices at once."""
        spread_s = min(again_s * SPREAD, HOLD_SPREAD_S_MAX)
        self._step_due_s = self._clock.monotonic_s() + again_s + self._random.uniform(0.0, spread_s)

    def refused(self) -> None:
        """A check failed in a way that time does not mend: the regular time, unless a notice comes."""
        interval_s = self._timing.check_every_s * self._random.uniform(1.0 - SPREAD, 1.0 + SPREAD)
        self._check_due_s = max(self._clock.monotonic_s() + interval_s, self._earliest_s())

    def succeeded(self) -> None:
        """A step of the update was done: the next one may follow at once."""
        self._failures = 0
        self._step_due_s = self._clock.monotonic_s()

    def _earliest_s(self) -> float:
        if self._checked_s is None:
            return 0.0
        return self._checked_s + self._timing.refresh_interval_min_s
