"""Images for microcontrollers in a release: as they are, with the systems that they work with."""

from pathlib import Path

import pytest

from agent.board import parse_profile
from agent.errors import ConfigError, TrustError
from agent.release import FIRMWARE, Hosts, parse_release
from fleet.chip_check import chips_of
from fleet.chip_images import ChipInput, parse_chip_inputs
from fleet.release import ImageInput, ReleaseRequest, add_release, find_release
from simulator.mcu.signed_image import signed_image
from tests.fleet.signing.support import HARDWARE, NOW, Fleet, noise


def test_a_chip_s_image_of_any_length_is_staged_as_it_is(fleet: Fleet, tmp_path: Path) -> None:
    root, motor = tmp_path / "root.img", tmp_path / "motor.bin"
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


GOOD_HEX = b":0400000001020304F2\n:00000001FF\n"
PROFILES = Path(__file__).parents[3] / "board-profiles"


def release_of(fleet: Fleet, folder: Path, chips: tuple[ChipInput, ...]) -> None:
    root = folder / "root.img"
    root.write_bytes(noise(4096))
    images = (ImageInput(HARDWARE, "root", root),)
    request = ReleaseRequest("2026.2", 2, "feature", images, chips=chips)
    add_release(fleet.workspace, fleet.keys, request, NOW)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.hex", GOOD_HEX.replace(b"F2", b"F3"), "sum of 0"),
        ("a.hex", GOOD_HEX[:-12], "cut off"),
        ("a.hex", b":0400000001020304F2\n" + GOOD_HEX, "given twice"),
        ("a.bin", GOOD_HEX.replace(b"F2", b"F3"), "sum of 0"),
        ("a.hex", b"\x7fELF", "begins with :"),
        ("a.s19", b"S1070000010203040E\n", "sum of 0xFF"),
        ("a.bin", signed_image(b"program", 1)[:-1] + b"?", None),
        ("a.bin", signed_image(b"program", 1).replace(b"program", b"progran"), "SHA-256"),
        ("a.bin", signed_image(b"program", 1)[:-1], "MCUboot image"),
    ],
)
def test_a_file_that_is_not_what_it_claims_is_not_released(
    fleet: Fleet, tmp_path: Path, name: str, content: bytes, words: str | None
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    chips = parse_chip_inputs([f"acme,motor:motor={path}"], ["motor=any"])
    if words is None:  # whose signature it is, only a profile knows
        release_of(fleet, tmp_path, chips)
        return
    with pytest.raises(ConfigError, match=words):
        release_of(fleet, tmp_path, chips)


@pytest.mark.parametrize(
    ("board", "content", "words"),
    [
        ("gateway-stm32", noise(70_000), "between 0x8000000"),
        ("gateway-mcuboot", signed_image(b"program", 1)[:-1] + b"?", "signature"),
        ("gateway-avr", b"raw bytes", "begins with :"),
    ],
)
def test_with_the_board_s_profile_it_is_judged_as_the_device_will(
    fleet: Fleet, tmp_path: Path, board: str, content: bytes, words: str
) -> None:
    profile = PROFILES / f"{board}.toml"
    (known,) = chips_of(parse_profile(profile.read_bytes(), board))
    path = tmp_path / "image"
    path.write_bytes(content)
    chip, hosts = f"{known.hardware_id}:{known.component}={path}", f"{known.component}=any"
    chips = parse_chip_inputs([chip], [hosts], [str(profile)])
    with pytest.raises(ConfigError, match=words):
        release_of(fleet, tmp_path, chips)


def test_a_profile_that_names_none_of_the_chips_is_a_mistake(tmp_path: Path) -> None:
    profile = str(PROFILES / "gateway-stm32.toml")
    with pytest.raises(ConfigError, match="one of the --chip"):
        parse_chip_inputs([f"acme,lamp:lamp={tmp_path}/a.bin"], ["lamp=any"], [profile])
