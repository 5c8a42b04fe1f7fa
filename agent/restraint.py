"""Holds an update back where the owner's limits say so: before it begins, and while it is at work."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from agent import floor
from agent.budget import Budget
from agent.errors import FetchError, LimitError, PayloadError, StateError
from agent.frugal import Frugal, Range
from agent.install import Job
from agent.interfaces import Conditions, Repository, WallTime, World
from agent.limits import (
    NO_LIMITS,
    LimitSettings,
    Metered,
    Wish,
    find_heat_hold,
    find_hold,
    find_link_hold,
)
from agent.payload import WINDOW_BYTES
from agent.release import Payload
from agent.update import Installation, Update

LOOK_S: Final = 5.0
"""Temperature is read no more often while an installation runs."""
LINK_S: Final = 30.0
"""Nor is it asked more often what the link costs."""
FIRST_RECORD_BYTES: Final = WINDOW_BYTES + 4096


@dataclass(frozen=True, slots=True)
class BestDates:
    """The date as the device decides by it: a clock that forgot is at least not before what was signed."""

    world: World

    def wall(self) -> WallTime:
        """The date, and whether anyone vouches for it."""
        wall = self.world.clock.wall()
        if wall.synchronised:
            return wall
        with suppress(StateError):
            return WallTime(floor.now(floor.load(self.world.files), wall), synchronised=False)
        return wall


class Restraint:
    """The limits of one device in one boot. Without any it does nothing."""

    def __init__(self, world: World, settings: LimitSettings) -> None:
        self._world = world
        self._settings = settings
        self._budget = Budget(world.files, BestDates(world), settings)
        self._frugal = Frugal(
            world.repository, world.files, world.clock, self._budget, settings.rate_bytes_per_s
        )
        self._wish = Wish()
        self._was_hot = False
        self._looked_s = 0.0
        self._link_asked_s: float | None = None
        self._conditions = Conditions()

    @property
    def repository(self) -> Repository:
        """What the device fetches from."""
        return self._world.repository if self._settings == NO_LIMITS else self._frugal

    @property
    def unlimited(self) -> Repository:
        """The repository behind the limits, for whoever only looks."""
        return self._world.repository

    def hold(self, update: Update) -> LimitError | None:
        """What stands against going on with this update now, if anything does."""
        return self.hold_for(Wish(update.security, update.consented))

    def hold_for(self, wish: Wish) -> LimitError | None:
        """The same for an update of which only this is known."""
        if self._settings == NO_LIMITS:
            return None
        asks = self._settings.metered is Metered.ASK_SYSTEM
        conditions = self._world.system.conditions(ask_link=asks)
        found = find_hold(self._settings, conditions, wish, was_hot=self._was_hot)
        self._was_hot = (
            find_heat_hold(self._settings, conditions, was_hot=self._was_hot) is not None
        )
        return found

    @contextmanager
    def at_work(
        self, update: Update, jobs: tuple[Job, ...], breathe: Callable[[], None]
    ) -> Iterator[Callable[[], None]]:
        """Around an installation: what it calls in place of `breathe`.

        Raises `LimitError` from in there when a limit is met; what the next run needs again is kept, as when
        the network went away. A cut in between loses what any cut loses.
        """
        if self._settings == NO_LIMITS:
            yield breathe
            return
        self._wish = Wish(update.security, update.consented)
        self._budget.begin(update.id)
        self._frugal.breathe, self._frugal.ask_link = breathe, self._ask_link
        self._frugal.expect([one for job in jobs for one in _ranges(job.installation)])
        self._make_way(low=True)

        def watched() -> None:
            breathe()
            self._look()

        try:
            yield watched
        except (LimitError, FetchError):
            self._frugal.keep()
            raise
        except PayloadError:
            self._frugal.forget()  # what is kept may be what is wrong
            raise
        else:
            self._frugal.forget()
        finally:
            with suppress(StateError):  # counted too high until then
                self._budget.settle()
            self._make_way(low=False)

    def _make_way(self, *, low: bool) -> None:
        if self._settings.low_priority:
            self._world.system.make_way(low=low)

    def _look(self) -> None:
        """Now and then: whether it has become too hot."""
        now_s = self._world.clock.monotonic_s()
        if not self._settings.temperature_max_celsius or now_s - self._looked_s < LOOK_S:
            return
        self._looked_s = now_s
        conditions = self._world.system.conditions(ask_link=False)
        hold = find_heat_hold(self._settings, conditions, was_hot=False)
        if hold is not None:
            self._was_hot = True
            raise hold

    def _ask_link(self) -> None:
        """Before each grant, but not each time anew: whether the link is still one to fetch over."""
        now_s = self._world.clock.monotonic_s()
        if self._link_asked_s is None or now_s - self._link_asked_s >= LINK_S:
            asks = self._settings.metered is Metered.ASK_SYSTEM
            self._conditions = (
                self._world.system.conditions(ask_link=True) if asks else Conditions()
            )
            self._link_asked_s = now_s
        hold = find_link_hold(self._settings, self._conditions, self._wish)
        if hold is not None:
            self._link_asked_s = None
            raise hold


def _ranges(installation: Installation) -> list[Range]:
    """What every run of an installation fetches before it knows what is there already."""
    found = []
    for payload in (installation.payload, installation.delta):
        if payload is not None:
            found += _ranges_of(payload)
    return found


def _ranges_of(payload: Payload) -> list[Range]:
    length = payload.length_bytes
    envelope = payload.encryption.envelope_bytes if payload.encryption else 0
    head = Range(payload.path, 0, min(payload.index_bytes + FIRST_RECORD_BYTES, length))
    return [head, Range(payload.path, length - max(envelope, 1), length)]
