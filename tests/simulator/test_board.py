from pathlib import Path

import pytest

from agent.board import BoardProfile
from agent.boot.select import boot_control
from agent.errors import ConfigError
from simulator.board import BrokenImageError, SimulatedBoard, make_board
from simulator.image import Behaviour, make_small_image
from simulator.lab import make_images, make_lab
from simulator.profiles import load_profile, profile_names
from simulator.storage import Factory
from simulator.world import DarkBoardError, RestlessError

PART_BYTES = 32 * 1024


@pytest.fixture(params=profile_names())
def profile(request: pytest.FixtureRequest) -> BoardProfile:
    return load_profile(str(request.param))


def new_board(profile: BoardProfile, folder: Path | None = None) -> SimulatedBoard:
    images = make_images(profile, 1, 1, Behaviour.HEALTHY, 16)
    return make_board(profile, Factory(PART_BYTES, images, folder))


def write_slot_b(board: SimulatedBoard, image: bytes) -> None:
    for device in board.storage.slot("b").values():
        device.provision(0, image)


def start_slot_b(board: SimulatedBoard, profile: BoardProfile) -> None:
    control = boot_control(profile, board.storage, board.boot().facts)
    board.reset(control.try_next("b", 1))


def test_a_new_board_starts_slot_a_and_says_so_to_the_agent(profile: BoardProfile) -> None:
    board = new_board(profile)
    boot = board.boot()
    assert (boot.slot, boot.behaviour) == ("a", Behaviour.HEALTHY)
    assert profile.hardware_id in boot.facts.compatible
    control = boot_control(profile, board.storage, boot.facts)
    assert (control.booted(), control.default(), control.armed()) == ("a", "a", False)
    assert board.boot().facts.boot_id != boot.facts.boot_id


def test_a_trial_starts_the_other_slot_once(profile: BoardProfile) -> None:
    board = new_board(profile)
    write_slot_b(board, make_small_image(9, 16, Behaviour.HANGS))
    start_slot_b(board, profile)
    trial = board.boot()
    assert (trial.slot, trial.behaviour) == ("b", Behaviour.HANGS)
    board.reset()
    assert board.boot().slot == "a"


def test_an_empty_slot_is_not_started_and_a_broken_one_is_found(profile: BoardProfile) -> None:
    board = new_board(profile)
    start_slot_b(board, profile)
    assert board.boot().slot == "a"
    board = new_board(profile)
    image = bytearray(make_small_image(9, 16))
    image[5000] ^= 1
    write_slot_b(board, bytes(image))
    start_slot_b(board, profile)
    with pytest.raises(BrokenImageError):
        board.boot()


def test_a_snapshot_brings_everything_durable_back(profile: BoardProfile) -> None:
    board = new_board(profile)
    state = board.snapshot()
    write_slot_b(board, make_small_image(9, 16))
    board.files.replace("journal.json", b"{}")
    start_slot_b(board, profile)
    assert board.snapshot() != state
    board.restore(state)
    assert board.snapshot() == state
    assert board.boot().slot == "a"


def test_a_board_in_a_folder_keeps_its_slots_and_takes_images_from_files(
    profile: BoardProfile, tmp_path: Path
) -> None:
    board = new_board(profile, tmp_path / "devices")
    write_slot_b(board, make_small_image(9, 16))
    again = new_board(profile, tmp_path / "devices")
    assert again.content("b") == board.content("b")
    image = tmp_path / "image"
    image.write_bytes(make_small_image(3, 32))
    images = dict.fromkeys(profile.parts, image)
    board = make_board(profile, Factory(PART_BYTES, images, tmp_path / "others"))
    assert board.boot().slot == "a"
    with pytest.raises(ConfigError, match="larger"):
        make_board(profile, Factory(512, images))


def test_a_board_on_which_nothing_starts_ends_the_simulation(profile: BoardProfile) -> None:
    lab = make_lab(profile)
    for device in lab.device.board.storage.slot("a").values():
        device.provision(0, bytes(512))
    with pytest.raises(DarkBoardError):
        lab.device.run(60)


def test_a_board_that_never_rests_ends_the_simulation(profile: BoardProfile) -> None:
    lab = make_lab(profile)
    hanging = make_images(profile, 0, 1, Behaviour.HANGS, 64)
    for part, device in lab.device.board.storage.slot("a").items():
        device.provision(0, hanging[part])
    with pytest.raises(RestlessError, match="boots"):
        lab.device.run(86400)
