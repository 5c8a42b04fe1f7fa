from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.agenda import Agenda
from agent.basics import TimingSettings
from simulator.clock import SimulatedClock
from simulator.random import SimulatedRandom
from tests.core.samples import NOON
from tests.core.scripts import HighestRandom

TIMING = TimingSettings(check_every_s=86_400, refresh_interval_min_s=60, retry_max_s=900)


class Bench:
    """An agenda that checks whenever it is due, and when that was."""

    def __init__(self, seed: int | None = None, timing: TimingSettings = TIMING) -> None:
        self.clock = SimulatedClock()
        random = HighestRandom() if seed is None else SimulatedRandom(seed)
        self.agenda = Agenda(self.clock, random, timing)
        self.checks_s: list[float] = []

    def check_if_due(self) -> None:
        if self.agenda.check_is_due():
            self.agenda.checking()
            self.checks_s.append(self.clock.now_s)
            self.agenda.checked(now=NOON, until=None)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_after_a_boot_the_device_looks_soon_but_not_at_once(bench: Bench) -> None:
    bench.agenda.start()
    assert not bench.agenda.check_is_due()
    assert bench.agenda.wait_s(updating=False) == 60
    assert bench.agenda.step_is_due()


def test_without_notices_it_looks_at_its_interval_give_or_take_a_tenth() -> None:
    gaps = []
    for seed in range(50):
        bench = Bench(seed)
        bench.agenda.checking()
        bench.agenda.checked(now=NOON, until=None)
        gaps.append(bench.agenda.wait_s(updating=False))
    assert all(0.9 * 86_400 <= gap <= 1.1 * 86_400 for gap in gaps)
    assert len(set(gaps)) == 50


@settings(max_examples=30)
@given(
    st.integers(0, 2**16),
    st.lists(st.tuples(st.floats(0, 5), st.integers(0, 21_600)), min_size=50, max_size=200),
)
def test_whatever_notices_come_there_is_one_check_in_each_shortest_interval(
    seed: int, notices: list[tuple[float, int]]
) -> None:
    bench = Bench(seed)
    bench.agenda.start()
    for pause_s, spread_s in notices:
        bench.agenda.noticed(spread_s)
        bench.clock.sleep(pause_s)
        bench.check_if_due()
    for earlier, later in zip(bench.checks_s, bench.checks_s[1:], strict=False):
        assert later - earlier >= TIMING.refresh_interval_min_s


def test_ten_thousand_notices_in_one_second_are_one_check(bench: Bench) -> None:
    bench.agenda.start()
    bench.clock.sleep(100)
    for _ in range(10_000):
        bench.agenda.noticed(0)
        bench.check_if_due()
    assert bench.checks_s == [100]
    bench.clock.sleep(59)
    bench.check_if_due()
    assert bench.checks_s == [100]
    bench.clock.sleep(1)
    bench.check_if_due()
    assert bench.checks_s == [100, 160]


@given(st.integers(0, 2**16), st.integers(0, 21_600))
def test_a_notice_never_pushes_a_check_back(seed: int, spread_s: int) -> None:
    bench = Bench(seed)
    bench.agenda.start()
    before_s = bench.agenda.wait_s(updating=False)
    bench.agenda.noticed(spread_s)
    assert bench.agenda.wait_s(updating=False) <= before_s


def test_a_notice_spreads_devices_over_its_time() -> None:
    waits = []
    for seed in range(200):
        bench = Bench(seed)
        bench.clock.sleep(1000)
        bench.agenda.checking()
        bench.agenda.checked(now=NOON, until=None)
        bench.clock.sleep(1000)
        bench.agenda.noticed(3600)
        waits.append(bench.agenda.wait_s(updating=False))
    assert min(waits) < 200
    assert max(waits) > 3400
    assert all(0 <= wait <= 3600 for wait in waits)


def test_what_is_put_off_is_looked_at_again_at_its_date(bench: Bench) -> None:
    bench.agenda.checking()
    bench.agenda.checked(now=NOON, until=NOON + timedelta(hours=2))
    assert bench.agenda.wait_s(updating=False) == 7200


@pytest.mark.parametrize("until", [NOON, NOON - timedelta(days=1), NOON + timedelta(seconds=1)])
def test_no_date_makes_it_look_sooner_than_its_shortest_interval(
    bench: Bench, until: object
) -> None:
    assert isinstance(until, type(NOON))
    bench.agenda.checking()
    bench.agenda.checked(now=NOON, until=until)
    assert bench.agenda.wait_s(updating=False) == 60


def test_failures_are_repeated_ever_more_rarely_and_never_within_the_shortest_interval(
    bench: Bench,
) -> None:
    gaps = []
    for _ in range(12):
        bench.agenda.checking()
        bench.agenda.failed()
        gaps.append(bench.agenda.wait_s(updating=False))
        bench.clock.sleep(gaps[-1])
    assert gaps == [60, 60, 60, 60, 80, 160, 320, 640, 900, 900, 900, 900]


def test_a_failed_step_waits_and_one_that_was_done_does_not(bench: Bench) -> None:
    bench.agenda.failed()
    assert not bench.agenda.step_is_due()
    assert bench.agenda.wait_s(updating=True) == 5
    bench.agenda.succeeded()
    assert bench.agenda.step_is_due()
    bench.agenda.failed()
    assert bench.agenda.wait_s(updating=True) == 5


def test_a_notice_changes_nothing_for_an_update_that_waits_to_try_again(bench: Bench) -> None:
    bench.agenda.failed()
    bench.agenda.noticed(0)
    assert bench.agenda.wait_s(updating=True) == 5


def test_what_time_does_not_mend_waits_for_the_regular_time_or_a_notice(bench: Bench) -> None:
    bench.agenda.checking()
    bench.agenda.refused()
    assert bench.agenda.wait_s(updating=False) >= 86_400
    bench.agenda.noticed(0)
    assert bench.agenda.wait_s(updating=False) == 60


def test_a_refusal_keeps_to_the_shortest_interval_too() -> None:
    bench = Bench(timing=TimingSettings(10, 600, 900))
    bench.agenda.checking()
    bench.agenda.refused()
    assert bench.agenda.wait_s(updating=False) == 600


def test_someone_at_the_device_need_not_wait(bench: Bench) -> None:
    bench.agenda.checking()
    bench.agenda.checked(now=NOON, until=None)
    bench.agenda.hurry()
    assert bench.agenda.check_is_due()
