"""System and microcontrollers are updated together and revert together."""

from dataclasses import replace

import pytest

from agent.flash.mcumgr import McumgrSettings, Way
from agent.release import Hosts
from agent.report import Outcome
from agent.request import Request, Verb, leave
from simulator.image import Behaviour
from simulator.lab import Lab
from simulator.mcu.mcuboot_chip import McubootChip
from simulator.mcu.optiboot import Lie as AvrLie
from simulator.mcu.optiboot import Optiboot
from simulator.mcu.stm32_rom import Lie as Stm32Lie
from simulator.mcu.stm32_rom import Stm32Rom
from simulator.mcu.wire import LineFaults
from simulator.operator import ChipFile
from tests.stories.gateways import (
    GATEWAYS,
    only_chip,
    small_lab,
    unplug_in_the_middle,
    updated,
    when,
)

BAD = [Behaviour.FAILS_CHECKS, Behaviour.HANGS, Behaviour.NEVER_BOOTS]

gateways = pytest.mark.parametrize("name", GATEWAYS)


def first_report(lab: Lab) -> tuple[Outcome, str]:
    report = next(iter(lab.operator.reports.values()))
    return report.outcome, report.code


@gateways
def test_system_and_chip_are_updated_together(name: str) -> None:
    lab = updated(name)
    (report,) = lab.operator.reports.values()
    assert report.outcome is Outcome.CONFIRMED
    assert f"chips: {only_chip(lab).name} " in report.detail
    assert report.detail.endswith(" s)"), report.detail  # what it took
    assert lab.holds("b", 2)
    assert lab.chips_hold(2)


@gateways
@pytest.mark.parametrize("behaviour", BAD)
def test_a_chip_reverts_with_its_system(name: str, behaviour: Behaviour) -> None:
    lab = updated(name, behaviour)
    assert lab.operator.outcomes() == [Outcome.REVERTED]
    assert lab.chips_hold(0)


@gateways
def test_later_releases_follow_and_only_the_image_before_is_kept(name: str) -> None:
    lab = updated(name)
    for number in (3, 4):
        lab.ship(number=number, chips=True)
        lab.device.run_until_quiet()
        assert lab.chips_hold(number)
    kept = [path for path in lab.device.board.files.content if path.startswith("chips/")]
    assert len(kept) == 2


@gateways
def test_a_release_may_leave_the_chip_out(name: str) -> None:
    lab = updated(name)
    lab.ship(number=3)
    lab.device.run_until_quiet()
    assert lab.operator.outcomes() == [Outcome.CONFIRMED] * 2
    assert lab.chips_hold(2)


@gateways
def test_a_chip_without_its_plug_in_the_middle_reverts_the_whole_release(name: str) -> None:
    lab = small_lab(name)
    when(
        lab,
        trial=lambda: unplug_in_the_middle(lab),
        unhealthy=lambda: lab.clock.after(60.0, only_chip(lab).plug_in),
    )
    lab.ship(chips=True)
    lab.device.run_until_quiet()
    assert first_report(lab) == (Outcome.REVERTED, "flash-line")
    assert lab.device.slot == "a"
    assert lab.chips_hold(0)


@gateways
def test_a_chip_that_stays_away_is_not_called_reverted_and_is_mended_when_it_is_back(
    name: str,
) -> None:
    lab = small_lab(name)
    chip = only_chip(lab)
    when(lab, trial=lambda: unplug_in_the_middle(lab))
    lab.ship(chips=True)
    lab.device.run_until_quiet()
    assert first_report(lab) == (Outcome.FAILED, "flash-mixed")
    assert lab.device.slot == "a"
    chip.plug_in()
    lab.operator.notify()
    lab.device.run(lab.clock.now_s + 3600)
    assert lab.chips_hold(0)


@gateways
def test_a_chip_that_was_never_there_changes_nothing(name: str) -> None:
    lab = small_lab(name)
    only_chip(lab).unplugged = True
    lab.ship(chips=True)
    lab.device.run_until_quiet()
    outcome, code = first_report(lab)
    assert outcome in (Outcome.FAILED, Outcome.REVERTED)  # where its image is read first, or not
    assert code == "flash-line"
    assert lab.device.slot == "a"


@pytest.mark.parametrize("name", ["gateway-avr", "gateway-stm32"])
def test_a_chip_that_lies_about_who_it_is_is_refused(name: str) -> None:
    lab = updated(name)
    match only_chip(lab).chip:
        case Stm32Rom() as rom:
            rom.lie = Stm32Lie.WRONG_ID
        case Optiboot() as avr:
            avr.lie = AvrLie.WRONG_ID
    lab.ship(number=3, chips=True)
    lab.device.run_until_quiet()
    assert list(lab.operator.reports.values())[1].code == "flash-identity"
    assert lab.device.slot == "b"
    assert lab.chips_hold(2)


@gateways
def test_a_chip_that_says_it_wrote_and_did_not_is_found_out(name: str) -> None:
    lab = updated(name)
    match only_chip(lab).chip:
        case Stm32Rom() as rom:
            rom.lie = Stm32Lie.WRITES_NOTHING
        case Optiboot() as avr:
            avr.lie = AvrLie.WRITES_NOTHING
        case McubootChip() as mcuboot:
            mcuboot.server.faults.ok_without_writing = True
    lab.ship(number=3, chips=True)
    lab.device.run_until_quiet()
    report = list(lab.operator.reports.values())[1]
    assert (report.outcome, report.code) == (Outcome.REVERTED, "flash-verify")
    assert lab.chips_hold(2)


@gateways
@pytest.mark.parametrize("seed", range(3))
def test_a_noisy_line_costs_time_and_nothing_else(name: str, seed: int) -> None:
    lab = small_lab(name)
    only_chip(lab).line_faults.seed = seed
    only_chip(lab).line_faults.flip = only_chip(lab).line_faults.drop = 0.0005
    assert only_chip(lab).line_faults != LineFaults()
    lab.ship(chips=True)
    lab.device.run_until_quiet()
    outcome, _ = first_report(lab)
    assert lab.chips_hold(2 if outcome is Outcome.CONFIRMED else 0)


@gateways
@pytest.mark.parametrize(
    "hosts", [Hosts(2, 9), Hosts(1, 1)], ids=["not the old system", "not the new system"]
)
def test_what_may_not_meet_is_not_begun(name: str, hosts: Hosts) -> None:
    lab = updated(name, hosts=hosts)
    assert first_report(lab) == (Outcome.FAILED, "refused-pair")
    assert lab.device.board.boots == 1
    assert lab.chips_hold(0)


@gateways
def test_a_system_that_the_chip_s_image_does_not_know_waits_for_one_that_does(name: str) -> None:
    lab = updated(name, hosts=Hosts(1, 2))
    lab.ship(number=3)
    lab.device.run_until_quiet()
    report = list(lab.operator.reports.values())[1]
    assert (report.outcome, report.code) == (Outcome.FAILED, "refused-pair")


def test_an_image_that_the_chip_s_maker_did_not_sign_is_refused_before_the_trial() -> None:
    lab = small_lab("gateway-mcuboot")
    (chip,) = lab.profile.microcontrollers
    forged = bytearray(lab.chip_file(chip, 2))
    forged[100] ^= 1
    file = ChipFile(chip.name, chip.hardware_id, bytes(forged), Hosts(0, 9))
    lab.operator.release("2", 2, lab.profile.hardware_id, lab.images(2), [file])
    lab.operator.roll_out("rollout-2", "2")
    lab.operator.publish()
    lab.operator.notify()
    lab.device.run_until_quiet()
    assert first_report(lab) == (Outcome.FAILED, "trust")
    assert lab.device.board.boots == 1


def test_a_chip_whose_image_nobody_can_bring_back_is_left_alone_unless_its_owner_says_so() -> None:
    lab = small_lab("gateway-mcuboot")
    (chip,) = lab.profile.microcontrollers
    assert isinstance(chip.settings.protocol, McumgrSettings)
    recovery = replace(chip.settings.protocol, way=Way.RECOVERY)
    settings = replace(chip.settings, protocol=recovery, allow_fragile=True)
    lab.device.board.profile = replace(
        lab.profile, microcontrollers=(replace(chip, settings=settings),)
    )
    lab.ship(chips=True)
    lab.device.run_until_quiet()
    assert first_report(lab) == (Outcome.FAILED, "refused")
    assert lab.chips_hold(0)


@gateways
def test_going_back_by_hand_takes_the_chip_along(name: str) -> None:
    lab = updated(name)
    lab.ship(number=3, chips=True)
    lab.device.run_until_quiet()
    leave(lab.device.board.files, Request(Verb.REVERT))
    lab.device.run(lab.clock.now_s + 3600)
    lab.device.run_until_quiet()
    assert lab.device.slot == "b"
    assert lab.chips_hold(2)


@gateways
def test_a_journal_that_rots_beside_a_half_written_chip_does_not_leave_it_so(name: str) -> None:
    lab = small_lab(name)
    chip = only_chip(lab)
    when(lab, trial=lambda: unplug_in_the_middle(lab))
    lab.ship(chips=True)
    lab.device.run_until_quiet()
    assert first_report(lab) == (Outcome.FAILED, "flash-mixed")
    assert name == "gateway-mcuboot" or not lab.chips_hold(0)
    lab.operator.halt("rollout-2")
    lab.operator.publish()
    lab.device.board.files.content["journal.json"] = b"rotten"
    lab.device.lose_power()
    chip.plug_in()
    lab.operator.notify()
    lab.device.run(lab.clock.now_s + 3600)
    assert "state" in [report.code for report in lab.operator.reports.values()]
    assert lab.device.slot == "a"
    assert lab.chips_hold(0)
