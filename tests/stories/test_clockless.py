"""A board without a battery, to which nobody ever tells the date, takes part like any other."""

from dataclasses import replace
from datetime import timedelta

from agent.report import Outcome
from agent.rollout import BUCKETS, Phase, Window
from simulator.clock import SimulatedClock
from simulator.lab import Lab, make_lab
from simulator.profiles import load_profile

HOUR_S = 3600.0


def clockless() -> Lab:
    clock = SimulatedClock(battery=False, synchronise_after_s=None)
    return make_lab(load_profile("uboot-bootcount"), clock=clock)


def test_a_phase_begins_although_nothing_newer_is_signed() -> None:
    lab = clockless()
    lab.ship()
    starts = lab.clock.true_time() + timedelta(hours=20)
    later = replace(lab.operator.rollouts[-1], phases=(Phase(BUCKETS, starts),))
    lab.operator.rollouts = (later,)
    lab.operator.publish()
    lab.device.run(19 * HOUR_S)
    assert lab.operator.outcomes() == []
    lab.device.run(27 * HOUR_S)  # it looks every six hours
    assert lab.operator.outcomes() == [Outcome.CONFIRMED]


def test_a_window_opens_although_nothing_newer_is_signed() -> None:
    lab = clockless()
    lab.ship()
    minutes = 12 * 60 + 8 * 60  # the simulated world begins at noon
    nightly = replace(lab.operator.rollouts[-1], window=Window(minutes, 60))
    lab.operator.rollouts = (nightly,)
    lab.operator.publish()
    lab.device.run(7.9 * HOUR_S)
    assert lab.operator.outcomes() == []
    lab.device.run(9 * HOUR_S)
    assert lab.operator.outcomes() == [Outcome.CONFIRMED]


def test_what_has_passed_before_a_power_cut_is_not_known_and_never_guessed() -> None:
    lab = clockless()
    lab.ship()
    starts = lab.clock.true_time() + timedelta(hours=20)
    lab.operator.rollouts = (replace(lab.operator.rollouts[-1], phases=(Phase(BUCKETS, starts),)),)
    lab.operator.publish()
    lab.device.run(12 * HOUR_S)
    lab.device.lose_power()
    lab.device.run(30 * HOUR_S)
    assert lab.operator.outcomes() == []
    lab.operator.publish()  # a newer signed date
    lab.operator.notify()
    lab.device.run(31 * HOUR_S)
    assert lab.operator.outcomes() == [Outcome.CONFIRMED]


def test_the_date_costs_one_small_file_in_each_boot() -> None:
    lab = clockless()
    lab.device.run(60.0)
    written = lab.device.board.power.number
    lab.device.run(60.0 + 48 * HOUR_S)
    assert lab.device.board.power.number == written
