"""Agents from which one rule was taken out, to see that storms notice its loss."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from agent.board import BoardProfile, SlotName
from agent.boot import BootControl
from agent.boot.select import boot_control
from agent.device import Device
from agent.interfaces import BlockDevice, Storage, SystemFacts
from agent.journal import Journal
from agent.pieces import Pieces
from agent.policy import DeviceFacts
from agent.rollout import Rollout
from agent.runner import Move, Reboot, Runner
from agent.update import Event, Update
from tests.seeded_bugs.chips import (
    ConfirmsBeforeTheChips,
    KeepsNoOldImage,
    LeavesTheNewImage,
    with_chips,
)


class ConfirmsUnexamined(Runner):
    """Takes reaching the agent for health."""

    def _judge(self, update: Update) -> Move:
        self._device.boot.confirm(update.target)
        return Move(update, Event.HEALTH_CONFIRMED)


class ForgetsAttempts(Runner):
    """Counts no attempts, so that a release which never starts is tried for ever."""

    def _start_trial(self, update: Update) -> Move:
        return super()._start_trial(replace(update, attempts=0))


class ForgetsReports(Runner):
    """Takes a report for stored once it was handed to the broker."""

    def _apply(self, move: Move) -> None:
        super()._apply(move)
        if self.journal.reports and self._hooks.tend(0.0):
            self.record(replace(self.journal, reports=()))


class RenamesReports(Runner):
    """Gives a report another id in each boot."""

    def settle(self) -> None:
        name = self._device.facts.boot_id
        renamed = tuple(replace(report, id=name) for report in self.journal.reports[:1])
        self.record(replace(self.journal, reports=(*renamed, *self.journal.reports[1:])))
        super().settle()


class WritesWhatRuns(Runner):
    """Installs into the slot that runs."""

    def accept(self, rollout: Rollout, *, consented: bool = False) -> None:
        super().accept(rollout, consented=consented)
        assert self.update is not None, "an update was just accepted"
        booted: SlotName = self._device.boot.booted()
        self.record(replace(self.journal, update=replace(self.update, target=booted)))


class StaysUnhealthy(Runner):
    """Does not go back when a trial has failed."""

    def _leave_trial(self, update: Update) -> Move | Reboot:
        return super()._leave_trial(update) if update.failures else Reboot("0 tryboot")


class ForgetsTheCounter(Runner):
    """Confirms a release and does not raise the floor."""

    def _raise_counter(self, counter: int) -> None:
        assert counter >= 0


@dataclass(frozen=True)
class NeverFlushed:
    """A block device whose flush was forgotten."""

    device: BlockDevice

    @property
    def size_bytes(self) -> int:
        return self.device.size_bytes

    def read(self, offset: int, length_bytes: int) -> bytes:
        return self.device.read(offset, length_bytes)

    def write(self, offset: int, content: bytes) -> None:
        self.device.write(offset, content)

    def holds(self, offset: int, content: bytes) -> bool:
        return self.device.holds(offset, content)

    def flush_behind(self) -> None:
        """Come back at once."""

    def flush(self) -> None:
        """Come back at once."""


@dataclass(frozen=True, slots=True)
class ForgetsToFlush(Device):
    """Writes the standby slot and never waits until it is on the medium."""

    def part(self, slot: SlotName, part: str) -> BlockDevice:
        return NeverFlushed(super(ForgetsToFlush, self).part(slot, part))


@dataclass(frozen=True, slots=True)
class ForgetsHistory(Device):
    """Tries again what has failed here, without being asked."""

    def policy_facts(self, journal: Journal, *, hurry: bool) -> DeviceFacts:
        facts = super(ForgetsHistory, self).policy_facts(journal, hurry=hurry)
        return replace(facts, tried=frozenset())


@dataclass(frozen=True)
class Stuck:
    """A boot control that never withdraws a trial."""

    real: BootControl

    def booted(self) -> SlotName:
        return self.real.booted()

    def default(self) -> SlotName:
        return self.real.default()

    def armed(self) -> bool:
        return self.real.armed()

    def try_next(self, slot: SlotName, attempts: int) -> str:
        return self.real.try_next(slot, attempts + 7)

    def confirm(self, slot: SlotName) -> None:
        self.real.confirm(slot)

    def disarm(self) -> None:
        """Withdraw nothing."""


def _stuck(profile: BoardProfile, storage: Storage, facts: SystemFacts) -> BootControl:
    return Stuck(boot_control(profile, storage, facts))


MUTANTS: Mapping[str, Pieces] = MappingProxyType(
    {
        "confirms without health": Pieces(runner=ConfirmsUnexamined),
        "does not count attempts": Pieces(runner=ForgetsAttempts),
        "forgets reports before the receipt": Pieces(runner=ForgetsReports),
        "gives a report a new id in each boot": Pieces(runner=RenamesReports),
        "writes the slot that runs": Pieces(runner=WritesWhatRuns),
        "stays in an unhealthy trial": Pieces(runner=StaysUnhealthy),
        "does not raise the floor": Pieces(runner=ForgetsTheCounter),
        "does not flush": Pieces(device=ForgetsToFlush),
        "tries again what has failed": Pieces(device=ForgetsHistory),
        "does not withdraw a trial": Pieces(boot_control=_stuck),
        "leaves a chip's new image": with_chips(LeavesTheNewImage),
        "keeps no chip's old image": with_chips(KeepsNoOldImage),
        "confirms before the chips": Pieces(runner=ConfirmsBeforeTheChips),
    }
)
