"""A power cut at every operation of a gateway's update, of the system's and of the chip's."""

from random import Random

import pytest

from simulator.image import Behaviour
from simulator.lab import EXPECTED, Lab
from simulator.power import Moment
from simulator.trace import Line
from tests.stories.gateways import GATEWAYS, only_chip, small_lab, updated

gateways = pytest.mark.parametrize("name", GATEWAYS)


def check(lab: Lab, behaviour: Behaviour) -> None:
    """Ended as it should, and the chip holds what belongs beside the system that runs."""
    healthy = behaviour is Behaviour.HEALTHY
    assert lab.operator.outcomes() == [EXPECTED[behaviour]], lab.device.trace.text()
    assert lab.device.slot == ("b" if healthy else "a")
    assert lab.chips_hold(2 if healthy else 0), lab.device.trace.text()


@gateways
@pytest.mark.parametrize("moment", [Moment.BEFORE, Moment.AFTER])
def test_a_cut_at_every_operation_of_the_system_changes_nothing_in_the_end(
    name: str, moment: Moment
) -> None:
    operations = updated(name).device.board.power.number
    for number in range(1, operations + 1):
        lab = small_lab(name)
        lab.ship(chips=True)
        lab.device.board.power.cut_at(number, moment)
        lab.device.run_until_quiet()
        assert lab.device.board.power.cuts == 1
        check(lab, Behaviour.HEALTHY)


@gateways
def test_a_cut_at_every_operation_of_a_bad_release_still_reverts_the_chip(name: str) -> None:
    operations = updated(name, Behaviour.FAILS_CHECKS).device.board.power.number
    for number in range(1, operations + 1):
        lab = small_lab(name)
        lab.ship(Behaviour.FAILS_CHECKS, chips=True)
        lab.device.board.power.cut_at(number, list(Moment)[number % len(Moment)])
        lab.device.run_until_quiet()
        check(lab, Behaviour.FAILS_CHECKS)


@gateways
@pytest.mark.parametrize("moment", Moment)
@pytest.mark.parametrize("behaviour", [Behaviour.HEALTHY, Behaviour.FAILS_CHECKS])
def test_a_cut_in_every_operation_of_the_chip_s_flash_changes_nothing_in_the_end(
    name: str, moment: Moment, behaviour: Behaviour
) -> None:
    operations = only_chip(updated(name, behaviour)).flash.operations
    assert operations > 5
    for number in range(1, operations + 1):
        lab = small_lab(name)
        chip = only_chip(lab)
        chip.flash.cut_at, chip.flash.cut_moment = number, moment
        lab.ship(behaviour, chips=True)
        lab.device.run_until_quiet()
        assert lab.device.board.power.cuts == 1
        check(lab, behaviour)


@gateways
@pytest.mark.parametrize("seed", range(20))
def test_two_cuts_anywhere_leave_no_chip_behind(name: str, seed: int) -> None:
    chance = Random(seed)
    lab = small_lab(name)
    power = lab.device.board.power
    behaviour = chance.choice([Behaviour.HEALTHY, Behaviour.FAILS_CHECKS])
    power.cut_at(chance.randint(30, 90), chance.choice(list(Moment)))

    def cut_the_recovery(line: Line) -> None:
        if line.event == "! power cut" and power.cuts == 1:
            power.cut_at(power.number + chance.randint(1, 40), chance.choice(list(Moment)))

    lab.device.trace.sink = cut_the_recovery
    lab.ship(behaviour, chips=True)
    lab.device.run_until_quiet()
    check(lab, behaviour)
