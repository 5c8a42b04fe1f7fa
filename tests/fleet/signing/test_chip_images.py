"""Images for microcontrollers in a release: as they are, with the systems that they work with."""

from pathlib import Path

import pytest

from agent.errors import ConfigError, TrustError
from agent.release import FIRMWARE, Hosts, parse_release
from fleet.chip_images import ChipInput, parse_chip_inputs
from fleet.release import ImageInput, ReleaseRequest, add_release, find_release
from tests.fleet.signing.support import HARDWARE, NOW, Fleet, noise


def test_a_chip_s_image_of_any_length_is_staged_as_it_is(fleet: Fleet, tmp_path: Path) -> None:
    root, motor = tmp_path / "root.img", tmp_path / "motor.hex"
    root.write_bytes(noise(4096))
    motor.write_bytes(noise(777))
    chips = parse_chip_inputs([f"acme,motor:motor={motor}"], ["motor=1-9"])
    request = ReleaseRequest(
        "2026.2", 2, "feature", (ImageInput(HARDWARE, "root", root),), chips=chips
    )
    add_release(fleet.workspace, fleet.keys, request, NOW)
    _, image = find_release(fleet.workspace, "2026.2").images
    assert (image.component, image.part, image.length_bytes) == ("motor", FIRMWARE, 777)
    assert image.hosts == Hosts(1, 9)


def test_any_host_is_said_in_so_many_words() -> None:
    (chip,) = parse_chip_inputs(["acme,motor:motor=motor.bin"], ["motor=any"])
    assert chip == ChipInput("acme,motor", "motor", Path("motor.bin"), chip.hosts)
    assert chip.hosts.allow(0)
    assert chip.hosts.allow(10**9)


@pytest.mark.parametrize(
    ("chips", "hosts", "words"),
    [
        (["motor=motor.bin"], ["motor=any"], "HARDWARE_ID:COMPONENT=FILE"),
        (["acme:slots=motor.bin"], ["slots=any"], "HARDWARE_ID:COMPONENT=FILE"),
        (["acme:motor=motor.bin"], [], "--hosts motor=MIN-MAX"),
        (["acme:motor=motor.bin"], ["motor=9-1"], "such as motor=7-12"),
        (["acme:motor=motor.bin"], ["motor=7"], "such as motor=7-12"),
        ([], ["motor=any"], "has no --chip"),
        (["acme:motor=a", "acme:motor=b"], ["motor=any"], "once"),
    ],
)
def test_what_is_missing_or_wrong_is_named(chips: list[str], hosts: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words.replace("|", r"\|")):
        parse_chip_inputs(chips, hosts)


def test_a_manifest_without_hosts_for_a_chip_is_refused(fleet: Fleet, tmp_path: Path) -> None:
    root, motor = tmp_path / "root.img", tmp_path / "motor.bin"
    root.write_bytes(noise(4096))
    motor.write_bytes(noise(10))
    chips = parse_chip_inputs([f"acme,motor:motor={motor}"], ["motor=any"])
    images = (ImageInput(HARDWARE, "root", root),)
    request = ReleaseRequest("2026.2", 2, "feature", images, chips=chips)
    add_release(fleet.workspace, fleet.keys, request, NOW)
    manifest = (fleet.workspace.stage / "x").parent  # the stage itself
    (path,) = [
        one for one in manifest.rglob("*") if one.is_file() and b'"hosts"' in one.read_bytes()
    ]
    content = path.read_bytes()
    assert parse_release(content).images[1].hosts == Hosts(0, 2**53 - 1)
    with pytest.raises(TrustError, match="hosts"):
        parse_release(content.replace(b'"hosts"', b'"hoots"'))
