"""Encrypted releases in whole worlds: power cuts, chips, and a disk and a mirror that hold nothing plain."""

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from agent.report import Outcome
from fleet.encrypted_release import seal_images
from fleet.encryption import Recipients
from simulator.image import Behaviour
from simulator.lab import Lab, make_lab
from simulator.power import Moment
from simulator.profiles import load_profile
from tests.stories.gateways import small_lab

KEY = X25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
KEY_PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
OTHER = X25519PrivateKey.from_private_bytes(bytes(range(2, 34)))


def ship(
    lab: Lab,
    number: int = 2,
    *,
    to: X25519PrivateKey = KEY,
    behaviour: Behaviour = Behaviour.HEALTHY,
    chips: bool = False,
) -> None:
    """What `lab.ship` does, with every payload encrypted and the plain ones gone."""
    lab.ship(behaviour, number, chips=chips)
    operator, name = lab.operator, str(number)
    release = operator.releases[name]
    recipients = Recipients((to.public_key().public_bytes_raw(),))
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        for image in release.images:
            for payload in image.payloads:
                (folder / payload.blob).write_bytes(operator.content.pop(payload.path))
        into = folder / "sealed"
        images = seal_images(release.images, folder, into, recipients)
        for image in images:
            for payload in image.payloads:
                operator.content[payload.path] = (into / payload.blob).read_bytes()
    operator.releases[name] = replace(release, images=images)
    operator.publish()
    operator.notify()


@pytest.fixture
def lab() -> Lab:
    made = make_lab(load_profile("rpi4-tryboot"), seed=7)
    made.device.encryption_key = KEY_PEM
    return made


def test_an_encrypted_release_is_installed_and_confirmed(lab: Lab) -> None:
    ship(lab)
    lab.device.run_until_quiet()
    assert lab.operator.outcomes() == [Outcome.CONFIRMED]
    assert lab.holds("b", 2)


def test_a_cut_at_every_tenth_operation_ends_well(lab: Lab) -> None:
    ship(lab)
    power = lab.device.board.power
    for number in range(10, 200, 10):
        power.cut_at(power.number + number, Moment.AFTER)
        lab.device.run(lab.clock.now_s + 600)
    power.keep_on()
    lab.device.run_until_quiet()
    assert lab.operator.outcomes()[-1] in (Outcome.CONFIRMED, Outcome.REVERTED)
    assert lab.holds("a", 1)


def test_a_device_that_is_no_recipient_says_so_and_keeps_its_system(lab: Lab) -> None:
    before = lab.device.board.content("b")
    ship(lab, to=OTHER)
    lab.device.run_until_quiet()
    (report,) = lab.operator.reports.values()
    assert (report.outcome, report.code) == (Outcome.FAILED, "payload-key")
    assert lab.device.board.content("b") == before


def test_a_device_without_a_key_refuses_before_it_fetches(lab: Lab) -> None:
    lab.device.encryption_key = b""
    ship(lab)
    lab.device.run_until_quiet()
    (report,) = lab.operator.reports.values()
    assert (report.outcome, report.code) == (Outcome.FAILED, "payload-key")
    assert "hpke-x25519-aes256gcm" in report.detail
    assert lab.repository.count("blobs/*") == 0


@pytest.mark.parametrize("behaviour", [Behaviour.HEALTHY, Behaviour.FAILS_CHECKS])
def test_images_of_chips_are_kept_sealed_and_serve_both_ways(behaviour: Behaviour) -> None:
    lab = small_lab("gateway-stm32")
    lab.device.encryption_key = KEY_PEM
    (chip,) = lab.profile.microcontrollers
    ship(lab, behaviour=behaviour, chips=True)
    lab.device.run_until_quiet()
    assert lab.chips_hold(2 if behaviour is Behaviour.HEALTHY else 0)
    kept = [
        content
        for path, content in lab.device.board.files.content.items()
        if path.startswith("chips/")
    ]
    assert kept
    plain = lab.chip_file(chip, 2)
    for content in kept:
        assert plain[:16] not in content
