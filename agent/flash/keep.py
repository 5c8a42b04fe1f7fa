"""What an update needs of a chip besides flashing it: read it, keep a trial, go back from one.

Like `session`, each of these enters the chip, tries a bounded number of times and closes the line.
"""

from collections.abc import Callable
from typing import Final, TypeVar

from agent.errors import FlashError, FlashLineError, FlashRefusedError, FlashVerifyError, Retry
from agent.flash import (
    ERASED,
    ChipImage,
    Flasher,
    FlashReader,
    Identity,
    OnProgress,
    Recovery,
    TrialFlasher,
)
from agent.flash.entry import GpioPins, enter, leave
from agent.flash.select import ChipSettings, make_flasher
from agent.flash.session import no_progress
from agent.interfaces import SerialLine

ATTEMPTS: Final = 3
EMPTY_BYTES: Final = 256
"""What is kept of a chip that holds nothing: enough that its vectors are empty again."""

Result = TypeVar("Result")


def has_trial(settings: ChipSettings, line: SerialLine) -> bool:
    """Whether a new image runs on trial first, and any reset of the chip undoes it."""
    return make_flasher(settings, line).recovery is Recovery.AB


def can_be_read(settings: ChipSettings, line: SerialLine) -> bool:
    """Whether the protocol gives back what the chip holds."""
    return isinstance(make_flasher(settings, line), FlashReader)


def identify_chip(settings: ChipSettings, line: SerialLine, pins: GpioPins | None) -> Identity:
    """Who answers in the bootloader; the chip starts its image again. Raises `FlashError`."""

    def ask() -> Identity:
        flasher = make_flasher(settings, line)
        enter(settings.entry, line, settings.line, pins)
        identity = flasher.identify()
        leave(settings.entry, line, pins)
        return identity

    return _tried(line, ask)


def read_chip(
    settings: ChipSettings,
    line: SerialLine,
    pins: GpioPins | None,
    progress: OnProgress = no_progress,
) -> bytes:
    """All of the flash that images may use, without the erased end; read twice, for no sum guards it.

    The chip starts its image again. Raises `FlashError`.
    """

    def read() -> bytes:
        flasher = _entered(settings, line, pins)
        if not isinstance(flasher, FlashReader):
            raise FlashRefusedError(
                "a protocol that reads flash was expected; this one only writes"
            )
        first, second = flasher.read_flash(progress), flasher.read_flash(progress)
        if first != second:
            raise FlashLineError(
                "the same bytes were expected twice, others came; look at the line"
            )
        leave(settings.entry, line, pins)
        return first.rstrip(bytes([ERASED])) or first[:EMPTY_BYTES]

    return _tried(line, read)


def check_runs(
    settings: ChipSettings, line: SerialLine, pins: GpioPins | None, image: ChipImage
) -> None:
    """Raises `FlashVerifyError` when a chip whose trial was begun does not run the image."""
    _tried(line, lambda: _running(settings, line, pins, image))


def confirm_chip(
    settings: ChipSettings, line: SerialLine, pins: GpioPins | None, image: ChipImage
) -> None:
    """Keep the image that runs on trial. Raises `FlashVerifyError` when another one runs."""
    _tried(line, lambda: _running(settings, line, pins, image).confirm())


def revert_chip(settings: ChipSettings, line: SerialLine, pins: GpioPins | None) -> None:
    """End a trial, if there is one: the image from before it runs again."""

    def revert() -> None:
        _trial(_entered(settings, line, pins)).revert()

    _tried(line, revert)


def _running(
    settings: ChipSettings, line: SerialLine, pins: GpioPins | None, image: ChipImage
) -> TrialFlasher:
    flasher = _entered(settings, line, pins)
    if flasher.plan(image, no_progress).writes:
        raise FlashVerifyError(
            "the new image was expected to run, the chip has gone back by itself"
        )
    return _trial(flasher)


def _entered(settings: ChipSettings, line: SerialLine, pins: GpioPins | None) -> Flasher:
    flasher = make_flasher(settings, line)
    enter(settings.entry, line, settings.line, pins)
    flasher.identify()
    return flasher


def _trial(flasher: Flasher) -> TrialFlasher:
    assert isinstance(flasher, TrialFlasher), "whoever reverts by itself can be told to"
    return flasher


def _tried(line: SerialLine, once: Callable[[], Result]) -> Result:
    try:
        for _ in range(ATTEMPTS - 1):
            try:
                return once()
            except FlashError as error:
                if error.retry is Retry.NEVER or isinstance(error, FlashVerifyError):
                    raise
                line.close()  # a port that went away is found again by its name
        return once()
    finally:
        line.close()
