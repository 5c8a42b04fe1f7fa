import pytest

from agent.board import BoardProfile
from agent.report import Outcome, parse_presence, parse_status
from agent.topics import Topics
from simulator.clock import SimulatedClock
from simulator.faults import Reboot
from simulator.image import Behaviour
from simulator.lab import Lab, make_lab

BAD = [Behaviour.FAILS_CHECKS, Behaviour.HANGS, Behaviour.NEVER_BOOTS]


def test_a_healthy_release_is_confirmed_and_the_old_slot_stays_as_it_was(lab: Lab) -> None:
    before = lab.device.board.content("a")
    lab.ship()
    lab.device.run_until_quiet()
    assert lab.operator.outcomes() == [Outcome.CONFIRMED]
    assert lab.device.slot == "b"
    assert lab.holds("b", 2)
    assert lab.device.board.content("a") == before
    assert lab.device.board.boots == 2


def test_releases_alternate_between_the_slots(lab: Lab) -> None:
    for number in (2, 3, 4):
        lab.ship(number=number)
        lab.device.run_until_quiet()
        assert lab.device.slot == ("b" if number % 2 == 0 else "a")
        assert lab.holds(lab.device.slot, number)
    assert lab.operator.outcomes() == [Outcome.CONFIRMED] * 3


@pytest.mark.parametrize("behaviour", BAD)
def test_a_release_that_does_not_work_is_reverted(lab: Lab, behaviour: Behaviour) -> None:
    lab.ship(behaviour)
    lab.device.run_until_quiet()
    (report,) = lab.operator.reports.values()
    assert report.outcome is Outcome.REVERTED
    assert report.code == ("unhealthy" if behaviour is Behaviour.FAILS_CHECKS else "trial-lost")
    assert lab.device.slot == "a"
    assert lab.holds("a", 1)


@pytest.mark.parametrize("behaviour", BAD)
def test_a_release_that_was_reverted_is_tried_again_only_when_it_is_reissued(
    lab: Lab, behaviour: Behaviour
) -> None:
    lab.ship(behaviour)
    lab.device.run_until_quiet()
    boots, fetched = lab.device.board.boots, lab.repository.sent_bytes("blobs/*")
    lab.operator.notify()
    lab.device.run(lab.clock.now_s + 2 * 86400)
    assert lab.device.board.boots == boots
    assert lab.repository.sent_bytes("blobs/*") == fetched
    lab.operator.reissue("rollout-2")
    lab.operator.publish()
    lab.operator.notify()
    lab.device.run_until_quiet()
    assert lab.device.board.boots > boots
    assert lab.operator.outcomes() == [Outcome.REVERTED] * 2


def test_a_better_release_follows_a_reverted_one(lab: Lab) -> None:
    lab.ship(Behaviour.NEVER_BOOTS)
    lab.device.run_until_quiet()
    lab.ship(number=3)
    lab.device.run_until_quiet()
    assert lab.operator.outcomes() == [Outcome.REVERTED, Outcome.CONFIRMED]
    assert lab.holds("b", 3)


def test_what_runs_already_is_not_installed_again(lab: Lab) -> None:
    lab.ship()
    lab.device.run_until_quiet()
    operations = lab.device.board.power.number
    fetched = lab.repository.sent_bytes("blobs/*")
    lab.operator.notify()
    lab.device.run(lab.clock.now_s + 3600)
    assert lab.device.board.power.number == operations
    assert lab.repository.sent_bytes("blobs/*") == fetched


def test_a_system_that_cannot_reach_its_fleet_is_reverted(lab: Lab) -> None:
    lab.ship()
    lab.clock.at(9.0, lab.hub.stop)
    lab.clock.at(3000.0, lab.hub.start)
    lab.device.run_until_quiet()
    (report,) = lab.operator.reports.values()
    assert report.outcome is Outcome.REVERTED
    assert "no session with the broker" in report.detail
    assert lab.device.slot == "a"


def test_a_reboot_that_is_refused_is_asked_for_again(lab: Lab) -> None:
    lab.faults.add(Reboot.REFUSED)
    lab.ship()
    lab.device.run_until_quiet()
    assert lab.operator.endings() == [Outcome.CONFIRMED]


def test_a_reboot_that_forgets_its_argument_costs_one_attempt_at_most(lab: Lab) -> None:
    lab.faults.add(Reboot.ARGUMENT_DROPPED)
    lab.ship()
    lab.device.run_until_quiet()
    (report,) = lab.operator.reports.values()
    assert report.outcome is Outcome.CONFIRMED
    assert report.attempts <= 2


@pytest.mark.parametrize("synchronise_after_s", [None, 300.0])
def test_a_board_without_a_clock_updates_and_says_how_it_knows_the_date(
    profile: BoardProfile, synchronise_after_s: float | None
) -> None:
    clock = SimulatedClock(battery=False, synchronise_after_s=synchronise_after_s)
    lab = make_lab(profile, seed=7, clock=clock)
    lab.ship()
    lab.device.run_until_quiet()
    (report,) = lab.operator.reports.values()
    assert report.outcome is Outcome.CONFIRMED
    assert report.time == "bounded"


def test_the_retained_state_and_presence_say_what_runs(lab: Lab) -> None:
    lab.ship()
    lab.device.run_until_quiet()
    topics = Topics(lab.operator.fleet, "device-1")
    status = parse_status(lab.hub.retained[topics.state].content)
    assert (status.release, status.counter, status.slot, status.phase) == ("2", 2, "b", "idle")
    assert not parse_presence(lab.hub.retained[topics.presence].content).online
