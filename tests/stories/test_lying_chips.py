"""Each lie that a microcontroller can tell is refused, and the report says which (S1 to S5)."""

from collections.abc import Callable
from typing import Final

import pytest

from agent.release import Hosts
from agent.report import Outcome
from simulator.lab import ALL_HOSTS, Lab
from simulator.mcu.mcuboot_chip import McubootChip
from simulator.mcu.optiboot import Lie as AvrLie
from simulator.mcu.optiboot import Optiboot
from simulator.mcu.stm32_rom import Lie as Stm32Lie
from simulator.mcu.stm32_rom import Stm32Rom
from tests.stories.gateways import GATEWAYS, only_chip, small_lab, updated

ESCAPES: Final = b"\x1b[2J\x00\xff" * 40

gateways = pytest.mark.parametrize("name", GATEWAYS)
without_slots = pytest.mark.parametrize("name", ["gateway-avr", "gateway-stm32"])


def refused_after(name: str, lie: Callable[[Lab], None], hosts: Hosts = ALL_HOSTS) -> str:
    """The code of the report, when a chip begins to lie after a good update; the old pair runs on."""
    lab = updated(name)
    lie(lab)
    lab.ship(number=3, chips=True, hosts=hosts)
    lab.device.run_until_quiet()
    report = list(lab.operator.reports.values())[1]
    assert report.outcome is not Outcome.CONFIRMED
    assert report.detail.isprintable()
    assert lab.device.slot == "b"
    return report.code


@gateways
def test_s1_a_chip_that_says_ok_and_writes_nothing(name: str) -> None:
    def lie(lab: Lab) -> None:
        match only_chip(lab).chip:
            case Stm32Rom() as rom:
                rom.lie = Stm32Lie.WRITES_NOTHING
            case Optiboot() as avr:
                avr.lie = AvrLie.WRITES_NOTHING
            case McubootChip() as mcuboot:
                mcuboot.server.faults.ok_without_writing = True

    assert refused_after(name, lie) == "flash-verify"


@without_slots
@pytest.mark.parametrize("under_way", [False, True])
def test_s2_a_chip_that_is_another_or_becomes_one_under_way(name: str, under_way: bool) -> None:  # noqa: FBT001  # a parameter
    def lie(lab: Lab) -> None:
        match only_chip(lab).chip:
            case Stm32Rom() as rom:
                rom.lie = Stm32Lie.CHANGES_ID if under_way else Stm32Lie.WRONG_ID
            case Optiboot() as avr:
                avr.lie = AvrLie.CHANGES_ID if under_way else AvrLie.WRONG_ID

    assert refused_after(name, lie) == "flash-identity"


@gateways
def test_s3_a_chip_that_sends_escape_sequences_without_end(name: str) -> None:
    def lie(lab: Lab) -> None:
        match only_chip(lab).chip:
            case Stm32Rom() | Optiboot() as chip:
                chip.garbage = ESCAPES
            case McubootChip() as mcuboot:
                mcuboot.faults.babble_lines = 10_000

    assert refused_after(name, lie) == "flash-line"


@without_slots
@pytest.mark.parametrize("byte", [300, 700])
def test_s4_a_chip_that_resets_in_mid_page_is_entered_again(name: str, byte: int) -> None:
    lab = small_lab(name)
    chip = only_chip(lab).chip
    assert isinstance(chip, Stm32Rom | Optiboot)
    chip.reset_at_byte = byte
    lab.ship(chips=True)
    lab.device.run_until_quiet()
    (report,) = lab.operator.reports.values()
    assert report.outcome is Outcome.CONFIRMED
    assert lab.chips_hold(2)


@gateways
@pytest.mark.parametrize(
    "hosts",
    [Hosts(3, 9), Hosts(1, 2)],
    ids=["the new image beside the old system", "the new image beside the new system"],
)
def test_s5_a_pair_that_is_not_made_for_each_other(name: str, hosts: Hosts) -> None:
    assert refused_after(name, lambda _: None, hosts) == "refused-pair"


@gateways
def test_s5_an_old_image_beside_a_new_system(name: str) -> None:
    lab = updated(name, hosts=Hosts(1, 2))
    lab.ship(number=3)
    lab.device.run_until_quiet()
    report = list(lab.operator.reports.values())[1]
    assert (report.outcome, report.code) == (Outcome.FAILED, "refused-pair")
    assert lab.chips_hold(2)
