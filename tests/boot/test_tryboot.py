"""A/B by the Raspberry Pi firmware's own tryboot: whole cycles over the firmware model."""

import dataclasses

import pytest

from agent.boot.select import boot_control
from agent.errors import BootControlError
from simulator.fat import fat_image, read_root_file
from simulator.firmware import BootChoice
from simulator.power import Moment, Operation, PowerCut
from tests.boot.boards import AUTOBOOT, CONFIG_PARTITION, Board, raspberry_pi

SWAPPED = b"[all]\ntryboot_a_b=1\nboot_partition=3\n[tryboot]\nboot_partition=2\n"


def autoboot(board: Board) -> bytes:
    content = read_root_file(board.device.durable, "AUTOBOOT.TXT")
    assert content is not None
    return content


def names(board: Board) -> set[str]:
    return {operation.name for operation in board.power.history or []}


def test_a_confirmed_trial_starts_by_default_for_ever() -> None:
    board = raspberry_pi()
    control = board.reboot()
    assert (control.booted(), control.default(), control.armed()) == ("a", "a", False)

    control = board.reboot(control.try_next("b", 3))
    assert (control.booted(), control.default()) == ("b", "a")
    assert board.choice == BootChoice(slot="b", boot_partition=3, tryboot=True)
    control.confirm("b")
    assert control.default() == "b"
    assert autoboot(board) == SWAPPED

    assert board.reboot().booted() == "b"
    assert board.cut_power().booted() == "b"


def test_two_updates_in_a_row_swap_the_slots_twice() -> None:
    board = raspberry_pi()
    board.reboot(board.reboot().try_next("b", 1)).confirm("b")
    control = board.reboot()
    board.reboot(control.try_next("a", 1)).confirm("a")
    assert board.cut_power().booted() == "a"
    assert autoboot(board) == AUTOBOOT


@pytest.mark.parametrize("how", ["reset", "power cut"])
def test_reverts_when_the_new_slot_never_confirms(how: str) -> None:
    board = raspberry_pi()
    assert board.reboot(board.reboot().try_next("b", 3)).booted() == "b"
    control = board.reboot() if how == "reset" else board.cut_power()
    assert (control.booted(), control.default()) == ("a", "a")


def test_a_power_cut_before_the_reboot_forgets_the_trial() -> None:
    board = raspberry_pi()
    argument = board.reboot().try_next("b", 3)
    board.firmware().reset(argument)
    assert board.cut_power().booted() == "a"


def test_a_reboot_that_drops_the_argument_starts_the_default() -> None:
    board = raspberry_pi()
    board.reboot().try_next("b", 3)
    assert board.reboot("").booted() == "a"


def test_a_trial_slot_that_does_not_start_leads_back() -> None:
    board = raspberry_pi()
    argument = board.reboot().try_next("b", 3)
    board.startable = {"a"}
    assert board.reboot(argument).booted() == "a"
    assert board.choice.tryboot is False


def test_without_autoboot_the_first_slot_that_starts_is_taken() -> None:
    board = raspberry_pi()
    board.device.provision(0, fat_image({"README.TXT": b"no autoboot\n"}))
    board.startable = {"b"}
    control = board.reboot()
    assert control.booted() == "b"
    with pytest.raises(BootControlError, match=r"autoboot.txt in the root directory was expected"):
        control.default()


def test_a_default_that_does_not_start_leaves_the_board_dark() -> None:
    board = raspberry_pi()
    board.startable = {"b"}
    assert board.firmware().boot() == BootChoice(slot=None)


def test_arming_writes_only_when_the_trial_slot_is_not_named_yet() -> None:
    board = raspberry_pi()
    board.power.history = []
    assert board.reboot().try_next("b", 3) == "0 tryboot"
    assert names(board) == {"BlockDevice.flush"}


def test_arming_names_the_slot_by_one_write_of_one_sector() -> None:
    board = raspberry_pi(AUTOBOOT.replace(b"boot_partition=3", b"boot_partition=2"))
    control = board.reboot()
    board.power.history = []
    control.try_next("b", 3)
    assert autoboot(board) == AUTOBOOT
    write, flush = board.power.history
    assert write.name == "BlockDevice.write"
    assert write.detail.endswith("+512")
    assert int(write.detail.split()[1].split("+")[0]) % 512 == 0
    assert flush == Operation(2, "BlockDevice.flush", CONFIG_PARTITION)


def test_confirming_and_disarming_again_write_nothing() -> None:
    board = raspberry_pi()
    control = board.reboot(board.reboot().try_next("b", 3))
    control.confirm("b")
    board.power.history = []
    control.confirm("b")
    control.disarm()
    assert names(board) == {"BlockDevice.flush"}


def test_what_an_earlier_process_wrote_is_durable_before_it_counts() -> None:
    """A process may end between its write and its flush without any power cut."""
    for seed in range(20):
        board = raspberry_pi(seed=seed)
        control = board.reboot(board.reboot().try_next("b", 3))
        unfinished = fat_image({"AUTOBOOT.TXT": SWAPPED})
        board.device.write(0, unfinished)
        control.confirm("b")
        assert board.cut_power().booted() == "b"


def test_neither_the_running_nor_the_default_slot_is_tried() -> None:
    board = raspberry_pi()
    control = board.reboot()
    with pytest.raises(BootControlError, match="neither runs nor starts by default"):
        control.try_next("a", 3)
    control = board.reboot(control.try_next("b", 3))
    for slot in ("a", "b"):
        with pytest.raises(BootControlError, match="neither runs nor starts by default"):
            control.try_next("a" if slot == "a" else "b", 3)


def test_only_a_running_slot_is_confirmed() -> None:
    board = raspberry_pi()
    control = board.reboot()
    with pytest.raises(BootControlError, match="slot b was expected to run, a does"):
        control.confirm("b")
    assert autoboot(board) == AUTOBOOT


@pytest.mark.parametrize("partition", [None, 0, 1, 4])
def test_a_boot_partition_that_is_no_slot_is_an_error(partition: int | None) -> None:
    board = raspberry_pi()
    board.reboot()
    facts = dataclasses.replace(board.choice.facts("boot"), boot_partition=partition)
    with pytest.raises(BootControlError, match="was expected"):
        boot_control(board.profile, board.storage, facts).booted()


@pytest.mark.parametrize(
    ("moment", "expected"),
    [(Moment.BEFORE, {AUTOBOOT}), (Moment.TORN, {AUTOBOOT}), (Moment.AFTER, {AUTOBOOT, SWAPPED})],
)
@pytest.mark.parametrize("operation", ["BlockDevice.write", "BlockDevice.flush"])
def test_a_cut_while_confirming_leaves_the_old_file_or_the_new_one(
    operation: str, moment: Moment, expected: set[bytes]
) -> None:
    seen = set()
    for seed in range(24):
        board = raspberry_pi(seed=seed)
        control = board.reboot(board.reboot().try_next("b", 3))
        board.power.cut_at_name(operation, 1, moment)
        with pytest.raises(PowerCut):
            control.confirm("b")
        assert board.cut_power().default() == board.choice.slot
        seen.add(autoboot(board))
    if operation == "BlockDevice.flush":
        expected = {SWAPPED} if moment is Moment.AFTER else {AUTOBOOT, SWAPPED}
    assert seen == expected


def test_a_medium_that_does_not_keep_the_write_is_noticed() -> None:
    board = raspberry_pi()
    control = board.reboot(board.reboot().try_next("b", 3))
    board.device.faults.write_error_in = 1
    with pytest.raises(BootControlError, match="could not be written"):
        control.confirm("b")
    assert control.default() == "a"
