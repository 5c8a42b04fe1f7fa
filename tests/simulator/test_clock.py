from datetime import timedelta

from simulator.clock import NO_BATTERY, START, SimulatedClock


def test_time_passes_only_when_someone_sleeps() -> None:
    clock = SimulatedClock()
    assert clock.monotonic_s() == clock.monotonic_s() == 0.0
    clock.sleep(3600)
    assert clock.monotonic_s() == 3600
    assert clock.wall().utc == START + timedelta(hours=1)
    assert clock.wall().synchronised


def test_a_clock_without_a_battery_wakes_in_1970_after_each_boot() -> None:
    clock = SimulatedClock(battery=False, synchronise_after_s=30)
    clock.sleep(10)
    assert not clock.wall().synchronised
    assert clock.wall().utc == NO_BATTERY + timedelta(seconds=10)
    clock.sleep(20)
    assert clock.wall().utc == START + timedelta(seconds=30)
    clock.boot()
    assert clock.wall().utc == NO_BATTERY
    assert clock.monotonic_s() == 30


def test_a_jump_moves_the_date_and_nothing_else() -> None:
    clock = SimulatedClock()
    clock.jump(timedelta(days=-400))
    assert clock.wall().utc == START - timedelta(days=400)
    assert clock.true_time() == START
    assert clock.monotonic_s() == 0.0


def test_a_drifting_clock_that_is_not_synchronised_gains_time() -> None:
    clock = SimulatedClock(synchronise_after_s=None, drift=0.5)
    clock.sleep(100)
    assert clock.wall().utc == START + timedelta(seconds=150)


def test_actions_happen_in_the_order_of_their_moments_while_someone_waits() -> None:
    clock = SimulatedClock()
    seen: list[tuple[str, float]] = []
    clock.at(20, lambda: seen.append(("second", clock.now_s)))
    clock.at(10, lambda: seen.append(("first", clock.now_s)))
    clock.after(50, lambda: seen.append(("later", clock.now_s)))
    clock.sleep(30)
    assert seen == [("first", 10), ("second", 20)]
    assert clock.now_s == 30


def test_waiting_ends_early_when_an_action_makes_it_ready() -> None:
    clock = SimulatedClock()
    ready: list[int] = []
    clock.at(5, lambda: ready.append(1))
    clock.wait_until(100, lambda: bool(ready))
    assert clock.now_s == 5
