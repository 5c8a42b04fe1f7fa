"""The spine: while an update is not finished, take its next step and record what that made durable.

Each step looks at the state, does the one thing that comes next, and returns what happened. The record
is made before anything that depends on it. The docstring of each step says what a cut inside it leaves.
"""

from contextlib import suppress
from dataclasses import replace
from typing import Final, assert_never

from agent import floor
from agent.account import past_of, report_of, with_hold
from agent.board import SlotName, other
from agent.bookkeeping import (
    accepted,
    blamed,
    going_back,
    issue,
    with_summary,
    with_target,
    without_target,
)
from agent.chip_memory import remember
from agent.device import Device
from agent.errors import (
    BootControlError,
    FetchError,
    FlashError,
    LimitError,
    MixedError,
    NotFoundError,
    Retry,
    TrustError,
    UpdateError,
)
from agent.health import Verdict, examine
from agent.install import Install, Job, Meter, install
from agent.journal import Journal, store
from agent.limits import NO_LIMITS
from agent.moves import Hooks as Hooks  # noqa: PLC0414  # its users know it from here
from agent.moves import Move as Move  # noqa: PLC0414  # as above
from agent.moves import Narrator
from agent.moves import Reboot as Reboot  # noqa: PLC0414  # as above
from agent.no_chips import LEAVING_ATTEMPTS, make_chips
from agent.planning import plan_update
from agent.policy import Proceed, decide, halted
from agent.restraint import Restraint
from agent.rollout import Rollout
from agent.update import Event, State, Update, advance, resume

FAILURES_MAX: Final = 5
"""Installations that may fail for other reasons than the network before the update is given up."""
MENDING_MAX: Final = 12
"""Tries to bring chips where they belong, in about an hour: somebody may have to put a plug back."""
TRIAL_BOOTS: Final = 1
"""Boots that one attempt grants, on every bootloader: the durable count of attempts is ours."""
REBOOTS_MAX: Final = 6
"""Reboots out of an unhealthy trial before the device says that it cannot get out."""


class Runner:
    """Owns the journal of one device in one boot, and moves its update."""

    def __init__(
        self, device: Device, journal: Journal, hooks: Hooks, install: Install = install
    ) -> None:
        self._device = device
        self._hooks = hooks
        self._install_images = install
        self.journal = journal
        self.meter = Meter()
        self._interrupted = False
        self._looked_s = 0.0
        self._restraint = device.restraint or Restraint(device.world, NO_LIMITS)
        self._chips = make_chips(device, self, Narrator(device.world, hooks).say)

    @property
    def update(self) -> Update | None:
        """The update that is under way, if there is one."""
        update = self.journal.update
        return None if update is None or update.finished else update

    def record(self, journal: Journal) -> None:
        """Make the journal durable, then go by it. Raises `StateError` and changes nothing."""
        if journal != self.journal:
            remember(self._device.world.files, self.journal, journal)
            store(self._device.world.files, journal)
            self.journal = journal
        self._hooks.changed(journal)

    def settle(self) -> None:
        """After a boot: bring the record up to what the hardware says happened."""
        boot = self._device.boot
        for _ in range(len(State)):
            update = self.update
            if update is None:
                return
            event = resume(
                update,
                booted=boot.booted(),
                default=boot.default(),
                same_boot=update.boot_id == self._device.facts.boot_id,
                chips_settled=self._chips.settled,
            )
            if event is None:
                return
            if event is Event.GAVE_UP:
                update = blamed(update, "boot-control", "the slots changed under the update")
            if event is Event.HEALTH_CONFIRMED:
                # What was read may come from a process that did not live to flush it: a cut after
                # the report would take it back.
                boot.confirm(update.target)
            self._apply(Move(update, event))

    def accept(self, rollout: Rollout, *, consented: bool = False) -> None:
        """Begin: a cut after this goes on with the same rollout, one before it decides again.

        `consented` says that someone at the device asked for it.
        """
        boot = self._device.boot
        booted = boot.booted()
        if booted != boot.default():
            raise BootControlError(
                f"a confirmed slot was expected to run, slot {booted} is on trial without a record "
                "of it; restart the device"
            )
        if boot.armed():  # left by an update that failed while it armed; its slot is written next
            boot.disarm()
        target = other(booted)
        update = replace(accepted(rollout, target), consented=consented)
        self.meter, self._interrupted = Meter(), False
        self.record(replace(self.journal, update=update))

    def go_back(self) -> None:
        """Begin a trial of the slot that ran before, because someone at the device asked to."""
        target = other(self._device.boot.booted())
        previous = self.journal.installed.get(target)
        if previous is None:
            raise BootControlError(
                f"slot {target} holds nothing that ever ran here whole; there is nothing to go back to"
            )
        update = going_back(previous, target, self._device.world.random.token())
        update = replace(update, chips=self._chips.going_back(target))
        self.record(replace(self.journal, update=update))

    def mend(self) -> None:
        """Bring chips that an update left behind to what belongs here. Raises `MixedError`."""
        if self.update is None and not self._chips.settled:
            self._chips.settle()

    def step(self) -> Reboot | None:
        """Take the next step of the update that is under way, and record it.

        Raises what the step raises when trying again later may help; gives the update up otherwise.
        """
        update = self.update
        if update is None:
            return None
        try:
            move = self._next(update)
        except UpdateError as error:
            move = self._given_up(update, error)
        if isinstance(move, Reboot):
            return move
        self._apply(move)
        return None

    def _next(self, update: Update) -> Move | Reboot:
        match update.state:
            case State.ACCEPTED:
                return self._plan(update)
            case State.PLANNED:
                return self._install(update)
            case State.INSTALLED:
                return self._start_trial(update)
            case State.SWITCHED:
                return Reboot(self._device.boot.try_next(update.target, TRIAL_BOOTS))
            case State.TRIAL:
                return self._judge(update)
            case State.UNHEALTHY:
                return self._leave_trial(update)
            case State.CONFIRMED | State.REVERTED | State.FAILED:
                raise AssertionError(f"an update that is {update.state} has no next step")
            case _:
                assert_never(update.state)

    def _plan(self, update: Update) -> Move:
        """A cut leaves it accepted: it is planned again from documents that are verified again."""
        with self._device.session() as session:
            rollout = next(
                (one for one in session.rollouts().rollouts if one.id == update.rollout), None
            )
            if (
                rollout is None
                or issue(rollout) != (update.reissue, update.release, update.counter)
                or halted(update.rollout, update.reissue, session.halts())
            ):
                return self._stopped(update)
            planned = plan_update(self._device, self.journal, update, rollout, session)
        self._chips.check_ways_back(planned.chips)
        return Move(planned, Event.PLAN_MADE)

    def _install(self, update: Update) -> Move:
        """A cut leaves a standby slot that cannot start, or is whole; running it again resumes."""
        device, hold = self._device, self._restraint.hold(update)
        now_s = device.world.clock.monotonic_s()
        rested = hold is None or now_s - self._looked_s >= device.config.timing.check_every_s
        if self._interrupted and rested and not self._still_wanted(update):
            return self._stopped(update)
        self._interrupted = True
        if hold is not None:
            raise hold
        jobs = tuple(
            Job(
                installation,
                device.part(update.target, installation.part),
                device.part(other(update.target), installation.part),
                device.encryption_key,
            )
            for installation in update.installations
        )
        self.meter.done_bytes = 0
        with self._restraint.at_work(update, jobs, self._breathe) as breathe:
            self._install_images(jobs, device.world.repository, self.meter, breathe)
            self._chips.prepare(update, breathe)
        self._interrupted = False
        return Move(
            replace(
                update,
                fetched_bytes=self.meter.fetched_bytes,  # of this boot, with all that failed
                written_bytes=self.meter.written_bytes,
                held="",
            ),
            Event.IMAGES_INSTALLED,
        )

    def _breathe(self) -> None:
        self._device.world.system.progress("installing")
        self._hooks.tend(0.0)

    def _start_trial(self, update: Update) -> Move:
        """The attempt is counted before the switch: a cut between them costs one attempt.

        Chips from a trial that was lost are put back first, whatever comes then.
        """
        used_up = update.attempts >= self._device.profile.confirm.attempts_max
        self._chips.settle(replaced=() if used_up else [one.chip for one in update.chips])
        if used_up:
            told = (
                f"{update.attempts} trials ended without a verdict; the last one did not come back"
            )
            return Move(blamed(update, "trial-lost", told), Event.TRIALS_USED_UP)
        if update.rollout and not self._still_wanted(update):
            return self._stopped(update)
        armed = replace(update, boot_id=self._device.facts.boot_id)
        return Move(armed, Event.TRIAL_STARTING)

    def _still_wanted(self, update: Update) -> bool:
        """Look once more; without news, what was decided goes on.

        A newer release that this device would take ends an update which cannot be fetched for good.
        """
        self._looked_s = self._device.world.clock.monotonic_s()
        try:
            with self._device.session() as session:
                rollouts, halts = session.rollouts(), session.halts()
        except (FetchError, TrustError):
            return True
        listed = any(one.id == update.rollout for one in rollouts.rollouts)
        if not listed or halted(update.rollout, update.reissue, halts):
            return False
        facts = self._device.policy_facts(self.journal, hurry=False)
        decision = decide(rollouts, halts, facts, self._device.now())
        return not isinstance(decision, Proceed) or decision.rollout.counter <= update.counter

    def _judge(self, update: Update) -> Move:
        """A cut before the confirmation counts as one trial; one after it is found by `settle`.

        The system's confirmation decides for the chips too: before it they go back, after it forward.
        """
        if update.chips and self._device.boot.default() == update.target:
            self._confirm(update.target)  # what was read may not be on the medium yet
            self._chips.settle()
            return Move(update, Event.HEALTH_CONFIRMED)
        try:
            self._chips.bring_forward()
            verdict = self._verdict()
            if verdict.healthy:
                self._chips.check_trials()
        except FlashError as error:
            return Move(blamed(update, error.code, str(error)), Event.HEALTH_FAILED)
        if not verdict.healthy:
            return Move(blamed(update, "unhealthy", verdict.detail), Event.HEALTH_FAILED)
        self._confirm(update.target)
        self._chips.settle()
        return Move(replace(update, detail=verdict.detail), Event.HEALTH_CONFIRMED)

    def _verdict(self) -> Verdict:
        world = self._device.world
        return examine(
            self._device.profile.confirm,
            world.system,
            world.clock,
            self._hooks.tend,
            self._hooks.asked,
        )

    def _confirm(self, target: SlotName) -> None:
        """An error after the write took effect must not call a slot unhealthy that starts by default."""
        boot = self._device.boot
        try:
            boot.confirm(target)
        except BootControlError:
            if boot.default() != target:
                raise

    def _leave_trial(self, update: Update) -> Move | Reboot:
        """The boot is counted before its reboot is asked for: a boot state that is stuck ends the loop.

        The trial is withdrawn before that: a cut between the two leads back, however often power fails.
        A reboot that is refused is asked for again and counts once: the trial must not go on for ever.
        Chips are put back here as far as they let themselves; the system from before sees to the rest.
        """
        if self._device.boot.booted() != update.target:
            self._chips.settle()
            return Move(update, Event.BOOTED_PREVIOUS)
        here = self._device.facts.boot_id
        if update.boot_id != here and update.failures >= REBOOTS_MAX:
            raise BootControlError(
                f"slot {update.target} was expected to be left after its trial, it started again "
                f"{update.failures} times; the bootloader does not go back, see `lockgate doctor`"
            )
        with suppress(BootControlError):  # one that takes no write: one trial boot was granted
            self._device.boot.disarm()
        if update.boot_id != here:
            counted = replace(update, failures=update.failures + 1, boot_id=here)
            self.record(replace(self.journal, update=counted))
            with suppress(MixedError):
                self._chips.settle(LEAVING_ATTEMPTS)
        return Reboot("")

    def _stopped(self, update: Update) -> Move:
        told = "the rollout was halted, withdrawn or overtaken before this device had switched"
        return Move(blamed(update, "halted", told), Event.GAVE_UP)

    def _given_up(self, update: Update, error: UpdateError) -> Move:
        """Give up what time cannot mend; raise the error again when it may."""
        in_target = self._device.boot.booted() == update.target
        if isinstance(error, LimitError):
            self.record(with_hold(self._device, self.journal, update, error))
            raise error
        if isinstance(error, (TrustError, NotFoundError)) and update.state is State.ACCEPTED:
            # A mirror that lies once must not end what was signed, and nothing is written yet.
            if self._still_wanted(update):
                raise error
            return self._stopped(update)
        if isinstance(error, FetchError) or (update.state is State.UNHEALTHY and in_target):
            raise error
        failed = replace(update, failures=update.failures + 1)
        limit = MENDING_MAX if isinstance(error, MixedError) else FAILURES_MAX
        if error.retry is Retry.LATER and failed.failures < limit:
            self.record(replace(self.journal, update=failed))
            raise error
        on_trial = update.state is State.TRIAL and not isinstance(error, MixedError)
        event = Event.HEALTH_FAILED if on_trial else Event.GAVE_UP  # mixed: it is confirmed already
        return Move(blamed(update, error.code, str(error)), event)

    def _apply(self, move: Move) -> None:
        """Record a move; what ends an update is recorded together with its report."""
        update = replace(advance(move.update, move.event), failures=0)
        if move.event is Event.BOOTED_PREVIOUS or update.state is State.REVERTED:
            # U-Boot does not flush its own way back: a cut could bring the trial up once more.
            self._device.boot.disarm()
        journal = replace(self.journal, update=update)
        if update.state is State.PLANNED:  # the standby slot holds nothing to go back to any more
            journal = replace(journal, installed=without_target(journal, update))
        if update.finished:
            if update.state is State.CONFIRMED or self._stays(update):
                self._raise_counter(update.counter)
                journal = replace(journal, installed=with_target(journal, update))
            update = replace(update, detail=with_summary(update.detail, self._chips.summary()))
            journal = replace(journal, update=update)
            journal = journal.with_report(report_of(self._device, update))
            journal = journal.with_history(past_of(self._device, update))
        self.record(journal)
        if update.finished and self._device.profile.microcontrollers:
            self._chips.tidy()

    def _stays(self, update: Update) -> bool:
        """Whether the system was confirmed, and then a chip did not follow for good."""
        return update.code == MixedError.code and self._device.boot.default() == update.target

    def _raise_counter(self, counter: int) -> None:
        """Before the record that says confirmed: a cut between them is settled by doing it again."""
        files = self._device.world.files
        known = floor.load(files)
        raised = floor.raise_counter(known, counter)
        if raised != known:
            floor.store(files, raised)
