"""Short stories, each of which breaks an invariant when one rule is missing, and none otherwise."""

from collections.abc import Callable
from typing import Final, ParamSpec

from agent import journal as journals
from agent.pieces import Pieces
from agent.report import Outcome
from agent.update import State
from simulator.image import Behaviour
from simulator.invariants import (
    Ended,
    Finding,
    both_ways_are_kept,
    chip_belongs_to_what_runs,
    chip_runs_or_can_be_flashed,
    ends_as_it_must,
    one_result_is_stored,
    reported_is_what_runs,
)
from simulator.lab import Lab
from simulator.mcu.stm32_rom import Lie, Stm32Rom
from simulator.power import Moment
from simulator.storm.watch import halted_does_not_switch
from simulator.trace import Line
from tests.stories.gateways import only_chip, small_lab

RELEASE: Final = 2
BEFORE: Final = 1
HOUR_S: Final = 3600.0
CUTS: Final = 8
FLASH_OPERATIONS: Final = 10

Given = ParamSpec("Given")
Story = Callable[[Pieces], set[str]]


def a_bit_of_the_journal_rots_in_the_trial(pieces: Pieces) -> set[str]:
    """One bit turns release 2 into release 3, while the reboot into the trial is under way."""
    lab = _lab("uboot-bootcount", pieces)
    rotted: list[Line] = []

    def rot(line: Line) -> None:
        files = lab.device.board.files
        if line.event == State.SWITCHED and not rotted:
            rotted.append(line)
            written = files.content[journals.FILE]
            files.content[journals.FILE] = written.replace(b'"release":"2"', b'"release":"3"')

    lab.device.trace.sink = rot
    lab.ship()
    _pass(lab)
    return _broken(lab, Outcome.CONFIRMED, also_other=True)


def a_rollout_is_halted_before_it_is_noticed(pieces: Pieces) -> set[str]:
    """The device looks when the halt is published already."""
    lab = _lab("uboot-bootcount", pieces)
    found: set[str] = set()

    def look(line: Line) -> None:
        journal = lab.device.journal
        if line.event == State.SWITCHED and journal is not None and journal.update is not None:
            _add(found, halted_does_not_switch, journal.update, lab.operator.halts)

    lab.device.trace.sink = look
    lab.ship()
    lab.operator.halt("rollout-2")
    lab.operator.publish()
    _pass(lab)
    return found


def the_power_fails_after_each_record_of_an_unhealthy_trial(pieces: Pieces) -> set[str]:
    """And each time all is lost that was not flushed, the bootloader's count of the trial too."""
    lab = _lab("uboot-bootcount", pieces)
    board = lab.device.board
    before = board.files.watcher

    def cut(name: str, content: bytes) -> None:
        before(name, content)
        if name == journals.FILE and board.power.cuts < CUTS:
            update = journals.decode(content).update
            if update is not None and update.state is State.UNHEALTHY:
                board.power.cut_at(board.power.number + 1, Moment.BEFORE)

    def lose(line: Line) -> None:
        if line.event == "! power cut":
            for device in board.storage.devices.values():
                device.settle(())

    board.files.watcher = cut
    lab.device.trace.sink = lose
    lab.ship(Behaviour.FAILS_CHECKS)
    _pass(lab)
    return _broken(lab, Outcome.REVERTED)


def the_power_fails_while_a_chip_is_written(pieces: Pieces) -> set[str]:
    """Once in each operation of the chip's flash; what would start then is looked at."""
    found: set[str] = set()
    for number in range(1, FLASH_OPERATIONS + 1):
        lab = _lab("gateway-stm32", pieces)
        chip = only_chip(lab)
        chip.flash.cut_at, chip.flash.cut_moment = number, Moment.AFTER

        def look(line: Line, lab: Lab = lab, found: set[str] = found) -> None:
            if line.event == "! power cut":
                _add_chip_start(found, lab)

        lab.device.trace.sink = look
        lab.ship(chips=True)
        _pass(lab)
        found |= _broken(lab, Outcome.CONFIRMED)
    return found


def a_chip_says_that_it_wrote_and_did_not(pieces: Pieces) -> set[str]:
    """Its OK is polite, its flash is as it was."""
    lab = _lab("gateway-stm32", pieces)
    rom = only_chip(lab).chip
    assert isinstance(rom, Stm32Rom), "the gateway has an STM32"
    rom.lie = Lie.WRITES_NOTHING
    lab.ship(chips=True)
    _pass(lab)
    return _broken(lab, Outcome.REVERTED)


def a_chip_is_unplugged_in_the_trial(pieces: Pieces) -> set[str]:
    """And plugged in again when the trial has failed, or two hours later."""
    lab = _lab("gateway-stm32", pieces)
    chip = only_chip(lab)

    def pull(line: Line) -> None:
        if line.event == State.TRIAL:
            chip.unplugged = True
            lab.clock.after(2 * HOUR_S, chip.plug_in)
        if line.event == State.UNHEALTHY:
            lab.clock.after(60.0, chip.plug_in)

    lab.device.trace.sink = pull
    lab.ship(chips=True)
    _pass(lab)
    return _broken(lab, Outcome.REVERTED)


def a_release_with_a_chip_s_image_fails_its_checks(pieces: Pieces) -> set[str]:
    """So system and chip go back; what both ways need is looked at when the trial begins."""
    lab = _lab("gateway-stm32", pieces)
    found: set[str] = set()

    def look(line: Line) -> None:
        if line.event == State.TRIAL:
            _add_kept(found, lab)

    lab.device.trace.sink = look
    lab.ship(Behaviour.FAILS_CHECKS, chips=True)
    _pass(lab)
    return found | _broken(lab, Outcome.REVERTED)


def _lab(board: str, pieces: Pieces) -> Lab:
    lab = small_lab(board)
    lab.device.pieces = pieces
    return lab


def _pass(lab: Lab) -> None:
    """Half a day, in which a device looks and settles; it may not come to rest."""
    lab.device.run(lab.clock.now_s + 12 * HOUR_S)


def _broken(lab: Lab, expected: Outcome, *, also_other: bool = False) -> set[str]:
    """The invariants that do not hold at the end.

    With `also_other` it may have ended otherwise, because the device has lost its memory of it.
    """
    reports = [one for one in lab.operator.reports.values() if one.update]
    ended = [Ended(one.id, one.update, one.outcome, one.code) for one in reports]
    heard = [
        Ended(one.id, one.update, one.outcome, one.code)
        for one in lab.operator.reports_heard
        if one.update
    ]
    found: set[str] = set()
    running = _running(lab)
    for report, end in zip(reports, ended, strict=True):
        _add(found, reported_is_what_runs, [end], str(running), report.release)
    if not also_other:
        _add(found, one_result_is_stored, ended, heard, 1)
        attempts_max = lab.profile.confirm.attempts_max
        if ends_as_it_must(expected, ended, trial_cuts=0, attempts_max=attempts_max):
            found.add(ends_as_it_must.__name__)
    for chip in lab.device.board.chips:
        belongs = str(running) if running == RELEASE else "0"
        _add(found, chip_belongs_to_what_runs, chip.name, belongs, _held(lab))
    return found


def _running(lab: Lab) -> int:
    behaviours = (Behaviour.HEALTHY, Behaviour.FAILS_CHECKS)
    new = any(lab.holds(lab.device.slot, RELEASE, behaviour) for behaviour in behaviours)
    return RELEASE if new else BEFORE


def _held(lab: Lab) -> str | None:
    return next((str(number) for number in (0, RELEASE) if lab.chips_hold(number)), None)


def _add_chip_start(found: set[str], lab: Lab) -> None:
    chip = only_chip(lab)
    vectors = chip.flash.content[: chip.flash.pages[0]]
    starts = vectors.count(0xFF) != len(vectors)
    if chip_runs_or_can_be_flashed(chip.name, _held(lab), starts=starts, can_be_flashed=True):
        found.add(chip_runs_or_can_be_flashed.__name__)


def _add_kept(found: set[str], lab: Lab) -> None:
    journal, content = lab.device.journal, lab.device.board.files.content
    assert journal is not None, "nothing rots in this story"
    assert journal.update is not None, "a trial has begun"
    before = [one for slot in journal.installed.values() for one in slot.chips.values()]
    new = [planned.firmware for planned in journal.update.chips]
    _add(
        found,
        both_ways_are_kept,
        only_chip(lab).name,
        back=any(one.path in content for one in before),
        forward=all(one.path in content for one in new),
    )


def _add(
    found: set[str], invariant: Callable[Given, Finding], *given: Given.args, **named: Given.kwargs
) -> None:
    if invariant(*given, **named) is not None:
        found.add(invariant.__name__)
