"""While a device is written by a thread it must look as if it were not."""

import threading
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from agent.errors import InstallError
from agent.linux.block_device import LinuxBlockDevice
from tests.linux.mounts import loop_device, mounted

SIZE_BYTES = 8 * 1024 * 1024
STEP = 256 * 1024


@pytest.fixture
def backing(tmp_path: Path) -> Path:
    return tmp_path / "medium"


@pytest.fixture
def device(backing: Path) -> Iterator[LinuxBlockDevice]:
    with loop_device(backing, SIZE_BYTES) as path:
        device = LinuxBlockDevice(path)
        device.write(0, b"x" * 512)
        device.flush_behind()  # from here on a thread writes
        yield device
        device.close()


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[LinuxBlockDevice]:
    """On a file system in memory, where nothing goes past the cache on older kernels."""
    with mounted(tmp_path / "memory", "-t", "tmpfs", "-o", "size=2m", "tmpfs") as folder:
        file = folder / "slot"
        with file.open("wb") as slot:
            slot.truncate(SIZE_BYTES)
        device = LinuxBlockDevice(str(file))
        device.flush_behind()
        yield device
        device.close()


def noise(length_bytes: int, seed: int = 1) -> bytes:
    return Random(seed).randbytes(length_bytes)


def test_what_was_written_before_the_flush_before_is_on_the_medium(
    device: LinuxBlockDevice, backing: Path
) -> None:
    first, second = noise(3 * STEP, 1), noise(STEP, 2)
    device.write(STEP, first)
    device.flush_behind()
    device.write(5 * STEP, second)
    device.flush_behind()
    assert backing.read_bytes()[STEP : 4 * STEP] == first
    device.flush()
    assert backing.read_bytes()[5 * STEP : 6 * STEP] == second


def test_reads_find_what_is_on_its_way(device: LinuxBlockDevice) -> None:
    expected = bytearray(device.read(0, SIZE_BYTES))
    chance = Random(7)
    for turn in range(60):
        offset = chance.randrange(0, SIZE_BYTES - STEP, 512)
        length = chance.choice((512, 1536, STEP // 2, STEP))
        content = noise(length, turn)
        device.write(offset, content)
        expected[offset : offset + length] = content
        if turn % 7 == 0:
            device.flush_behind()
        for _ in range(4):
            start = chance.randrange(SIZE_BYTES - 2 * STEP)
            wanted = chance.choice((1, 700, STEP, 2 * STEP))
            assert device.read(start, wanted) == expected[start : start + wanted]
            assert device.holds(offset, content)
    device.flush()
    assert device.read(0, SIZE_BYTES) == expected


def test_what_a_flush_completed_is_compared_with_the_medium(
    device: LinuxBlockDevice, backing: Path
) -> None:
    content = noise(STEP)
    device.write(STEP, content)
    device.flush_behind()
    device.flush_behind()
    assert device.holds(STEP, content)
    assert not device.holds(STEP, content[:-1] + bytes([content[-1] ^ 1]))
    device.write(2 * STEP, content)
    device.flush()
    with backing.open("r+b") as medium:
        medium.seek(2 * STEP + 5)
        medium.write(b"changed by the medium")
    assert not device.holds(2 * STEP, content)


@pytest.mark.parametrize("length", [512, STEP, 3 * STEP + 512])
def test_zeros_are_made_by_the_device_and_reach_no_further(
    device: LinuxBlockDevice, backing: Path, length: int
) -> None:
    before = noise(6 * STEP)
    device.write(0, before)
    device.flush_behind()
    device.write(STEP, bytes(length))
    device.write(STEP + length, b"behind" * 1024)
    device.flush_behind()
    device.flush_behind()
    expected = before[:STEP] + bytes(length) + b"behind" * 1024
    expected += before[len(expected) :]
    assert backing.read_bytes()[: len(expected)] == expected
    assert device.holds(STEP, bytes(length))
    device.flush()
    assert device.read(0, len(expected)) == expected


def test_a_flush_of_nothing_does_not_end_the_one_that_follows_early(
    device: LinuxBlockDevice, backing: Path
) -> None:
    for turn in range(4):
        device.flush_behind()
        device.flush_behind()
        content = noise(3 * STEP, turn)
        device.write(turn * 4 * STEP, content)
        device.flush_behind()
        device.flush_behind()
        assert backing.read_bytes()[turn * 4 * STEP :][: len(content)] == content
        assert device.holds(turn * 4 * STEP, content)


def test_a_medium_that_lost_what_it_took_is_found_out(tmp_path: Path) -> None:
    """Linux counts a loop device's short write as done, so the flush claims success."""
    with (
        mounted(tmp_path / "small", "-t", "tmpfs", "-o", "size=1m", "tmpfs") as folder,
        loop_device(folder / "medium", SIZE_BYTES) as path,
    ):
        device = LinuxBlockDevice(path)
        device.flush_behind()
        content = noise(2 * STEP)
        for start in range(0, SIZE_BYTES, len(content)):
            device.write(start, content)
        try:
            device.flush_behind()
            device.flush_behind()
            held = [device.holds(at, content) for at in range(0, SIZE_BYTES, len(content))]
        except InstallError:
            held = [False]
        assert not all(held)
        device.close()


def test_a_write_that_fails_in_the_thread_is_told_at_the_next_flush(
    plain: LinuxBlockDevice,
) -> None:
    for start in range(0, SIZE_BYTES, STEP):
        plain.write(start, noise(STEP))
    plain.flush_behind()
    with pytest.raises(InstallError, match=r"cannot flush .*needs more room"):
        plain.flush_behind()
    assert plain.read(SIZE_BYTES - STEP, STEP) == bytes(STEP)
    assert not [one for one in threading.enumerate() if one.name == "write-behind"]


def test_a_file_that_has_no_way_past_the_cache_is_written_through_it(
    plain: LinuxBlockDevice,
) -> None:
    content = noise(STEP)
    plain.write(100, content)
    plain.flush_behind()
    plain.flush_behind()
    assert plain.holds(100, content)
    plain.write(100, b"other")
    assert not plain.holds(100, content)
    plain.flush()
    assert plain.read(100, 5 + 100) == b"other" + content[5:105]


def test_the_thread_ends_with_a_flush_and_with_the_device(device: LinuxBlockDevice) -> None:
    device.flush()
    assert not [one for one in threading.enumerate() if one.name == "write-behind"]
    device.flush_behind()
    device.write(0, noise(STEP))
    device.close()
    assert not [one for one in threading.enumerate() if one.name == "write-behind"]
    assert device.read(0, STEP) == noise(STEP)
