from dataclasses import dataclass, replace

import pytest

from agent import floor
from agent.board import SlotName
from agent.errors import (
    BootControlError,
    FetchError,
    StateError,
    TrustError,
)
from agent.health import Verdict
from agent.journal import Installed, Journal, load
from agent.report import Outcome
from agent.rollout import (
    Audience,
    Halt,
    Halts,
    Rollout,
    Rollouts,
    RolloutState,
    encode_halts,
    encode_rollouts,
)
from agent.runner import FAILURES_MAX, REBOOTS_MAX, Hooks, Reboot, Runner
from agent.update import State, Update
from simulator.faults import Storing
from tests.core.clients import Client, make_client
from tests.core.samples import NOON, RELEASE
from tests.core.tuf_repository import (
    FLEET,
    HALTS_PATH,
    ROLLOUTS_PATH,
    TufRepository,
    make_repository,
)

ROLLOUT = Rollout(
    "spring", RELEASE.name, RELEASE.counter, RolloutState.ACTIVE, 0, 0, Audience((), ()), (), None
)
UPDATE = Update("spring/0/2026.2", "spring", 0, RELEASE.name, 2, State.TRIAL, "b", attempts=1)
SAYS_HEALTHY = Verdict(healthy=True, detail="said so")
SAYS_UNHEALTHY = Verdict(healthy=False, detail="smoke")


@dataclass(slots=True)
class Switch:
    """A `BootControl` with two slots; `fails` is the word that raises, with or `after` its effect."""

    running: SlotName = "a"
    starts: SlotName = "a"
    trial: bool = False
    fails: str = ""
    after: bool = False

    def booted(self) -> SlotName:
        """The slot that runs."""
        return self.running

    def default(self) -> SlotName:
        """The slot that starts."""
        return self.starts

    def armed(self) -> bool:
        """Whether a trial is armed."""
        return self.trial

    def try_next(self, slot: SlotName, attempts: int) -> str:
        """Arm."""
        assert attempts == 1
        assert slot not in (self.running, self.starts)
        self._may_fail("try_next", before=True)
        self.trial = True
        self._may_fail("try_next")
        return "go"

    def confirm(self, slot: SlotName) -> None:
        """Make it the default."""
        assert slot == self.running
        self._may_fail("confirm", before=True)
        self.starts, self.trial = slot, False
        self._may_fail("confirm")

    def disarm(self) -> None:
        """Withdraw."""
        self._may_fail("disarm", before=True)
        self.trial = False

    def _may_fail(self, word: str, *, before: bool = False) -> None:
        if self.fails == word and self.after is not before:
            raise BootControlError(f"{word} fails")


@dataclass(slots=True)
class Bench:
    """One boot of a device whose journal holds an update, and whoever stands beside it."""

    repository: TufRepository
    client: Client
    switch: Switch
    said: Verdict | None = None

    def runner(self, journal: Journal) -> Runner:
        hooks = Hooks(tend=lambda _: True, asked=lambda: self.said, changed=lambda _: None)
        return Runner(self.client.device(), journal, hooks)

    def at(self, update: Update) -> Runner:
        return self.runner(Journal(update=update, installed={"a": Installed("2026.1", 1)}))

    def roll_out(self, *rollouts: Rollout, halts: tuple[Halt, ...] = ()) -> None:
        self.repository.documents["rollouts"][ROLLOUTS_PATH] = encode_rollouts(
            Rollouts(FLEET, rollouts)
        )
        self.repository.documents["halts"][HALTS_PATH] = encode_halts(Halts(FLEET, halts))
        self.repository.publish()


@pytest.fixture
def bench() -> Bench:
    repository = make_repository()
    client = make_client(repository)
    switch = Switch()
    client.boot = switch
    made = Bench(repository, client, switch)
    made.roll_out(ROLLOUT)
    return made


def state(runner: Runner) -> State:
    assert runner.journal.update is not None
    return runner.journal.update.state


def on_trial(bench: Bench) -> Runner:
    bench.switch.running, bench.switch.trial = "b", True
    return bench.at(UPDATE)


def in_another_boot(bench: Bench, runner: Runner) -> Runner:
    assert runner.update is not None
    return bench.runner(replace(runner.journal, update=replace(runner.update, boot_id="before")))


def test_an_update_that_is_accepted_is_durable_and_for_the_slot_that_does_not_run(
    bench: Bench,
) -> None:
    runner = bench.runner(Journal())
    runner.accept(ROLLOUT)
    assert runner.update is not None
    assert (runner.update.state, runner.update.target) == (State.ACCEPTED, "b")
    assert load(bench.client.files) == runner.journal


def test_no_two_issues_of_any_rollouts_share_an_id(bench: Bench) -> None:
    ids = set()
    for name, reissue, release in (
        ("r", 1, "2.0"),
        ("r.1", 2, "0"),
        ("r", 12, "0"),
        ("r.1.2", 0, "0"),
    ):
        runner = bench.runner(Journal())
        runner.accept(replace(ROLLOUT, id=name, reissue=reissue, release=release))
        assert runner.update is not None
        ids.add(runner.update.id)
    assert len(ids) == 4


def test_nothing_is_accepted_on_a_trial_that_nobody_remembers(bench: Bench) -> None:
    bench.switch.running = "b"
    with pytest.raises(BootControlError):
        bench.runner(Journal()).accept(ROLLOUT)
    assert load(bench.client.files) == Journal()


def test_a_trial_that_was_left_armed_is_withdrawn_before_its_slot_is_written(bench: Bench) -> None:
    bench.switch.trial = True
    bench.runner(Journal()).accept(ROLLOUT)
    assert not bench.switch.trial


@pytest.mark.parametrize(
    "kind",
    ["timestamp", "2.snapshot", "2.targets", "2.releases", "2.rollouts", "2.halts", "targets/"],
)
def test_a_mirror_that_lies_while_a_release_is_planned_ends_nothing(
    bench: Bench, kind: str
) -> None:
    runner = bench.at(replace(UPDATE, state=State.ACCEPTED, attempts=0))
    sound = bench.repository.copy_files()
    lies = {path: b"{}" for path in sound if kind in path}
    assert lies
    bench.repository.files = sound | lies
    for _ in range(2 * FAILURES_MAX):
        with pytest.raises(TrustError):
            runner.step()
        assert state(runner) is State.ACCEPTED
    bench.repository.files = sound
    runner.step()
    assert runner.journal.reports[0].code == "refused"  # as the truth has it: see below


@pytest.mark.parametrize(
    "changed",
    [
        None,
        replace(ROLLOUT, id="summer"),
        replace(ROLLOUT, reissue=1),
        replace(ROLLOUT, counter=3),
        replace(ROLLOUT, release="2026.3"),
    ],
)
def test_a_rollout_that_is_not_the_one_that_was_accepted_any_more_is_not_planned(
    bench: Bench, changed: Rollout | None
) -> None:
    bench.roll_out(*([changed] if changed else []))
    runner = bench.at(replace(UPDATE, state=State.ACCEPTED, attempts=0))
    runner.step()
    (report,) = runner.journal.reports
    assert (state(runner), report.code) == (State.FAILED, "halted")
    assert runner.journal.tried("spring", 0)


@pytest.mark.parametrize("where", [State.ACCEPTED, State.INSTALLED])
def test_a_halt_ends_an_update_up_to_the_switch(bench: Bench, where: State) -> None:
    bench.roll_out(ROLLOUT, halts=(Halt("spring", 0, "smoke", NOON),))
    runner = bench.at(replace(UPDATE, state=where, attempts=0))
    runner.step()
    assert state(runner) is State.FAILED
    assert not bench.switch.trial


def test_without_news_what_was_installed_goes_on(bench: Bench) -> None:
    bench.repository.files.clear()
    runner = bench.at(replace(UPDATE, state=State.INSTALLED, attempts=0))
    runner.step()
    assert state(runner) is State.SWITCHED


def test_the_attempt_is_durable_before_the_trial_is_armed(bench: Bench) -> None:
    runner = bench.at(replace(UPDATE, state=State.INSTALLED, attempts=0))
    assert runner.step() is None
    assert not bench.switch.trial
    stored = load(bench.client.files)
    assert stored is not None
    assert stored.update is not None
    assert (stored.update.state, stored.update.attempts) == (State.SWITCHED, 1)
    assert runner.step() == Reboot("go")
    assert bench.switch.trial


def test_no_more_trials_than_the_profile_grants(bench: Bench) -> None:
    runner = bench.at(replace(UPDATE, state=State.INSTALLED, attempts=3))
    runner.step()
    assert state(runner) is State.REVERTED
    assert runner.journal.reports[0].code == "trial-lost"


def test_a_healthy_trial_is_confirmed_and_its_counter_never_goes_down_again(bench: Bench) -> None:
    runner = on_trial(bench)
    bench.said = SAYS_HEALTHY
    runner.step()
    assert (state(runner), bench.switch.starts) == (State.CONFIRMED, "b")
    assert bench.client.floor.counter == 2
    assert runner.journal.reports[0].outcome is Outcome.CONFIRMED
    assert runner.journal.installed["b"].counter == 2


def test_the_floor_rises_before_the_record_that_says_confirmed(bench: Bench) -> None:
    runner = on_trial(bench)
    bench.said = SAYS_HEALTHY
    bench.client.files.faults.add(Storing.DISK_FULL, floor.FILE)
    with pytest.raises(StateError):
        runner.step()
    assert state(runner) is State.TRIAL
    runner.settle()
    assert state(runner) is State.CONFIRMED
    assert bench.client.floor.counter == 2


def test_a_confirmation_that_took_effect_and_reported_an_error_is_one(bench: Bench) -> None:
    runner = on_trial(bench)
    bench.said = SAYS_HEALTHY
    bench.switch.fails, bench.switch.after = "confirm", True
    runner.step()
    assert state(runner) is State.CONFIRMED


def test_a_confirmation_that_did_not_take_effect_leaves_the_trial(bench: Bench) -> None:
    runner = on_trial(bench)
    bench.said = SAYS_HEALTHY
    bench.switch.fails = "confirm"
    runner.step()
    assert (state(runner), bench.switch.starts) == (State.UNHEALTHY, "a")
    assert runner.step() == Reboot("")


def test_an_unhealthy_default_that_no_reboot_leaves_ends_as_failed_and_says_what_runs(
    bench: Bench,
) -> None:
    bench.switch.running = bench.switch.starts = "b"
    runner = bench.at(replace(UPDATE, state=State.UNHEALTHY))
    runner.settle()
    assert state(runner) is State.FAILED
    assert bench.client.device().running(runner.journal).release == RELEASE.name


def test_an_unhealthy_trial_is_left_also_when_the_boot_state_takes_no_write(bench: Bench) -> None:
    runner = on_trial(bench)
    bench.said = SAYS_UNHEALTHY
    runner.step()
    bench.switch.fails = "disarm"
    for _ in range(REBOOTS_MAX):
        assert runner.step() == Reboot("")
        runner = in_another_boot(bench, runner)
    with pytest.raises(BootControlError, match="does not go back"):
        runner.step()
    bench.switch.fails, bench.switch.running = "", "a"
    runner.settle()
    (report,) = runner.journal.reports
    assert (report.outcome, report.code, report.detail) == (Outcome.REVERTED, "unhealthy", "smoke")


def test_an_unhealthy_trial_asks_for_its_reboot_until_one_is_granted(bench: Bench) -> None:
    runner = on_trial(bench)
    bench.said = SAYS_UNHEALTHY
    runner.step()
    for _ in range(3 * REBOOTS_MAX):  # each of them refused: the boot is the same
        assert runner.step() == Reboot("")
    assert in_another_boot(bench, runner).step() == Reboot("")


def test_what_time_cannot_mend_is_given_up_at_once(bench: Bench) -> None:
    runner = bench.at(replace(UPDATE, state=State.ACCEPTED, attempts=0))
    runner.step()  # the release has no image for the part that is called boot
    assert state(runner) is State.FAILED
    assert runner.journal.reports[0].code == "refused"


def test_what_time_may_mend_is_tried_a_bounded_number_of_times(bench: Bench) -> None:
    runner = bench.at(replace(UPDATE, state=State.ACCEPTED, attempts=0))
    bench.client.files.faults.add(Storing.DISK_FULL, "floor*", times=1000)
    for _ in range(FAILURES_MAX - 1):
        with pytest.raises(StateError):
            runner.step()
        assert state(runner) is State.ACCEPTED
    runner.step()
    assert (state(runner), runner.journal.reports[0].code) == (State.FAILED, "state")


def test_a_network_that_is_away_is_waited_for_without_a_bound(bench: Bench) -> None:
    runner = bench.at(replace(UPDATE, state=State.ACCEPTED, attempts=0))
    bench.repository.files.clear()
    for _ in range(10 * FAILURES_MAX):
        with pytest.raises(FetchError):
            runner.step()
    assert state(runner) is State.ACCEPTED


def test_going_back_lowers_no_floor_and_ends_with_a_report_of_its_own(bench: Bench) -> None:
    bench.client.look()
    floor.store(bench.client.files, floor.raise_counter(bench.client.floor, 7))
    installed = {"a": Installed("2026.7", 7), "b": Installed("2026.1", 1)}
    runner = bench.runner(Journal(installed=dict(installed)))  # type: ignore[arg-type]  # literals lose their type
    runner.go_back()
    runner.step()
    assert runner.step() == Reboot("go")
    bench.switch.running, bench.said = "b", SAYS_HEALTHY
    runner.settle()
    runner.step()
    assert state(runner) is State.CONFIRMED
    assert bench.client.floor.counter == 7
    assert runner.journal.installed["b"].release == "2026.1"


def test_there_is_nothing_to_go_back_to_after_a_slot_was_written(bench: Bench) -> None:
    with pytest.raises(BootControlError, match="nothing to go back to"):
        bench.runner(Journal(installed={"a": Installed("2026.7", 7)})).go_back()
    assert load(bench.client.files) == Journal()


def test_a_record_that_cannot_be_stored_changes_nothing(bench: Bench) -> None:
    runner = bench.runner(Journal())
    bench.client.files.faults.add(Storing.DISK_FULL, times=10)
    with pytest.raises(StateError):
        runner.accept(ROLLOUT)
    assert runner.journal == Journal()


@pytest.mark.parametrize("default", ["a", "b"])
def test_a_report_that_is_made_again_is_the_same_report(bench: Bench, default: SlotName) -> None:
    bench.switch.running = bench.switch.starts = default
    ids = set()
    for _ in range(3):
        runner = bench.at(replace(UPDATE, state=State.UNHEALTHY))
        runner.settle()
        runner.settle()
        (report,) = runner.journal.reports
        ids.add(report.id)
    assert len(ids) == 1
