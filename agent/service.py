"""The service: wires one boot of a device together and runs it until it must reboot or stop."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final, assert_never

from agent.account import alarm, same_news, status_of
from agent.agenda import Agenda
from agent.board import BoardProfile
from agent.bookkeeping import consented
from agent.config import Config
from agent.device import Device
from agent.errors import (
    BrokerError,
    LimitError,
    MixedError,
    NoticeError,
    Retry,
    StateError,
    UpdateError,
)
from agent.health import Verdict
from agent.interfaces import World
from agent.journal import Journal
from agent.link import RECEIPT_S, Link
from agent.mending import (
    is_foreign_trial,
    journal_anew,
    leave_foreign_trial,
    load_or_none,
    mend_floor,
)
from agent.opening import open_device
from agent.outlook import Looked
from agent.pieces import PIECES, MakeRunner, Pieces
from agent.policy import Decision, Defer, Proceed, decide
from agent.report import Report, Status
from agent.request import Request, Verb, take
from agent.rest import Rest
from agent.resting import Resting, Unsaid
from agent.runner import Hooks, Reboot, Runner
from agent.stuck import say_stuck
from agent.topics import Topics
from agent.update import State

LISTEN_S_MAX: Final = 600.0
"""How long the service manager may hear nothing while there is nothing to do but listen."""
PROGRESS_S: Final = 0.5


class Ending(StrEnum):
    """Why the service returned."""

    REBOOTING = "rebooting"
    STOPPED = "stopped"
    RESTING = "resting"


class StopAskedError(Exception):
    """Ends whatever is under way, as a power cut might: the next start goes on from what is durable."""


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Service:
    """One boot of one device: its world and what it was configured with."""

    world: World
    config: Config
    profile: BoardProfile
    root_of_trust: bytes
    pieces: Pieces = PIECES
    encryption_key: bytes = field(default=b"", repr=False)

    def run(
        self,
        deadline_s: float | None = None,
        stop: Callable[[], bool] = _never,
        rest: Rest | None = None,
    ) -> Ending:
        """Settle what the last boot left, then listen, check and install.

        Returns when a reboot was asked for, at `deadline_s` of the monotonic clock, or soon after
        `stop` says so and the broker's wait was woken; and with `rest`, as soon as there is nothing to
        do and somebody will start it again. Raises `ProfileError`, `BootControlError` and
        `InstallError` when the board is not as configured.
        """
        try:
            return self._serve(deadline_s, stop, rest)
        except UpdateError as error:  # nothing could begin: whoever started this starts it again
            say_stuck(self.world, self.config, error, stop)
            raise

    def _serve(
        self, deadline_s: float | None, stop: Callable[[], bool], rest: Rest | None
    ) -> Ending:
        device = open_device(
            self.world,
            self.config,
            self.profile,
            self.root_of_trust,
            self.pieces,
            encryption_key=self.encryption_key,
        )
        shift = Shift(device, stop, self.pieces.runner, rest)
        try:
            return shift.work(deadline_s)
        except StopAskedError:
            return shift.leave()


class Shift:
    """One boot's work: who listens, who decides, who moves the update."""

    def __init__(
        self,
        device: Device,
        stop: Callable[[], bool] = _never,
        runner: MakeRunner = Runner,
        rest: Rest | None = None,
    ) -> None:
        self._device = device
        self._stop = stop
        self._resting = None if rest is None else Resting(rest, device)
        world, config = device.world, device.config
        self._link = Link(
            world.broker,
            world.clock,
            world.random,
            Topics(config.device.fleet, config.device.id),
            config.timing.retry_max_s,
        )
        self._agenda = Agenda(world.clock, world.random, config.timing)
        hooks = Hooks(
            tend=self._tend, asked=self._verdict_asked, changed=self._show, told=self._tell_step
        )
        self._runner = runner(device, Journal(), hooks)
        self._status: Status | None = None
        self._shown_s = 0.0
        self._detail = ""
        self._hurry = False
        self._request: Request | None = None

    def work(self, deadline_s: float | None) -> Ending:
        """Until a reboot is due or the time is up."""
        if self._begin() is Ending.REBOOTING:
            return Ending.REBOOTING
        clock = self._device.world.clock
        while deadline_s is None or clock.monotonic_s() < deadline_s:  # the service loop
            ending = self._turn()
            if ending is not None:
                return ending
            self._say_alive()
            if self._may_end():
                return Ending.RESTING
            wait_s = min(self._wait_s(), LISTEN_S_MAX)
            if self._resting is not None and self._runner.update is None:
                wait_s = min(wait_s, RECEIPT_S)  # then there may be a way to end
            if deadline_s is not None:
                wait_s = min(wait_s, max(0.0, deadline_s - clock.monotonic_s()))
            self._tend(wait_s)
        return self.leave()

    def _wait_s(self) -> float:
        return self._agenda.wait_s(updating=self._runner.update is not None)

    def _may_end(self) -> bool:
        """Rest, if there is a way to, once nothing is under way and all that came was taken in."""
        if self._resting is None or self._runner.update is not None:
            return False
        self._tend(0.0)
        if not self._link.is_quiet(self._runner.journal.reports):
            return False
        try:
            return self._resting.may_end(self._agenda, self._detail, self._unsaid())
        except (BrokerError, StateError) as error:  # then it goes on as if it could not rest
            self._detail = f"{error.code}: {error}"
            return False

    def _unsaid(self) -> Unsaid:
        reports = self._runner.journal.reports
        return Unsaid(reports=bool(reports), anything=self._link.has_more_to_say(reports))

    def _begin_agenda(self) -> None:
        """Go on where the last run of this boot stopped, or look soon."""
        memory = self._resting.recalled() if self._resting is not None else None
        if memory is None:
            self._agenda.start()
        else:
            self._agenda.recall(memory)
            self._detail = memory.detail

    def leave(self) -> Ending:
        """Say goodbye to the broker."""
        self._link.close()
        return Ending.STOPPED

    def _begin(self) -> Ending | None:
        mended = mend_floor(self._device.world.files)
        journal = load_or_none(self._device.world.files)
        if journal is None:
            return self._begin_without_journal()
        self._runner.journal = journal
        booted = self._device.boot.booted()
        known = booted in journal.installed or is_foreign_trial(self._device, journal)
        if journal.update is None and not known:
            made_with = self._device.running(journal)
            journal = replace(journal, installed={**journal.installed, booted: made_with})
            self._runner.record(journal)
        if mended:
            self._runner.record(journal.with_report(alarm(self._device, journal, "state", mended)))
        self._runner.settle()
        self._begin_agenda()
        self._show(self._runner.journal)
        if self._runner.update is None:
            return self._leave_foreign_trial()
        return None

    def _begin_without_journal(self) -> Ending | None:
        """A journal that cannot be read: keep it for people, say so, and trust the hardware."""
        self._runner.record(journal_anew(self._device))
        self._begin_agenda()
        return self._leave_foreign_trial()

    def _leave_foreign_trial(self) -> Ending | None:
        runner = self._runner
        leaving = leave_foreign_trial(self._device, runner.journal, runner.record)
        return self._reboot("") if leaving else None

    def _turn(self) -> Ending | None:
        """One turn of the loop: what was asked, then a step of the update, or a check."""
        try:
            self._take_request()
            if self._runner.update is not None:
                return self._step() if self._agenda.step_is_due() else None
            if self._agenda.check_is_due():
                self._check()
        except UpdateError as error:
            self._put_off(error)
        return None

    def _step(self) -> Ending | None:
        reboot = self._runner.step()
        self._agenda.succeeded()
        if self._runner.update is None:
            self._detail = ""
            self._link.speak_again()
        return None if reboot is None else self._reboot_after(reboot)

    def _reboot_after(self, reboot: Reboot) -> Ending:
        self._detail = "rebooting"
        self._show(self._runner.journal)
        self._tend(0.0)
        return self._reboot(reboot.argument)

    def _reboot(self, argument: str) -> Ending:
        self._link.close()
        self._device.world.system.reboot(argument)
        return Ending.REBOOTING

    def _check(self) -> Decision:
        """Refresh, decide, and begin an update if the signed policy says so."""
        settled = True
        try:
            self._runner.mend()
        except MixedError as error:  # a release may be what mends it
            self._detail, settled = f"{error.code}: {error}", False
        self._agenda.checking()
        with self._device.session() as session:
            now = self._device.now()
            decision = decide(
                session.rollouts(),
                session.halts(),
                self._device.policy_facts(self._runner.journal, hurry=self._hurry),
                now,
            )
        hurry, self._hurry = self._hurry, False  # answered now; a check that failed leaves it asked
        self._detail = "; ".join(reason.sentence for reason in decision.reasons[:2])
        until = decision.until if isinstance(decision, Defer) else None
        self._agenda.checked(now=now, until=until)
        if self._resting is not None and settled and not isinstance(decision, Proceed):
            self._resting.looked = Looked(now, session.next_root, session.expires, until)
        if isinstance(decision, Proceed):
            self._runner.accept(decision.rollout, consented=hurry)
        self._show(self._runner.journal)
        return decision

    def _put_off(self, error: UpdateError) -> None:
        """An error that ended a turn: said once, tried again when that may help."""
        self._detail = f"{error.code}: {error}"
        if isinstance(error, LimitError):
            self._agenda.hold(error.again_s)
        elif error.retry is Retry.LATER or self._runner.update is not None:
            self._agenda.failed()
        else:
            self._agenda.refused()
        if error.retry is Retry.NEVER:
            self._tell(alarm(self._device, self._runner.journal, error.code, str(error)))
        self._show(self._runner.journal)

    def _tell(self, report: Report) -> None:
        try:
            self._runner.record(self._runner.journal.with_report(report))
            self._link.speak_again()
        except StateError as error:  # said by the status instead
            self._detail = f"{error.code}: {error}"

    def _tend(self, timeout_s: float) -> bool:
        """Keep the link for so long; take in what came. Raises `StopAskedError`."""
        self._show_progress()
        self._heed_stop()
        self._link.tend(timeout_s, self._runner.journal.reports)
        self._heed_stop()
        for spread_s in self._link.take_notices():
            self._agenda.noticed(spread_s)
        stored = self._link.take_receipts()
        if any(report.id in stored for report in self._runner.journal.reports):
            try:
                self._runner.record(self._runner.journal.without_reports(stored))
            except StateError as error:  # sent again later; the fleet stores it once
                self._detail = f"{error.code}: {error}"
        return self._link.connected

    def _tell_step(self, told: str) -> None:
        self._detail = told
        self._show_progress()

    def _heed_stop(self) -> None:
        if self._stop():
            raise StopAskedError

    def _show_progress(self) -> None:
        now_s = self._device.world.clock.monotonic_s()
        if self._runner.update is not None and now_s - self._shown_s >= PROGRESS_S:
            self._show(self._runner.journal)

    def _show(self, journal: Journal) -> None:
        self._shown_s = self._device.world.clock.monotonic_s()
        status = status_of(self._device, journal, self._runner.meter, self._detail)
        if not same_news(self._status, status):
            self._status = status
            self._link.show(status)
            self._device.world.system.progress(f"{status.phase} {status.detail}".strip())

    def _say_alive(self) -> None:
        """Tell the service manager, also of what the broker cannot be told."""
        update, link = self._runner.update, self._link
        phase = "idle" if update is None else update.state.value
        session = "" if link.connected else f"no session with the broker: {link.last_error}"
        self._device.world.system.progress(f"{phase} {session or self._detail}".strip())

    def _take_request(self) -> None:
        try:
            request = self._request or take(self._device.world.files)
        except (NoticeError, StateError) as error:
            self._detail = f"{error.code}: {error}"
            return
        self._request = None
        if request is not None:
            self._obey(request)

    def _obey(self, request: Request) -> None:
        match request.verb:
            case Verb.CHECK:
                self._agenda.hurry()
            case Verb.INSTALL:
                self._hurry = True
                self._runner.record(consented(self._runner.journal))
                self._agenda.hurry()
            case Verb.DEFER:
                self._runner.record(replace(self._runner.journal, deferred_until=request.until))
            case Verb.REVERT:
                if self._runner.update is None:
                    self._runner.go_back()
                    self._agenda.succeeded()
            case Verb.CONFIRM:
                self._detail = "there is no trial to confirm"
            case _:
                assert_never(request.verb)

    def _verdict_asked(self) -> Verdict | None:
        """The verdict of someone at the device on the trial that runs."""
        try:
            request = take(self._device.world.files)
        except (NoticeError, StateError):
            return None
        update = self._runner.update
        if request is None or update is None or update.state is not State.TRIAL:
            return None
        if request.verb is Verb.CONFIRM:
            return Verdict(healthy=True, detail="confirmed by someone at the device")
        if request.verb is Verb.REVERT:
            return Verdict(healthy=False, detail="refused by someone at the device")
        self._request = request
        return None
