"""Microcontrollers from whose handling one safety rule was taken out."""

from collections.abc import Callable, Collection

from agent.board import Microcontroller
from agent.chips import Chips
from agent.device import Device
from agent.errors import FlashError
from agent.firmware import ChipRecord, Firmware
from agent.flash import ChipImage, FlashPlan, OnProgress
from agent.flash.entry import enter, leave
from agent.flash.session import no_progress
from agent.flash.stm32_uart import Stm32Settings, Stm32Uart
from agent.journal import Journal
from agent.pieces import Pieces
from agent.runner import Hooks, Move, Runner
from agent.update import Event, Update


class VectorsFirst(Stm32Uart):
    """Writes what starts the image before the image."""

    def plan(self, image: ChipImage, progress: OnProgress) -> FlashPlan:
        plan = super().plan(image, progress)
        writes = plan.writes[-1:] + plan.writes[:-1]
        return FlashPlan(plan.erase, writes, plan.unchanged_bytes)


class BelievesTheChip(Stm32Uart):
    """Takes the chip's OK for what its flash holds."""

    def verify(self, image: ChipImage, progress: OnProgress) -> None:
        del image, progress


class _OtherFlasher(Chips):
    """Flashes with another driver."""

    flasher: type[Stm32Uart] = Stm32Uart

    def _bring(
        self, chip: Microcontroller, firmware: Firmware, *, keep: bool, attempts: int
    ) -> None:
        del keep, attempts
        settings, line = chip.settings, self._line(chip)
        assert isinstance(settings.protocol, Stm32Settings), "these drivers are for an STM32"
        flasher, image = self.flasher(line, settings.protocol), self._image(chip, firmware)
        before = self._record(chip)
        try:
            enter(settings.entry, line, settings.line, None)
            flasher.identify()
            plan = flasher.plan(image, no_progress)
            self._note(chip, ChipRecord(before.holds, firmware))
            flasher.write(plan, no_progress)
            flasher.verify(image, no_progress)
            flasher.start()
            leave(settings.entry, line, None)
        finally:
            line.close()
        self._note(chip, ChipRecord(firmware))


class WritesVectorsFirst(_OtherFlasher):
    flasher = VectorsFirst


class BelievesOk(_OtherFlasher):
    flasher = BelievesTheChip


class KeepsNoOldImage(Chips):
    """Replaces the image with which a chip came, and has not read it before."""

    def _learn(self, chip: Microcontroller) -> None:
        del chip


class LeavesTheNewImage(Chips):
    """Takes no chip back, and calls it settled."""

    @property
    def settled(self) -> bool:
        return True

    def settle(self, attempts: int | None = None, replaced: Collection[str] = ()) -> None:
        del attempts, replaced


class ConfirmsBeforeTheChips(Runner):
    """Makes the system the default, and looks at its chips then."""

    def _judge(self, update: Update) -> Move:
        verdict = self._verdict()
        if not verdict.healthy:
            return super()._judge(update)
        self._device.boot.confirm(update.target)
        try:
            self._chips.bring_forward()
        except FlashError as error:
            self._hooks.told(str(error))
        return Move(update, Event.HEALTH_CONFIRMED)


def with_chips(chips: type[Chips]) -> Pieces:
    """The agent that handles its microcontrollers like this."""

    def make(device: Device, journal: Journal, hooks: Hooks) -> Runner:
        runner = Runner(device, journal, hooks)
        tell: Callable[[str], None] = runner._chips._tell  # noqa: SLF001  # as the runner made it
        runner._chips = chips(device, runner, tell)  # noqa: SLF001  # the piece that is exchanged
        return runner

    return Pieces(runner=make)
