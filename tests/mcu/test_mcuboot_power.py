"""A power cut of the chip at every flash operation: something always runs, and the update ends well."""

from collections.abc import Callable

import pytest

from agent.errors import FlashError
from agent.flash.mcumgr import McumgrFlasher, Way
from simulator.mcu.mcuboot import Mode
from simulator.power import Moment
from tests.flash.mcumgr_bench import Bench

MOMENTS = list(Moment)


def _operations(bench: Bench, act: Callable[[Bench], None]) -> tuple[int, int]:
    """The first and the last flash operation of what is done."""
    first = bench.server.mcuboot.flash.operations + 1
    act(bench)
    return first, bench.server.mcuboot.flash.operations


def _cut_at(bench: Bench, number: int, moment: Moment, act: Callable[[Bench], None]) -> None:
    """Do it, lose the power at that operation, and get it back."""
    flash = bench.server.mcuboot.flash
    flash.cut_at, flash.cut_moment = number, moment
    try:
        act(bench)
    except FlashError:
        assert bench.chip.mode is Mode.OFF
    assert flash.operations >= number, "the cut came"
    bench.power_on()


def _finish(bench: Bench) -> None:
    """The next attempt of an agent that remembers nothing."""
    bench.flasher = McumgrFlasher(bench.line, bench.settings)
    bench.update()
    bench.flasher.confirm()
    bench.power_on()
    assert bench.chip.running_version == "1.1.0"
    assert [row.confirmed for row in bench.flasher.slots() if row.active] == [True]


def _update(bench: Bench) -> None:
    bench.update()


def _update_and_confirm(bench: Bench) -> None:
    bench.update()
    bench.flasher.confirm()


def _ready() -> Bench:
    bench = Bench(reboot_s=3.0)
    bench.power_on()
    return bench


def _in_trial() -> Bench:
    bench = _ready()
    bench.update()
    assert bench.chip.running_version == "1.1.0"
    return bench


@pytest.mark.parametrize("moment", MOMENTS)
def test_any_cut_in_upload_and_swap_leaves_an_image_that_runs(moment: Moment) -> None:
    first, last = _operations(_ready(), _update_and_confirm)
    assert last - first > 40
    for number in range(first, last + 1):
        bench = _ready()
        _cut_at(bench, number, moment, _update_and_confirm)
        assert bench.chip.mode is Mode.APPLICATION, number
        assert bench.chip.running_version in {"1.0.0", "1.1.0"}
        _finish(bench)


@pytest.mark.parametrize("moment", MOMENTS)
def test_any_cut_in_a_revert_ends_in_the_old_image(moment: Moment) -> None:
    def revert(bench: Bench) -> None:
        bench.flasher.revert()

    first, last = _operations(_in_trial(), revert)
    assert last - first > 20
    for number in range(first, last + 1):
        bench = _in_trial()
        _cut_at(bench, number, moment, revert)
        assert bench.chip.running_version == "1.0.0", number
        _finish(bench)


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_second_cut_while_the_swap_goes_on_changes_nothing(moment: Moment) -> None:
    first, last = _operations(_ready(), _update)
    flash_of_swap = range(first + 12, last + 1, 3)
    for number in flash_of_swap:
        bench = _ready()
        flash = bench.server.mcuboot.flash
        flash.cut_at, flash.cut_moment = number, moment
        try:
            bench.update()
        except FlashError:
            assert bench.chip.mode is Mode.OFF
        flash.cut_at = flash.operations + 2
        bench.power_on()
        flash.cut_at = None
        bench.power_on()
        assert bench.chip.mode is Mode.APPLICATION, number
        _finish(bench)


@pytest.mark.parametrize("moment", MOMENTS)
def test_any_cut_in_serial_recovery_leaves_a_way_back_in(moment: Moment) -> None:
    def ready() -> Bench:
        bench = Bench(way=Way.RECOVERY, reboot_s=3.0)
        bench.chip.recovery_next = True
        bench.power_on()
        assert bench.chip.mode is Mode.RECOVERY
        return bench

    first, last = _operations(ready(), _update)
    assert last - first >= 6
    for number in range(first, last + 1):
        bench = ready()
        _cut_at(bench, number, moment, _update)
        assert bench.chip.mode in {Mode.RECOVERY, Mode.APPLICATION}, number
        if bench.chip.mode is Mode.APPLICATION:  # cut in time, or after the last byte
            bench.chip.recovery_next = True
            bench.power_on()
        bench.update()
        assert bench.chip.running_version == "1.1.0"


def test_without_recovery_a_cut_there_leaves_a_chip_that_needs_hands() -> None:
    bench = Bench(way=Way.RECOVERY, reboot_s=3.0)
    bench.chip.recovery_next = True
    bench.power_on()
    bench.chip.has_recovery = False
    _cut_at(bench, 4, Moment.BEFORE, _update)
    assert bench.chip.mode is Mode.STUCK
