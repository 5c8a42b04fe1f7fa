import subprocess
from pathlib import Path

import pytest

from simulator.image import (
    Behaviour,
    inspect_bytes,
    inspect_file,
    make_small_image,
    stamp,
    stamp_file,
)


@pytest.mark.parametrize("behaviour", Behaviour)
def test_a_stamp_says_how_an_image_behaves_and_that_it_is_whole(behaviour: Behaviour) -> None:
    verdict = inspect_bytes(make_small_image(1, 16, behaviour))
    assert verdict.startable
    assert verdict.intact is True
    assert verdict.behaviour is behaviour


def test_one_changed_byte_behind_the_first_sector_is_seen() -> None:
    image = bytearray(make_small_image(1, 16))
    image[4000] ^= 1
    verdict = inspect_bytes(bytes(image))
    assert verdict.startable
    assert verdict.intact is False


def test_what_lies_behind_the_image_on_a_larger_device_does_not_count() -> None:
    assert inspect_bytes(make_small_image(1, 16) + b"\xff" * 4096).intact is True


@pytest.mark.parametrize(
    "content",
    [b"", bytes(64), bytes(4096), b"\xff" * 4096, make_small_image(1, 16)[:4096]],
    ids=["nothing", "less than a sector", "zeros", "garbage", "half an image"],
)
def test_what_is_no_image_is_not_startable(content: bytes) -> None:
    assert not inspect_bytes(content).startable


def test_a_slot_whose_first_sector_is_invalid_is_not_startable() -> None:
    image = make_small_image(1, 16)
    assert not inspect_bytes(bytes(512) + image[512:]).startable


def test_small_images_are_repeatable() -> None:
    assert make_small_image(3, 9) == make_small_image(3, 9)
    assert make_small_image(3, 9) != make_small_image(4, 9)
    assert len(make_small_image(3, 9)) == 9 * 512


def test_a_stamp_may_be_replaced_and_a_file_is_stamped_like_bytes(tmp_path: Path) -> None:
    content = make_small_image(5, 8)
    path = tmp_path / "image"
    path.write_bytes(content)
    stamp_file(path, Behaviour.HANGS)
    assert path.read_bytes() == stamp(content, Behaviour.HANGS)
    assert inspect_file(path).behaviour is Behaviour.HANGS


def test_a_stamped_ext4_stays_clean(tmp_path: Path) -> None:
    path = tmp_path / "root.ext4"
    with path.open("wb") as file:
        file.truncate(4 * 1024 * 1024)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", str(path)], check=True, timeout=30)
    assert inspect_file(path).startable
    assert inspect_file(path).intact is None
    stamp_file(path, Behaviour.FAILS_CHECKS)
    assert inspect_file(path).intact is True
    check = subprocess.run(
        ["e2fsck", "-fn", str(path)], check=False, timeout=30, capture_output=True
    )
    assert check.returncode == 0, check.stdout


def test_a_stamped_fat_keeps_its_parameters_and_signature() -> None:
    sector = bytes(range(128)) + bytes(382) + b"\x55\xaa"
    stamped = stamp(sector + bytes(512), Behaviour.HEALTHY)
    assert inspect_bytes(sector + bytes(2048)).startable
    assert stamped[:128] == sector[:128]
    assert stamped[510:512] == b"\x55\xaa"
