"""One simulated board: its devices, its small files, its power and its bootloader, from a profile.

A boot is what it is on a bench: the bootloader chooses from what is durable, and what was chosen
starts, hangs or dies as the stamp of its image says.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

from agent.board import BoardProfile, SlotName, other
from agent.errors import InstallError
from agent.interfaces import Clock, SystemFacts
from simulator.block_device import SimulatedBlockDevice
from simulator.chips import BoardChip, make_chips
from simulator.faults import Faults
from simulator.files import SimulatedFiles
from simulator.firmware import Firmware
from simulator.firmware.select import firmware
from simulator.image import NOTHING, Behaviour, Verdict, inspect
from simulator.power import Power
from simulator.serial_ports import SimulatedSerialPorts
from simulator.storage import BoardStorage, Factory, make_storage


class BrokenImageError(AssertionError):
    """A slot starts, or would start, that does not hold a whole image."""


@dataclass(frozen=True, slots=True)
class Boot:
    """What the bootloader started, and how that behaves; `slot` is None when the board stays dark."""

    slot: SlotName | None
    behaviour: Behaviour
    facts: SystemFacts


@dataclass(frozen=True, slots=True)
class BoardState:
    """Everything durable on a small board: its files, its devices by path, its chips' flashes by name."""

    files: Mapping[str, bytes]
    devices: Mapping[str, bytes]
    chips: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(slots=True)
class SimulatedBoard:
    """One board on its bench.

    When it `may_lose_boot_state`, a slot that would start must be whole even if nothing names it.
    """

    profile: BoardProfile
    power: Power
    storage: BoardStorage
    files: SimulatedFiles
    firmware: Firmware
    chips: tuple[BoardChip, ...] = ()
    boots: int = 0
    may_lose_boot_state: bool = False
    started: list[SlotName | None] = field(default_factory=list)
    _ports: SimulatedSerialPorts | None = None

    def boot(self) -> Boot:
        """Let the bootloader choose and start. Raises `PowerCut`, `BrokenImageError`.

        Without a whole image to start the board stays dark, and says so by `slot`.
        """
        self.boots += 1
        choice = self.firmware.boot()
        self.started.append(choice.slot)
        words = f"{self.power.seed}/{self.boots}"
        boot_id = hashlib.sha256(words.encode()).hexdigest()[:32]
        facts = choice.facts(boot_id, (self.profile.hardware_id,))
        if choice.slot is None:
            return Boot(None, Behaviour.NEVER_BOOTS, facts)
        self._check(choice.slot)
        if self.may_lose_boot_state:
            self._check(other(choice.slot))
        return Boot(choice.slot, self.verdict(choice.slot).behaviour, facts)

    def ports(self, clock: Clock) -> SimulatedSerialPorts:
        """The serial ports with the chips on them, the same for all boots."""
        if self._ports is None:
            self._ports = SimulatedSerialPorts(self.chips, clock, self.power)
        return self._ports

    def chip(self, name: str) -> BoardChip:
        """One of the microcontrollers."""
        return next(chip for chip in self.chips if chip.name == name)

    def restore_power(self) -> None:
        """The supply is back, for the chips too."""
        self.power.restore()
        if self._ports is not None:
            self._ports.power_back()

    def reset(self, argument: str = "") -> None:
        """The system reboots with this argument, or something resets it without one."""
        self.firmware.reset(argument)

    def verdict(self, slot: SlotName) -> Verdict:
        """What a slot holds, judged by the worst of its parts."""
        return _verdict(self.storage, slot)

    def content(self, slot: SlotName) -> dict[str, bytes]:
        """The durable bytes of a slot's parts, for small boards."""
        return {part: device.snapshot() for part, device in self.storage.slot(slot).items()}

    def snapshot(self) -> BoardState:
        """Everything durable, for an explorer of states."""
        devices = {path: device.snapshot() for path, device in self.storage.devices.items()}
        chips = {chip.name: bytes(chip.flash.content) for chip in self.chips}
        return BoardState(files=self.files.snapshot(), devices=devices, chips=chips)

    def restore(self, state: BoardState) -> None:
        """Go back to a snapshot: the power is on, nothing is pending and no flag is set."""
        self.power.restore()
        self.files.restore(state.files)
        for path, content in state.devices.items():
            self.storage.devices[path].restore(content)
        for name, content in state.chips.items():
            self.chip(name).flash.content[:] = content
        if self._ports is not None:
            self._ports.power_back()
        self.firmware.reset("")

    def _check(self, slot: SlotName) -> None:
        verdict = self.verdict(slot)
        if verdict.startable and verdict.intact is False:
            raise BrokenImageError(
                f"slot {slot} would start in boot {self.boots}, and its image is not whole"
            )


def make_board(
    profile: BoardProfile, factory: Factory, *, seed: int = 0, faults: Faults | None = None
) -> SimulatedBoard:
    """A board of this kind, new from the factory. Raises `ConfigError`."""
    power = Power(seed=seed)
    storage = make_storage(profile, factory, power)
    return SimulatedBoard(
        profile=profile,
        power=power,
        storage=storage,
        files=SimulatedFiles(power, faults or Faults()),
        chips=make_chips(profile, seed),
        firmware=firmware(profile, storage, power, partial(_startable, storage)),
    )


def _startable(storage: BoardStorage, slot: SlotName) -> bool:
    return _verdict(storage, slot, deep=False).startable


def _verdict(storage: BoardStorage, slot: SlotName, *, deep: bool = True) -> Verdict:
    verdicts = [_inspected(device, deep=deep) for device in storage.slot(slot).values()]
    judged = [verdict.intact for verdict in verdicts]
    return Verdict(
        startable=all(verdict.startable for verdict in verdicts),
        intact=False if False in judged else (None if None in judged else True),
        behaviour=max((verdict.behaviour for verdict in verdicts), key=list(Behaviour).index),
    )


def _inspected(device: SimulatedBlockDevice, *, deep: bool) -> Verdict:
    try:
        return inspect(device.read, device.size_bytes, deep=deep)
    except InstallError:  # a sector that cannot be read is one that cannot start
        return NOTHING
