"""Virtual time: it passes only when someone waits, and never waits for real.

Everything in one simulated world shares one clock, so a day of polling takes milliseconds and two runs
with the same seed see the same dates. `at` puts an action of the outside world (a notice, a halt, the
network coming back) at a moment of it.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from agent.interfaces import WallTime

START: Final = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
"""When a simulated world begins, unless it is told otherwise."""
NO_BATTERY: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class SimulatedClock:
    """One world's time, and what this board's own clock makes of it.

    A board with `battery` keeps the date through a power cut; one without wakes in 1970, and
    `synchronise_after_s` seconds after each boot it has learned the date from the network (None:
    never). `drift` is how many seconds the board's date gains per second.
    """

    start: datetime = START
    battery: bool = True
    synchronise_after_s: float | None = 0.0
    drift: float = 0.0
    now_s: float = 0.0
    _booted_s: float = 0.0
    _jumped: timedelta = timedelta()
    _actions: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _action_count: int = 0

    def monotonic_s(self) -> float:
        """Seconds since the world began; it goes on through reboots."""
        return self.now_s

    def wall(self) -> WallTime:
        """What the board believes, which may be wrong until it is synchronised."""
        up_s = self.now_s - self._booted_s
        if self.synchronise_after_s is not None and up_s >= self.synchronise_after_s:
            return WallTime(utc=self.true_time() + self._jumped, synchronised=True)
        if self.battery:
            drifted = timedelta(seconds=self.now_s * self.drift)
            return WallTime(utc=self.true_time() + drifted + self._jumped, synchronised=False)
        return WallTime(utc=NO_BATTERY + timedelta(seconds=up_s) + self._jumped, synchronised=False)

    def utc(self) -> datetime:
        """The date that the board believes."""
        return self.wall().utc

    def sleep(self, duration_s: float) -> None:
        """Let this much virtual time pass."""
        self.wait_until(self.now_s + max(0.0, duration_s), lambda: False)

    def true_time(self) -> datetime:
        """The date in the world outside, which the operator's computer shows."""
        return self.start + timedelta(seconds=self.now_s)

    def boot(self) -> None:
        """The board starts anew: a clock without a battery has forgotten the date."""
        self._booted_s = self.now_s

    def jump(self, by: timedelta) -> None:
        """Someone sets the board's date wrong, or right again."""
        self._jumped += by

    def at(self, moment_s: float, action: Callable[[], None]) -> None:
        """Do this when that moment comes, or at the next wait if it has passed."""
        self._action_count += 1
        heapq.heappush(self._actions, (moment_s, self._action_count, action))

    def after(self, delay_s: float, action: Callable[[], None]) -> None:
        """Do this so many seconds from now."""
        self.at(self.now_s + delay_s, action)

    def wait_until(self, deadline_s: float, ready: Callable[[], bool]) -> None:
        """Let time pass, action by action, until something is ready or the deadline is there."""
        while not ready():
            if not self._actions or self._actions[0][0] > deadline_s:
                self.now_s = max(self.now_s, deadline_s)
                return
            moment_s, _, action = heapq.heappop(self._actions)
            self.now_s = max(self.now_s, moment_s)
            action()
