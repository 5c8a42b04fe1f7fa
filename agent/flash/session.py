"""Flash one chip from whatever state it is in: enter, identify, plan, write, verify, start; and again.

An attempt that ends in a lost line, a chip that reset itself or bytes that did not stick is begun anew from
the entry, a bounded number of times. Nothing here is remembered: what was written before the power of
either side failed is found by comparing, so running it again is how it is resumed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from agent.errors import FlashError, FlashLineError, Retry
from agent.flash import ChipImage, FlashPlan, Identity, OnProgress, Progress, Recovery
from agent.flash.entry import GpioPins, enter, leave
from agent.flash.select import ChipSettings, check_recovery, make_flasher
from agent.interfaces import SerialLine

ATTEMPTS: Final = 4
"""Without any progress from one to the next."""
TIMES_MAX: Final = 3
ATTEMPTS_MAX: Final = 12


@dataclass(frozen=True, slots=True)
class Flashed:
    """A chip that holds the image, read back: who it is, what the last attempt did, how many it took."""

    identity: Identity
    plan: FlashPlan
    attempts: int


def no_progress(_progress: Progress) -> None:
    """For callers that do not care."""


def no_word(_plan: FlashPlan) -> None:
    """For callers that keep no record."""


def flash_chip(
    settings: ChipSettings,
    line: SerialLine,
    image: ChipImage,
    *,
    pins: GpioPins | None = None,
    progress: OnProgress = no_progress,
    begins: Callable[[FlashPlan], None] = no_word,
    attempts: int = ATTEMPTS,
) -> Flashed:
    """Return only when all of the image was read back and the chip was told to start it.

    `begins` is called before anything is erased or written; what it raises ends the attempt there. An
    attempt does not count as one of `attempts` when it finds more of the image on the chip than any before,
    or when a bootloader in ROM was found and then lost: a line that garbles bytes gets there in the end.

    Raises the last `FlashError`; one that cannot pass by itself ends it at once. The line is closed.
    """
    assert attempts > 0, "somebody has to try"
    check_recovery(settings, make_flasher(settings, line))
    fruitless, most = 0, -1
    last = min(TIMES_MAX * (attempts - 1) + 1, ATTEMPTS_MAX)
    try:
        for attempt in range(1, last):
            found = _Found(begins)
            try:
                return _attempt(
                    settings,
                    line,
                    image,
                    pins=pins,
                    progress=progress,
                    found=found,
                    attempt=attempt,
                )
            except FlashError as error:
                gained = 0 <= most < found.unchanged_bytes
                fruitless += not gained and not found.lost_its_way(error)
                most = max(most, found.unchanged_bytes)
                if error.retry is Retry.NEVER or fruitless >= attempts:
                    raise
                line.close()  # a port that went away is found again by its name
        return _attempt(
            settings,
            line,
            image,
            pins=pins,
            progress=progress,
            found=_Found(begins),
            attempt=last,
        )
    finally:
        line.close()


@dataclass(slots=True)
class _Found:
    """How far an attempt came, and how much of the image it found on the chip."""

    then: Callable[[FlashPlan], None]
    unchanged_bytes: int = -1
    answered: bool = False

    def lost_its_way(self, error: FlashError) -> bool:
        """Whether a bootloader in ROM was there and then took garbled bytes for the end of its work."""
        return self.answered and isinstance(error, FlashLineError)

    def begins(self, plan: FlashPlan) -> None:
        """Note it."""
        self.unchanged_bytes = plan.unchanged_bytes
        self.then(plan)


def _attempt(
    settings: ChipSettings,
    line: SerialLine,
    image: ChipImage,
    *,
    pins: GpioPins | None,
    progress: OnProgress,
    found: _Found,
    attempt: int,
) -> Flashed:
    flasher = make_flasher(settings, line)
    enter(settings.entry, line, settings.line, pins)
    identity = flasher.identify()
    found.answered = flasher.recovery is Recovery.ROM
    plan = flasher.plan(image, progress)
    if plan.erase or plan.writes:
        found.begins(plan)
    flasher.write(plan, progress)
    flasher.verify(image, progress)
    flasher.start()
    leave(settings.entry, line, pins)
    return Flashed(identity, plan, attempt)
