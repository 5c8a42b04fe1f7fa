"""The microcontrollers of a storm: what goes wrong with them, and what must belong beside which system."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from agent.board import SlotName, other
from agent.update import State, Update
from simulator.chips import BoardChip
from simulator.mcu.mcuboot_chip import McubootChip
from simulator.mcu.optiboot import Lie as AvrLie
from simulator.mcu.optiboot import Optiboot
from simulator.mcu.stm32_rom import Lie as Stm32Lie
from simulator.mcu.stm32_rom import Stm32Rom
from simulator.power import Moment
from simulator.storm.bench import Bench, factory_program_of, program_of
from simulator.storm.plan import Act, Deed

Do = Callable[[Bench, Act], None]


def _unplug(bench: Bench, act: Act) -> None:
    """The plug comes out so many writes from now."""
    for chip in bench.device.board.chips:
        chip.unplugged_at = chip.writes + act.number


def _noise(bench: Bench, act: Act) -> None:
    for chip in bench.device.board.chips:
        faults = chip.line_faults
        faults.seed, faults.flip = act.number, act.amount
        faults.drop = faults.double = act.amount / 2


def _silence(bench: Bench, act: Act) -> None:
    """Nothing arrives any more, from so many bytes of the chip on."""
    for chip in bench.device.board.chips:
        said = bench.device.board.ports(bench.clock).bytes_to_host(chip.port)
        chip.line_faults.silent_after_bytes = said + act.number


def _lies(bench: Bench, _act: Act) -> None:
    """The chip thanks for everything and writes nothing."""
    for chip in bench.device.board.chips:
        _set_lie(chip, lies=True)


def _set_lie(chip: BoardChip, *, lies: bool) -> None:
    match chip.chip:
        case Stm32Rom() as rom:
            rom.lie = Stm32Lie.WRITES_NOTHING if lies else Stm32Lie.NONE
        case Optiboot() as avr:
            avr.lie = AvrLie.WRITES_NOTHING if lies else AvrLie.NONE
        case McubootChip() as mcuboot:
            mcuboot.server.faults.ok_without_writing = lies
        case _:
            raise AssertionError(f"chip {chip.name} is of no known kind")


def _cut(bench: Bench, act: Act) -> None:
    """The supply fails in one of the next flash operations, of the chip or of all."""
    for chip in bench.device.board.chips:
        if chip.power_failed:  # it is off already, and its supply sees to that
            continue
        chip.flash.cut_at = chip.flash.operations + act.number
        chip.flash.cut_moment = Moment(act.word)


def _restart(bench: Bench, _act: Act) -> None:
    for chip in bench.device.board.chips:
        bench.device.board.ports(bench.clock).restart(chip.port)


def heal(bench: Bench) -> None:
    """All that was wrong with the chips and their lines is put right."""
    for chip in bench.device.board.chips:
        chip.plug_in()
        if not chip.power_failed:  # else it is off, and its supply sees to that
            chip.flash.cut_at = None
        chip.line_faults.flip = chip.line_faults.drop = chip.line_faults.double = 0.0
        chip.line_faults.silent_after_bytes = None
        _set_lie(chip, lies=False)


def _heal(bench: Bench, _act: Act) -> None:
    heal(bench)


CHIP_DEEDS: Final[Mapping[Deed, Do]] = MappingProxyType(
    {
        Deed.UNPLUG: _unplug,
        Deed.NOISE: _noise,
        Deed.SILENCE: _silence,
        Deed.CHIP_LIES: _lies,
        Deed.CHIP_CUT: _cut,
        Deed.CHIP_RESTART: _restart,
        Deed.CHIP_WELL: _heal,
    }
)


@dataclass(slots=True)
class ChipWatch:
    """What belongs beside each system, from what was shipped and what happened, not from the journal.

    `beside` has the release whose images the chips must hold, by the release of the system; 0 stands for
    the images with which they came.
    """

    bench: Bench
    beside: dict[int, int] = field(default_factory=lambda: {1: 0})

    @property
    def blind(self) -> bool:
        """Whether nobody can say what belongs where, because the medium keeps what it likes."""
        return self.bench.device_plan.lies

    def started(self, number: int) -> list[str]:
        """Complaints about the pairs that meet: this release has started beside what the chips hold."""
        return [
            f"chip {chip.name} holds the image of release {held}, which does not work with {number}"
            for chip in self.bench.device.board.chips
            if (held := self.held(chip)) is not None and self._too_old(number, held)
        ]

    def recorded(self, known: Update | None, update: Update) -> list[str]:
        """Complaints about a record: chips that do not hold what it says."""
        if self.blind or (known is not None and known.state is update.state):
            return []
        if update.state is State.PLANNED:
            self._planned(update)
        if update.state is State.CONFIRMED:
            return self.misplaced(update.target)
        if update.state is State.REVERTED:
            return self.misplaced(other(update.target))
        return []

    def misplaced(self, slot: SlotName) -> list[str]:
        """Complaints about chips that do not hold what belongs beside the system in this slot."""
        system = self.bench.number_in(slot)
        if system is None or system not in self.beside:
            return []  # the medium is at fault, and said elsewhere
        expected = self.beside[system]
        return [
            f"chip {chip.name} holds {held}; the image of release {expected} belongs beside {system}"
            for chip in self.bench.device.board.chips
            if (held := self.held(chip)) != expected
        ]

    def held(self, chip: BoardChip) -> int | None:
        """The release whose whole image a chip starts, None for something else."""
        self.bench.device.board.ports(self.bench.clock).line(chip.port).discard_input()
        (settings,) = (
            one for one in self.bench.device.board.profile.microcontrollers if one.name == chip.name
        )
        if chip.holds(factory_program_of(settings, self.bench.plan)):
            return 0
        numbers = range(2, self.bench.plan.last_release + 1)
        return next((one for one in numbers if chip.holds(program_of(settings, one))), None)

    def _planned(self, update: Update) -> None:
        before = self.bench.number_in(other(update.target))
        number = int(update.release)
        if before in self.beside:
            has_images = self.bench.shipment_of(number).chips
            self.beside[number] = number if has_images else self.beside[before]

    def _too_old(self, system: int, held: int) -> bool:
        return held > 1 and self.bench.shipment_of(held).fussy and system < held
