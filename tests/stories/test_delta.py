"""A whole update by deltas, on every board: also where the running slot is not what it was."""

import pytest

from agent.board import BoardProfile
from agent.release import DELTA
from agent.report import Outcome
from simulator.image import Behaviour, stamp
from simulator.lab import Lab, make_lab
from simulator.operator import WINDOW_BYTES

CHANGED_AT = 5 * WINDOW_BYTES + 700
WRITTEN_AT = WINDOW_BYTES + 700


@pytest.fixture
def lab(profile: BoardProfile) -> Lab:
    """The device runs release 1, and knows nothing of a second one yet."""
    lab = make_lab(profile, seed=7)
    lab.operator.release("1", 1, profile.hardware_id, lab.images(1))
    lab.device.run_until_quiet()
    return lab


def next_images(lab: Lab) -> dict[str, bytes]:
    """Release 2: release 1 with a few bytes in the middle of each part changed."""
    images = {}
    for part, image in lab.images(1).items():
        changed = image[:CHANGED_AT] + b"changed!" + image[CHANGED_AT + 8 :]
        images[part] = stamp(changed, Behaviour.HEALTHY)
    return images


def ship(lab: Lab) -> tuple[int, int]:
    """Publish release 2 with deltas; the bytes of all deltas, and of all full payloads."""
    images = next_images(lab)
    made = lab.operator.release("2", 2, lab.profile.hardware_id, images, bases=("1",))
    lab.operator.roll_out("to-2", "2")
    lab.operator.publish()
    lab.operator.notify()
    payloads = [payload for image in made.images for payload in image.payloads]
    deltas = sum(one.length_bytes for one in payloads if one.kind == DELTA)
    return deltas, sum(one.length_bytes for one in payloads) - deltas


def installed(lab: Lab) -> bool:
    content = lab.device.board.content("b")
    return all(content[part].startswith(image) for part, image in next_images(lab).items())


def test_an_update_fetches_the_deltas_and_nothing_else(lab: Lab) -> None:
    deltas, full = ship(lab)
    lab.device.run_until_quiet()
    assert lab.operator.outcomes() == [Outcome.CONFIRMED]
    assert lab.device.slot == "b"
    assert installed(lab)
    ends = len(lab.profile.parts)
    assert lab.repository.sent_bytes("blobs/*") == deltas + ends < 0.2 * full


def test_a_running_slot_that_was_written_costs_the_windows_that_changed(lab: Lab) -> None:
    deltas, full = ship(lab)
    for part, device in lab.device.board.storage.slot("a").items():
        image = lab.images(1)[part]
        written = image[:WRITTEN_AT] + b"mounted!" + image[WRITTEN_AT + 8 :]
        device.provision(0, stamp(written, Behaviour.HEALTHY))  # still a system that starts
    lab.device.run_until_quiet()
    assert lab.operator.outcomes() == [Outcome.CONFIRMED]
    assert installed(lab)
    sent = lab.repository.sent_bytes("blobs/*")
    assert deltas + WINDOW_BYTES / 2 < sent < deltas + full / 2


def test_a_mirror_without_the_deltas_costs_the_full_payloads(lab: Lab) -> None:
    deltas, full = ship(lab)
    for image in lab.operator.releases["2"].images:
        lab.operator.content.pop(image.payloads[1].path, None)
    lab.device.run_until_quiet()
    assert lab.operator.outcomes() == [Outcome.CONFIRMED]
    assert installed(lab)
    assert deltas < full <= lab.repository.sent_bytes("blobs/*")
