"""Chips in the closure: what a cut leaves of them, and rules about them whose loss the explorer notices."""

from dataclasses import replace
from functools import partial

import pytest

from agent.board import Microcontroller
from agent.chips import Chips
from agent.device import Device
from agent.install import install
from agent.journal import Journal
from agent.pieces import Pieces
from agent.runner import Hooks, Runner
from simulator.clock import SimulatedClock
from simulator.explore.chips import factory_chip, open_chip, small_profile
from simulator.explore.lines import OFF_S, ExploredLine
from simulator.explore.scenario import GATEWAY_SCALE, Scenario, make_stage
from simulator.explore.search import Search
from simulator.explore.start import ChipCut, Start
from simulator.explore.state import ChipState
from simulator.explore.visit import Visitor
from simulator.mcu.flash import ChipPowerCutError
from simulator.power import Moment
from simulator.profiles import load_profile
from tests.seeded_bugs.chips import KeepsNoOldImage, LeavesTheNewImage, WritesVectorsFirst

GATEWAYS = ("gateway-avr", "gateway-mcuboot", "gateway-stm32")
STATES_MAX = 40


class WritesOffTheRecord(Chips):
    """Records what a chip is about to hold when it holds it."""

    def _note(self, chip: Microcontroller, record: object) -> None:
        known = self._record(chip)
        if getattr(record, "writing", None) is None and record != known:
            super()._note(chip, record)  # type: ignore[arg-type]  # passed on as it came


def with_chips(chips: type[Chips]) -> Pieces:
    """The agent that handles its microcontrollers like this, on small images."""

    def make(device: Device, journal: Journal, hooks: Hooks) -> Runner:
        small = partial(install, flush_bytes=GATEWAY_SCALE.flush_bytes)
        runner = Runner(device, journal, hooks, install=small)
        known = runner._chips  # noqa: SLF001  # as the runner made it
        runner._chips = chips(device, runner, known._tell)  # noqa: SLF001  # what is exchanged
        return runner

    return Pieces(runner=make)


def chip_of(board: str) -> Microcontroller:
    (chip,) = small_profile(load_profile(board)).microcontrollers
    return chip


@pytest.mark.parametrize("board", GATEWAYS)
def test_a_pair_that_is_not_allowed_is_refused_from_every_state(board: str) -> None:
    stage = make_stage(load_profile(board), Scenario.PAIR_REFUSED, scale=GATEWAY_SCALE)
    result = Search(stage).run()
    assert result.good
    assert set(result.outcomes) == {"failed (refused-pair)"}
    assert result.chip_cuts == 0  # nobody has spoken to the chip


@pytest.mark.parametrize("board", GATEWAYS)
def test_power_may_fail_on_either_side_of_the_line(board: str) -> None:
    stage = make_stage(load_profile(board), Scenario.HEALTHY, scale=GATEWAY_SCALE)
    result = Search(stage).run(states_max=STATES_MAX)
    assert result.broken == []
    assert result.chip_cuts > 0


@pytest.mark.parametrize(
    ("chips", "scenario", "invariant"),
    [
        (KeepsNoOldImage, Scenario.HEALTHY, "both_ways_are_kept"),
        (WritesVectorsFirst, Scenario.HEALTHY, "chip_runs_or_can_be_flashed"),
        (LeavesTheNewImage, Scenario.FAILS_CHECKS, "chip_belongs_to_what_runs"),
        (WritesOffTheRecord, Scenario.HEALTHY, "written_on_the_record"),
    ],
)
def test_a_rule_about_chips_that_is_taken_out_is_missed(
    chips: type[Chips], scenario: Scenario, invariant: str
) -> None:
    board = load_profile("gateway-stm32")
    stage = make_stage(board, scenario, scale=GATEWAY_SCALE, pieces=with_chips(chips))
    result = Search(stage).run(states_max=STATES_MAX, stop_when_broken=True)
    assert invariant in {broken.violation.invariant for broken in result.broken}


def test_a_chip_alone_that_loses_its_power_is_silent_and_comes_back() -> None:
    stage = make_stage(load_profile("gateway-stm32"), Scenario.HEALTHY, scale=GATEWAY_SCALE)
    visitor = Visitor(stage)
    whole = visitor.visit(Start(stage.first), 0, whole=True)
    erase = next(one for one in whole.operations if one.name == "Flash.erase")
    cut = ChipCut("motor", erase.number, Moment.TORN)
    disturbed = visitor.visit(Start(stage.first, chip_cut=cut), 0, whole=True)
    assert disturbed.operations[: erase.number] == whole.operations[: erase.number]
    assert len(disturbed.operations) > len(whole.operations)
    assert [one.outcome for one in disturbed.ended] == ["confirmed"]


def test_a_flash_is_torn_alike_however_it_came_to_hold_what_it_holds() -> None:
    chip = chip_of("gateway-stm32")
    state = factory_chip(chip, 5)
    torn: list[bytes] = []
    for _ in range(2):
        opened = open_chip(chip, state)
        opened.flash.operations = len(torn)
        opened.flash.happens = lambda _name, _address, _torn: Moment.TORN
        with pytest.raises(ChipPowerCutError):
            opened.flash.erase(0)
        torn.append(opened.state.flash)
    assert torn[0] == torn[1] != state.flash


def test_what_an_mcuboot_chip_knows_counts_only_where_a_reset_would_change_it() -> None:
    chip = chip_of("gateway-mcuboot")
    opened = open_chip(chip, factory_chip(chip, 5))
    line = ExploredLine(SimulatedClock(), opened.chip)
    line.power_up()
    assert opened.state == factory_chip(chip, 5)
    server = opened.chip.server  # type: ignore[attr-defined]  # an MCUboot chip has one
    server.mcuboot.request_swap(permanent=False)
    assert opened.state.mind is not None
    assert open_chip(chip, opened.state).state == opened.state


def test_a_line_without_power_at_its_end_takes_bytes_and_gives_none() -> None:
    chip = chip_of("gateway-stm32")
    opened = open_chip(chip, factory_chip(chip, 5))
    clock = SimulatedClock()
    line = ExploredLine(clock, opened.chip)
    line.open(chip.settings.line)
    line.power_fails()
    line.write(b"\x7f")
    assert line.read(1, OFF_S / 2) == b""
    assert line.off
    line.wait(OFF_S)
    assert not line.off


def test_a_chip_that_starts_nothing_runs_no_release() -> None:
    stage = make_stage(load_profile("gateway-mcuboot"), Scenario.HEALTHY, scale=GATEWAY_SCALE)
    (chip,) = stage.profile.microcontrollers
    first = stage.first.chips[chip.name]
    assert stage.chip_runs(chip, first) == "0"
    empty = ChipState(b"\xff" * len(first.flash))
    assert stage.chip_runs(chip, empty) is None
    assert stage.chip_runs(chip, replace(first, flash=b"\0" * 64 + first.flash[64:])) is None
