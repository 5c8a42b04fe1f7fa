"""A/B by U-Boot's boot counter: whole cycles over the bootloader model."""

import dataclasses

import pytest

from agent.board import SlotName
from agent.boot.select import boot_control
from agent.errors import BootControlError
from simulator.power import Moment, PowerCut
from tests.boot.boards import FRESH, SECOND_COPY, Board, u_boot


def test_a_confirmed_trial_starts_by_default_for_ever() -> None:
    board = u_boot()
    control = board.reboot()
    assert (control.booted(), control.default(), control.armed()) == ("a", "a", False)

    assert control.try_next("b", 3) == ""
    assert (control.default(), control.armed()) == ("a", True)
    control = board.reboot()
    assert (control.booted(), control.default(), control.armed()) == ("b", "a", True)
    control.confirm("b")
    assert (control.default(), control.armed()) == ("b", False)

    for _ in range(5):
        assert board.reboot().booted() == "b"
    assert board.cut_power().booted() == "b"


def test_two_updates_in_a_row_swap_the_slots_twice() -> None:
    board = u_boot()
    targets: tuple[SlotName, ...] = ("b", "a")
    for slot in targets:
        board.reboot().try_next(slot, 3)
        board.reboot().confirm(slot)
    assert board.cut_power().booted() == "a"


@pytest.mark.parametrize("attempts", [1, 2, 3, 8])
def test_goes_back_after_so_many_boots_without_a_confirmation(attempts: int) -> None:
    board = u_boot()
    board.reboot().try_next("b", attempts)
    assert [board.reboot().booted() for _ in range(attempts)] == ["b"] * attempts
    control = board.reboot()
    assert (control.booted(), control.default(), control.armed()) == ("a", "a", False)


def test_a_trial_that_u_boot_gave_up_is_over_once_it_is_disarmed() -> None:
    """U-Boot does not flush, so its own decision may still be lost by a power cut."""
    forgotten = 0
    for seed in range(20):
        board = u_boot(seed=seed)
        board.reboot().try_next("b", 1)
        board.reboot()
        assert board.reboot().booted() == "a"
        forgotten += board.cut_power().booted() == "b"
        board.reboot().disarm()
        assert board.cut_power().default() == "a"
    assert forgotten

    for seed in range(20):
        board = u_boot(seed=seed)
        board.reboot().try_next("b", 1)
        board.reboot()
        board.reboot().disarm()
        assert board.cut_power().booted() == "a"


def test_more_attempts_than_one_digit_counts_are_granted_as_eight() -> None:
    board = u_boot()
    board.reboot().try_next("b", 10)
    assert [board.reboot().booted() for _ in range(9)] == ["b"] * 8 + ["a"]


def test_a_trial_slot_that_does_not_start_uses_up_its_boots() -> None:
    board = u_boot()
    board.reboot().try_next("b", 3)
    board.startable = {"a"}
    control = board.reboot()
    assert (control.booted(), control.armed()) == ("a", False)


def test_a_withdrawn_trial_does_not_start() -> None:
    board = u_boot()
    control = board.reboot()
    control.try_next("b", 3)
    control.disarm()
    assert (control.default(), control.armed()) == ("a", False)
    assert board.reboot().booted() == "a"


def test_a_running_trial_can_be_withdrawn() -> None:
    board = u_boot()
    board.reboot().try_next("b", 3)
    control = board.reboot()
    control.disarm()
    with pytest.raises(BootControlError, match="it was withdrawn or given up"):
        control.confirm("b")
    assert board.reboot().booted() == "a"


def test_a_trial_survives_a_power_cut_while_boots_are_left() -> None:
    board = u_boot()
    board.reboot().try_next("b", 3)
    assert board.cut_power().booted() == "b"
    board.cut_power().confirm("b")
    assert board.cut_power().default() == "b"


def test_doing_it_again_writes_nothing() -> None:
    board = u_boot()
    control = board.reboot()
    control.try_next("b", 3)
    board.power.history = []
    control.try_next("b", 3)
    assert [operation.name for operation in board.power.history] == ["BlockDevice.flush"] * 2
    control = board.reboot()
    control.confirm("b")
    board.power.history = []
    control.confirm("b")
    control.disarm()
    assert {operation.name for operation in board.power.history} == {"BlockDevice.flush"}


def test_each_transition_is_one_write_and_one_flush() -> None:
    board = u_boot()
    control = board.reboot()
    board.power.history = []
    control.try_next("b", 3)
    assert [operation.name for operation in board.power.history] == [
        "BlockDevice.write",
        "BlockDevice.flush",
    ]


def test_neither_the_running_nor_the_default_slot_is_tried() -> None:
    board = u_boot()
    control = board.reboot()
    with pytest.raises(BootControlError, match="neither runs nor starts by default"):
        control.try_next("a", 3)
    control.try_next("b", 3)
    control = board.reboot()
    for slot in ("a", "b"):
        with pytest.raises(BootControlError, match="neither runs nor starts by default"):
            control.try_next("a" if slot == "a" else "b", 3)


def test_variables_of_others_are_kept() -> None:
    board = u_boot(FRESH | {"serial#": "0042", "zone": "north \\; south"})
    board.reboot().try_next("b", 3)
    board.reboot().confirm("b")
    content = board.device.durable(0, board.device.size_bytes)
    assert content.count(b"zone=north \\; south\0") == 2
    assert content.count(b"serial#=0042\0") == 2


@pytest.mark.parametrize(
    "words", [(), ("lockgate.slot=c",), ("lockgate.slot=",), ("lockgate.slot=a",) * 2]
)
def test_a_command_line_without_exactly_one_slot_is_an_error(words: tuple[str, ...]) -> None:
    board = u_boot()
    board.reboot()
    facts = dataclasses.replace(board.choice.facts("boot"), command_line=words)
    with pytest.raises(BootControlError, match="kernel command line"):
        boot_control(board.profile, board.storage, facts).booted()


@pytest.mark.parametrize(
    ("variables", "complaint"),
    [
        ({}, "boot_slot of a or b was expected"),
        (FRESH | {"boot_slot": "c"}, "boot_slot of a or b was expected"),
        (FRESH | {"upgrade_available": "2"}, "upgrade_available of 0 or 1 was expected"),
    ],
)
def test_variables_that_make_no_sense_are_an_error(
    variables: dict[str, str], complaint: str
) -> None:
    board = u_boot(variables)
    with pytest.raises(BootControlError, match=complaint):
        board.reboot().default()


def test_an_environment_that_cannot_be_read_is_never_rewritten() -> None:
    board = u_boot()
    for at in (0, SECOND_COPY):
        board.device.provision(at, b"\xff")
    control = board.reboot()
    assert control.booted() == "a"
    before = board.device.snapshot()
    for act in (lambda: control.try_next("b", 3), lambda: control.confirm("a"), control.disarm):
        with pytest.raises(BootControlError, match="at least one copy with a valid checksum"):
            act()
    assert board.device.snapshot() == before


@pytest.mark.parametrize("sector", [0, SECOND_COPY // 512])
def test_an_unreadable_sector_stops_the_agent_and_not_the_bootloader(sector: int) -> None:
    board = u_boot()
    board.device.faults.bad_sectors.add(sector)
    control = board.reboot()
    with pytest.raises(BootControlError, match="cannot be read"):
        control.try_next("b", 3)


def test_variables_behind_the_first_sector_are_refused_before_switching() -> None:
    board = u_boot(FRESH | {"script": "x" * 500})  # sorts before upgrade_available
    with pytest.raises(BootControlError, match="upgrade_available behind them"):
        board.reboot().try_next("b", 3)
    board = u_boot(FRESH | {"zone": "x" * 5000})  # sorts behind all of them
    board.reboot().try_next("b", 3)
    assert board.reboot().booted() == "b"


@pytest.mark.parametrize("others", ["", "x" * 5000])
def test_failed_boots_and_a_power_cut_never_lose_the_environment(others: str) -> None:
    """U-Boot never flushes: both copies may be lost in part, but never both wholly."""
    for seed in range(100):
        board = u_boot(FRESH | ({"zone": others} if others else {}), seed=seed)
        board.reboot().try_next("b", 8)
        for _ in range(seed % 10):
            board.reboot()
        control = board.cut_power()
        assert control.default() == "a"
        assert control.booted() == ("b" if control.armed() else "a")


def test_the_layout_that_is_refused_would_lose_the_environment() -> None:
    """With the counters behind the first sector both copies are lost in some of these states."""
    armed = {"boot_slot": "b", "upgrade_available": "1", "bootlimit": "8", "boot": "x" * 2000}
    lost = 0
    for seed in range(50):
        board = u_boot(FRESH | armed, seed=seed)
        for _ in range(4):
            board.reboot()
        try:
            board.cut_power().default()
        except BootControlError:
            lost += 1
    assert lost


def interrupted(board: Board, operation: int, moment: Moment) -> None:
    control = board.control()
    board.power.cut_at(board.power.number + operation, moment)
    with pytest.raises(PowerCut):
        control.try_next("b", 3)


@pytest.mark.parametrize("moment", list(Moment))
@pytest.mark.parametrize("operation", [1, 2])
def test_a_cut_while_arming_leaves_the_state_before_or_after(
    operation: int, moment: Moment
) -> None:
    seen = set()
    for seed in range(20):
        board = u_boot(seed=seed)
        board.reboot()
        interrupted(board, operation, moment)
        control = board.cut_power()
        assert control.default() == "a"
        assert control.armed() == (control.booted() == "b")
        seen.add(control.armed())
    if (operation, moment) == (1, Moment.BEFORE):
        assert seen == {False}
    if (operation, moment) == (2, Moment.AFTER):
        assert seen == {True}
