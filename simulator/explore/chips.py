"""The microcontrollers of an explored board: real bootloader models on flashes that are watched.

They are small, so that all operations of an update of theirs can be cut: two pages, or one page in each of
MCUboot's slots. What a chip keeps is its flash. What else it knows ends with its power, and where every way
in begins with a reset it does not matter; an MCUboot application has no such wire, so what it knows is part
of a state as long as its power stays.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from random import Random as Generator
from typing import Final

from agent.board import BoardProfile, Microcontroller
from agent.errors import ConfigError
from agent.flash.entry import needs_firmware
from agent.flash.mcumgr import McumgrSettings
from agent.flash.pages import FlashLayout
from agent.flash.select import ChipSettings, ProtocolSettings
from agent.flash.stk500v1 import Stk500Settings
from agent.flash.stm32_uart import Stm32Settings
from simulator.explore.state import ChipState, Mind
from simulator.mcu import Chip
from simulator.mcu.flash import ERASED, ChipPowerCutError, FlashMemory
from simulator.mcu.mcuboot import Layout, Mcuboot, Mode
from simulator.mcu.mcuboot_chip import McubootChip
from simulator.mcu.optiboot import Optiboot
from simulator.mcu.signed_image import signed_image
from simulator.mcu.smp_server import SmpServer
from simulator.mcu.smp_wire import LineBuffer
from simulator.mcu.stm32_rom import Stm32Model, Stm32Rom
from simulator.power import Moment

WITHIN_S: Final = 120
"""How long an explored trial waits to become healthy: longer than any outage, and not for long."""
ATTEMPTS_MAX: Final = 2
"""Trials of a board with chips; boards without have theirs."""
STM32_PAGES: Final = (256, 256)
AVR_BYTES: Final = 256
SLOTS: Final = Layout(page_bytes=512, image_pages=1)
PROGRAM_BYTES: Final[Mapping[type[ProtocolSettings], int]] = {
    Stm32Settings: 400,
    Stk500Settings: 200,
    McumgrSettings: 240,
}
Happens = Callable[[str, int, bytes], Moment | None]
"""Told of an operation: its name, its address, and what a cut in its middle leaves; when power fails."""


def _unheard(_name: str, _address: int, _torn: bytes) -> Moment | None:
    return None


@dataclass(slots=True)
class WatchedFlash(FlashMemory):
    """A flash whose operations are seen before they happen, and can be cut there.

    What a cut in the middle leaves depends on nothing but what was there, and to tear the same twice is to
    tear it once: else each cut would leave a state of its own for ever.
    """

    happens: Happens = _unheard

    def erase(self, number: int) -> None:
        """As `FlashMemory.erase`."""
        if number not in self.protected:
            address = self.page_start(number)
            self._happen("erase", address, b"", lambda: FlashMemory.erase(self, number))

    def program(self, address: int, content: bytes) -> None:
        """As `FlashMemory.program`."""
        if self.page_at(address) not in self.protected:
            self._happen(
                "program", address, content, lambda: FlashMemory.program(self, address, content)
            )

    def _happen(self, name: str, address: int, content: bytes, act: Callable[[], None]) -> None:
        page = self.page_at(address)
        start = self.page_start(page) - self.start
        end = start + self.pages[page]
        place = address - self.start - start
        torn_page = _torn(bytes(self.content[start:end]), start, place, content, self.strict)
        torn = bytes(self.content[:start]) + torn_page + bytes(self.content[end:])
        moment = self.happens(f"Flash.{name}", address, torn)
        if moment is Moment.TORN:
            self.content[:] = torn
        else:
            act()
        if moment is not None:
            raise ChipPowerCutError(f"in {name} at {address:#x}")


@lru_cache(maxsize=65536)
def _torn(page: bytes, start: int, place: int, content: bytes, strict: bool) -> bytes:  # noqa: FBT001  # part of the key
    """What a cut in the middle leaves of a page; without content it is erased."""
    flash = FlashMemory(0, (len(page),), strict=strict, seed=start + place)
    flash.content[:] = page
    flash.cut_at, flash.cut_moment = 1, Moment.TORN
    with suppress(ChipPowerCutError):
        if content:
            flash.program(place, content)
        else:
            flash.erase(0)
    return bytes(flash.content)


@dataclass(slots=True)
class ExploredServer(SmpServer):
    """A server whose memory can be taken out and put back."""

    def mind(self, *, recovery_next: bool) -> Mind | None:
        """All that it knows; None without power."""
        if self.mode is Mode.OFF:
            return None
        if not self._length:  # no upload is under way
            return Mind(self.mode.value, recovery_next)
        return Mind(
            self.mode.value,
            recovery_next,
            self._slot,
            self._offset,
            self._length,
            self._sha,
            self._erased_pages,
        )

    def remember(self, mind: Mind) -> None:
        """Go on as if nothing had happened."""
        self.begin(Mode(mind.mode))
        self._slot, self._erased_pages = mind.slot, mind.erased_pages
        self._offset, self._length, self._sha = mind.offset, mind.length, mind.sha


@dataclass(slots=True)
class ExploredMcuboot(McubootChip):
    """A chip that may have been on all the time."""

    def wake(self, mind: Mind) -> None:
        """Its host is back; it never was away itself."""
        assert isinstance(self.server, ExploredServer), "as `open_chip` makes them"
        self.server.remember(mind)
        self.recovery_next = mind.recovery_next
        self._lines = LineBuffer(self.server.buffer_bytes)


@dataclass(frozen=True, slots=True)
class ExploredChip:
    """One chip of one run."""

    name: str
    port: str
    settings: ChipSettings
    chip: Chip
    flash: WatchedFlash
    used_bytes: int

    @property
    def state(self) -> ChipState:
        """What it keeps if its power stays."""
        flash = bytes(self.flash.content[: self.used_bytes])
        if not isinstance(self.chip, ExploredMcuboot):
            return ChipState(flash)
        server = self.chip.server
        assert isinstance(server, ExploredServer), "as `open_chip` makes them"
        mind = server.mind(recovery_next=self.chip.recovery_next)
        return ChipState(flash, None if mind == _fresh_mind(flash) else mind)

    @property
    def awake(self) -> bool:
        """Whether it is awake already, because its power stayed."""
        return isinstance(self.chip, ExploredMcuboot) and self.chip.mode is not Mode.OFF


def small_profile(profile: BoardProfile) -> BoardProfile:
    """The same board with as little flash in its chips as these models take, and less patience."""
    chips = tuple(
        replace(chip, settings=replace(chip.settings, protocol=_small(chip.settings.protocol)))
        for chip in profile.microcontrollers
    )
    confirm = replace(profile.confirm, within_s=min(profile.confirm.within_s, WITHIN_S))
    if chips:
        confirm = replace(confirm, attempts_max=min(confirm.attempts_max, ATTEMPTS_MAX))
    return replace(profile, microcontrollers=chips, confirm=confirm)


def is_played(protocol: ProtocolSettings) -> bool:
    """Whether there is a model here of such a chip."""
    return isinstance(protocol, Stm32Settings | Stk500Settings | McumgrSettings)


def _small(protocol: ProtocolSettings) -> ProtocolSettings:
    if isinstance(protocol, Stm32Settings):
        return replace(protocol, flash=FlashLayout(protocol.flash.start, STM32_PAGES))
    if isinstance(protocol, Stk500Settings):
        return replace(protocol, boot_start=AVR_BYTES)
    return protocol  # MCUboot's slots are the model's


def chip_image(chip: Microcontroller, seed: int, number: int) -> bytes:
    """What the flash of a chip begins with in release `number`; 0 is the factory's. Raises `ConfigError`."""
    if not is_played(chip.settings.protocol):
        raise ConfigError(
            f"chip {chip.name}: a protocol whose chips are explored was expected, another found; "
            "explore the board without it"
        )
    words = f"{chip.name}/{seed}/{number}"
    length_bytes = PROGRAM_BYTES[type(chip.settings.protocol)]
    program = Generator(words).randbytes(length_bytes)  # noqa: S311  # repeatable
    if isinstance(chip.settings.protocol, McumgrSettings):
        return signed_image(program, number)
    return program


def factory_chip(chip: Microcontroller, seed: int) -> ChipState:
    """A chip as it came. Raises `ConfigError`."""
    image, protocol = chip_image(chip, seed, 0), chip.settings.protocol
    if isinstance(protocol, Stm32Settings):
        length_bytes = sum(protocol.flash.pages)
    elif isinstance(protocol, Stk500Settings):
        length_bytes = protocol.boot_start
    else:
        length_bytes = sum(SLOTS.pages)
    return ChipState(image.ljust(length_bytes, bytes([ERASED])))


def open_chip(chip: Microcontroller, state: ChipState) -> ExploredChip:
    """The chip in this state, without power unless it has a mind."""
    settings = chip.settings
    made: Chip
    if isinstance(settings.protocol, Stm32Settings):
        stm32 = settings.protocol
        model = Stm32Model(chip=bytes.fromhex(stm32.chip), pages=stm32.flash.pages)
        flash = _flash(stm32.flash.start, stm32.flash.pages, state.flash, strict=model.strict)
        made = Stm32Rom(model=model, boot0=False, flash=flash)
    elif isinstance(settings.protocol, Stk500Settings):
        plain, stk500 = Optiboot().flash, settings.protocol
        flash = _flash(plain.start, plain.pages, state.flash, protected=plain.protected)
        made = Optiboot(stk500.baud, bytes.fromhex(stk500.signature), flash=flash)
    else:
        flash = _flash(0, SLOTS.pages, state.flash)
        made = ExploredMcuboot(ExploredServer(Mcuboot(SLOTS, flash)), baud=settings.line.baud)
        if state.mind is not None:
            made.wake(state.mind)
    return ExploredChip(chip.name, settings.port, settings, made, flash, len(state.flash))


def _flash(
    start: int,
    pages: tuple[int, ...],
    content: bytes,
    *,
    strict: bool = False,
    protected: frozenset[int] = frozenset(),
) -> WatchedFlash:
    whole = bytearray(content.ljust(sum(pages), bytes([ERASED])))
    return WatchedFlash(start, pages, strict=strict, protected=protected, content=whole)


def started(settings: ChipSettings, state: ChipState) -> bytes | None:
    """What a chip runs, from its first byte on, once its bootloader has done its work; None for nothing.

    A chip without MCUboot starts whatever has its first bytes, and those tell.
    """
    if isinstance(settings.protocol, McumgrSettings):
        return _booted(state)
    return state.flash


def can_be_flashed(settings: ChipSettings) -> bool:
    """Whether wires lead into a bootloader that no image can harm."""
    return not isinstance(settings.protocol, McumgrSettings) and not needs_firmware(settings.entry)


def first_piece_bytes(settings: ChipSettings) -> int:
    """How much of an image is written as one, and last, because the chip starts by it."""
    if isinstance(settings.protocol, Stm32Settings):
        return settings.protocol.flash.pages[0]
    if isinstance(settings.protocol, Stk500Settings):
        return settings.protocol.page_bytes
    return SLOTS.capacity_bytes


@lru_cache(maxsize=65536)
def _booted(state: ChipState) -> bytes | None:
    bootloader = _bootloader(state.flash)
    if state.mind is None:
        if bootloader.start() is not Mode.APPLICATION:
            return None
    elif state.mind.mode != Mode.APPLICATION:
        return None
    return bootloader.content(0, SLOTS.capacity_bytes)


@lru_cache(maxsize=65536)
def _fresh_mind(flash: bytes) -> Mind | None:
    """What a chip would know if its power failed now, when that fails to change its flash."""
    bootloader = _bootloader(flash)
    mode = bootloader.start()
    if bootloader.flash.operations:
        return None
    server = ExploredServer(bootloader)
    server.begin(Mode.RECOVERY if mode is Mode.STUCK else mode)
    return server.mind(recovery_next=False)


def _bootloader(flash: bytes) -> Mcuboot:
    return Mcuboot(SLOTS, FlashMemory(0, SLOTS.pages, content=bytearray(flash)))
