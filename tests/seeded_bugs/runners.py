"""Runners from which one safety rule was taken out."""

import hashlib
from dataclasses import replace
from functools import partial
from typing import Final

from agent import floor
from agent.board import other
from agent.install import install
from agent.journal import Journal
from agent.pieces import Pieces
from agent.report import report_id
from agent.runner import Move, Reboot, Runner
from agent.update import Event, State, Update
from tests.seeded_bugs.installations import FLUSH_BYTES


class ConfirmsBeforeHealth(Runner):
    """Makes the trial slot the default before anyone looked at it."""

    def _judge(self, update: Update) -> Move:
        self._device.boot.confirm(update.target)
        return Move(update, Event.HEALTH_CONFIRMED)


class CountsAfterTheReboot(Runner):
    """Counts an attempt once it has started, not before."""

    def _apply(self, move: Move) -> None:
        update = move.update
        if move.event is Event.TRIAL_STARTING:
            update = replace(update, attempts=update.attempts - 1)
        if move.event is Event.BOOTED_STANDBY:
            update = replace(update, attempts=update.attempts + 1)
        super()._apply(Move(update, move.event))


class NeverTiresOfTrials(Runner):
    """Has no limit of attempts."""

    def _start_trial(self, update: Update) -> Move:
        return Move(replace(update, attempts=0), Event.TRIAL_STARTING)


class ArmsBeforeItInstalls(Runner):
    """Arms the trial while the slot is still to be written."""

    def _install(self, update: Update) -> Move:
        self._device.boot.try_next(update.target, 1)
        return super()._install(update)


class StaysInAnUnhealthyTrial(Runner):
    """Does not leave a trial that was found unhealthy."""

    def _leave_trial(self, update: Update) -> Reboot:
        raise AssertionError(f"slot {update.target} is unhealthy, and nothing follows from it")


class RevertsBeforeItLeaves(Runner):
    """Says that it reverted while the trial slot still runs."""

    def _apply(self, move: Move) -> None:
        super()._apply(move)
        update = self.update
        if update is not None and update.state is State.UNHEALTHY:
            super()._apply(Move(update, Event.BOOTED_PREVIOUS))


class ConfirmsInTheRecordFirst(Runner):
    """Records the confirmation, and its report, before the boot state says so."""

    def _confirm(self, target: object) -> None:
        del target

    def _apply(self, move: Move) -> None:
        super()._apply(move)
        if move.event is Event.HEALTH_CONFIRMED:
            self._device.boot.confirm(move.update.target)


class ReportsSeparately(Runner):
    """Records how an update ended, and what to report of it in a second write."""

    def record(self, journal: Journal) -> None:
        if len(journal.reports) > len(self.journal.reports):
            super().record(replace(journal, reports=self.journal.reports))
        super().record(journal)


class ReportsUnderNewNames(Runner):
    """Gives waiting reports another id in each boot."""

    def record(self, journal: Journal) -> None:
        boot = self._device.facts.boot_id
        reports = tuple(replace(one, id=report_id(one.update, boot)) for one in journal.reports)
        super().record(replace(journal, reports=reports))

    def settle(self) -> None:
        super().settle()
        self.record(self.journal)


class RaisesNoCounter(Runner):
    """Confirms without raising the floor of the release counter."""

    def _raise_counter(self, counter: int) -> None:
        del counter


class RaisesTheCounterAfterwards(Runner):
    """Raises the floor of the release counter after the record that says confirmed."""

    def _raise_counter(self, counter: int) -> None:
        del counter

    def _apply(self, move: Move) -> None:
        super()._apply(move)
        if move.event is Event.HEALTH_CONFIRMED:
            super()._raise_counter(move.update.counter)


class ForgetsTheFloor(Runner):
    """Begins the floor anew with each confirmation."""

    def _raise_counter(self, counter: int) -> None:
        floor.store(self._device.world.files, floor.raise_counter(floor.Floor(), counter))


class LeavesFiles(Runner):
    """Leaves a working copy of every journal behind."""

    def record(self, journal: Journal) -> None:
        name = hashlib.sha256(repr(journal).encode()).hexdigest()[:8]
        self._device.world.files.replace(f"journal.{name}", b"")
        super().record(journal)


class RecordsEveryWindow(Runner):
    """Makes its progress durable before and after every window."""

    def _breathe(self) -> None:
        self._device.world.files.replace("metadata/progress", b"")
        super()._breathe()
        self._device.world.files.replace("metadata/progress", b"%d" % self.meter.done_bytes)


class ForgetsItsHistory(Runner):
    """Does not look at what has already ended here."""

    def _apply(self, move: Move) -> None:
        super()._apply(move)
        if self.journal.update is not None and self.journal.update.finished:
            self.record(replace(self.journal, update=None))


class TriesAgain(Runner):
    """Begins a reverted update again by itself."""

    def _apply(self, move: Move) -> None:
        super()._apply(move)
        update = self.journal.update
        if update is not None and update.state is State.REVERTED:
            again = replace(update, id=f"{update.id}+", state=State.INSTALLED, attempts=0)
            self.record(replace(self.journal, update=again))


class WritesAfterItInstalled(Runner):
    """Touches the slot once more between its verification and its trial."""

    def _start_trial(self, update: Update) -> Move:
        part = update.installations[0].part
        device = self._device.part(update.target, part)
        device.write(device.size_bytes - 512, bytes(512))
        device.flush()
        return super()._start_trial(update)


class TriesTheWrongSlot(Runner):
    """Counts the attempt, and reboots without having armed anything."""

    def _next(self, update: Update) -> Move | Reboot:
        if update.state is State.SWITCHED and self._device.boot.booted() == other(update.target):
            return Reboot("")
        return super()._next(update)


def running(runner: type[Runner]) -> Pieces:
    """The agent with this runner."""
    return Pieces(runner=partial(runner, install=partial(install, flush_bytes=FLUSH_BYTES)))


RUNNERS: Final = {
    "arms before it installs": (running(ArmsBeforeItInstalls), "nothing_unverified_armed"),
    "has no limit of trials": (running(NeverTiresOfTrials), "trials_are_bounded"),
    "counts an attempt after the reboot": (running(CountsAfterTheReboot), "trials_are_bounded"),
    "confirms before the checks": (running(ConfirmsBeforeHealth), "ends_as_it_must"),
    "confirms in the record first": (running(ConfirmsInTheRecordFirst), "reported_is_what_runs"),
    "stays in an unhealthy trial": (running(StaysInAnUnhealthyTrial), "comes_to_rest"),
    "reverts before it has left": (running(RevertsBeforeItLeaves), "reported_is_what_runs"),
    "reports in a write of its own": (running(ReportsSeparately), "one_result_is_stored"),
    "renames its reports at boot": (running(ReportsUnderNewNames), "one_result_is_stored"),
    "does not raise the counter": (running(RaisesNoCounter), "confirmed_is_on_the_floor"),
    "raises the counter afterwards": (
        running(RaisesTheCounterAfterwards),
        "confirmed_is_on_the_floor",
    ),
    "begins the floor anew": (running(ForgetsTheFloor), "floors_only_rise"),
    "leaves files behind": (running(LeavesFiles), "residue_is_bounded"),
    "writes state with every window": (running(RecordsEveryWindow), "state_writes_are_bounded"),
    "tries again by itself": (running(TriesAgain), "ended_is_not_begun_again"),
    "writes what it has verified": (
        running(WritesAfterItInstalled),
        "written_only_while_installing",
    ),
    "does not arm": (running(TriesTheWrongSlot), "ends_as_it_must"),
}
