"""What a gateway keeps of its chips' images may rot; a release is what mends it."""

import hashlib

import pytest

from agent import journal as journals
from agent.firmware import FOLDER
from agent.report import Outcome
from simulator.image import Behaviour
from simulator.lab import Lab
from simulator.trace import Line
from tests.stories.gateways import GATEWAYS, small_lab, when

READABLE = pytest.mark.parametrize("name", ["gateway-avr", "gateway-stm32"])


def rot_kept_images(lab: Lab, *, of_the_release: bool) -> None:
    """The image that the update brings, or else all others."""
    journal, files = lab.device.journal, lab.device.board.files
    assert journal is not None, "the journal is whole"
    assert journal.update is not None, "an update is under way"
    new = {planned.firmware.path for planned in journal.update.chips}
    for path in files.names(FOLDER):
        if (path in new) == of_the_release:
            files.content[path] = b"rotten"


@READABLE
def test_a_release_mends_a_chip_whose_image_from_before_is_lost(name: str) -> None:
    lab = small_lab(name)
    when(lab, unhealthy=lambda: rot_kept_images(lab, of_the_release=False))
    lab.ship(Behaviour.FAILS_CHECKS, chips=True)
    lab.device.run_until_quiet()
    assert lab.operator.outcomes() == [Outcome.FAILED]  # mixed: nobody has the image from before
    lab.ship(number=3, chips=True)
    lab.device.run_until_quiet()
    assert lab.operator.endings() == [Outcome.FAILED, Outcome.CONFIRMED]
    assert lab.chips_hold(3)


@READABLE
def test_a_release_without_images_does_not_hide_a_lost_one(name: str) -> None:
    lab = small_lab(name)
    when(lab, unhealthy=lambda: rot_kept_images(lab, of_the_release=False))
    lab.ship(Behaviour.FAILS_CHECKS, chips=True)
    lab.device.run_until_quiet()
    lab.ship(number=3)
    lab.device.run_until_quiet()
    assert lab.operator.endings() == [Outcome.FAILED, Outcome.FAILED]
    assert lab.device.slot == "a"


@READABLE
def test_a_kept_image_that_rotted_before_the_trial_is_fetched_again(name: str) -> None:
    lab = small_lab(name)
    when(lab, installed=lambda: rot_kept_images(lab, of_the_release=True))
    lab.ship(chips=True)
    lab.device.run_until_quiet()
    assert lab.operator.endings() == [Outcome.REVERTED]
    assert lab.chips_hold(0)
    lab.device.trace.sink = None
    lab.operator.reissue("rollout-2")
    lab.operator.publish()
    lab.operator.notify()
    lab.device.run_until_quiet()
    assert lab.operator.endings() == [Outcome.REVERTED, Outcome.CONFIRMED]
    assert lab.chips_hold(2)


@READABLE
def test_a_leftover_that_rotted_does_not_stand_for_the_image(name: str) -> None:
    lab = small_lab(name)
    (chip,) = lab.profile.microcontrollers
    digest = hashlib.sha256(lab.chip_file(chip, 2)).hexdigest()
    lab.device.board.files.content[f"{FOLDER}/{digest}"] = b"rotten"
    lab.ship(chips=True)
    lab.device.run_until_quiet()
    assert lab.operator.endings() == [Outcome.CONFIRMED]
    assert lab.chips_hold(2)


@pytest.mark.parametrize("name", GATEWAYS)
def test_a_journal_that_rots_in_a_trial_takes_no_memory_of_the_chips_with_it(name: str) -> None:
    lab = small_lab(name)

    def rot(line: Line) -> None:
        if line.event == "switched" and lab.device.board.boots == 1:
            lab.device.board.files.content[journals.FILE] = b"rotten"

    lab.device.trace.sink = rot
    lab.ship(Behaviour.FAILS_CHECKS, chips=True)
    lab.device.run_until_quiet()
    lab.device.run(lab.clock.now_s + 3600)
    assert lab.device.board.boots == 5  # a trial that nobody remembers and one that fails
    assert lab.operator.endings() == [Outcome.REVERTED]
    assert lab.chips_hold(0)
