from collections import deque
from dataclasses import dataclass, field, replace

import pytest

from agent.board import Check, ConfirmSettings
from agent.health import PAUSE_S, Verdict, examine
from agent.interfaces import CheckResult, Conditions, SystemFacts
from simulator.clock import SimulatedClock

SETTINGS = ConfirmSettings(
    within_s=60,
    attempts_max=3,
    require_broker=False,
    checks=(Check("network", ("ping",), 10), Check("pump", ("pumpctl",), 30)),
    watchdog=None,
)


@dataclass(slots=True)
class Patient:
    """A `System` whose checks end as `results` says, then pass; each takes `check_s`."""

    clock: SimulatedClock
    results: deque[bool] = field(default_factory=deque)
    check_s: float = 1.0
    timeouts_s: list[float] = field(default_factory=list)
    statuses: list[str] = field(default_factory=list)

    def facts(self) -> SystemFacts:
        """Nobody asks."""
        raise AssertionError

    def run_check(self, command: tuple[str, ...], timeout_s: float) -> CheckResult:
        """The next result."""
        self.timeouts_s.append(timeout_s)
        self.clock.sleep(min(self.check_s, timeout_s))
        passed = self.results.popleft() if self.results else True
        return CheckResult(passed=passed, detail=f"{command[0]}\nsaid\x1b[31m no")

    def reboot(self, argument: str) -> None:
        """Nobody asks."""
        raise AssertionError(argument)

    def conditions(self, *, ask_link: bool) -> Conditions:
        """Nobody asks."""
        raise AssertionError(ask_link)

    def make_way(self, *, low: bool) -> None:
        """Nobody asks."""
        raise AssertionError(low)

    def progress(self, status: str) -> None:
        """Remember it."""
        self.statuses.append(status)


@dataclass(slots=True)
class Trial:
    """One trial: who is connected when, and what someone at the device says."""

    clock: SimulatedClock = field(default_factory=SimulatedClock)
    connected_from_s: float = 0.0
    said: Verdict | None = None
    said_at_s: float = 0.0
    patient: Patient = field(init=False)

    def __post_init__(self) -> None:
        self.patient = Patient(self.clock)

    def judge(self, settings: ConfirmSettings = SETTINGS) -> Verdict:
        return examine(settings, self.patient, self.clock, self._tend, self._asked)

    def _tend(self, timeout_s: float) -> bool:
        self.clock.sleep(timeout_s)
        return self.clock.now_s >= self.connected_from_s

    def _asked(self) -> Verdict | None:
        return self.said if self.clock.now_s >= self.said_at_s else None


@pytest.fixture
def trial() -> Trial:
    return Trial()


def test_all_checks_passed_is_healthy(trial: Trial) -> None:
    assert trial.judge().healthy
    assert trial.patient.timeouts_s == [10, 30]


def test_a_service_that_starts_late_is_waited_for(trial: Trial) -> None:
    trial.patient.results.extend([False, False, True, False])
    assert trial.judge().healthy
    assert trial.clock.now_s < SETTINGS.within_s


def test_one_that_never_passes_is_unhealthy_within_the_time_and_named(trial: Trial) -> None:
    trial.patient.results.extend([False] * 1000)
    verdict = trial.judge()
    assert not verdict.healthy
    assert "network" in verdict.detail
    assert trial.clock.now_s <= SETTINGS.within_s + PAUSE_S


def test_what_a_check_prints_reaches_nobody_unclean(trial: Trial) -> None:
    trial.patient.results.extend([False] * 1000)
    assert trial.judge().detail.isprintable()
    assert all(status.isprintable() for status in trial.patient.statuses)


def test_checks_that_hang_end_with_the_time_of_the_trial(trial: Trial) -> None:
    trial.patient.check_s = 10_000
    slow = replace(SETTINGS, checks=tuple(Check(f"c{n}", ("x",), 3600) for n in range(32)))
    trial.judge(slow)
    assert trial.clock.now_s <= SETTINGS.within_s + 32
    assert all(timeout_s <= SETTINGS.within_s for timeout_s in trial.patient.timeouts_s)


def test_a_system_that_nobody_can_reach_is_unhealthy_where_the_profile_says_so(
    trial: Trial,
) -> None:
    trial.connected_from_s = 1000
    assert trial.judge().healthy
    verdict = Trial(connected_from_s=1000).judge(replace(SETTINGS, require_broker=True))
    assert not verdict.healthy
    assert "broker" in verdict.detail


def test_a_session_that_comes_in_time_is_enough(trial: Trial) -> None:
    trial.connected_from_s = 40
    assert trial.judge(replace(SETTINGS, require_broker=True)).healthy
    assert trial.clock.now_s >= 40


@pytest.mark.parametrize("healthy", [True, False])
def test_someone_at_the_device_has_the_last_word(trial: Trial, *, healthy: bool) -> None:
    trial.patient.results.extend([False] * 1000)
    trial.said, trial.said_at_s = Verdict(healthy, "said so"), 20
    assert trial.judge() == Verdict(healthy, "said so")


def test_the_service_manager_hears_of_it_at_every_round(trial: Trial) -> None:
    trial.patient.results.extend([False] * 5)
    trial.judge()
    assert len(trial.patient.statuses) >= 5
