import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.errors import InstallError
from agent.linux.block_device import LinuxBlockDevice, mount_point
from agent.linux.storage import LinuxStorage
from tests.linux.mounts import loop_device, mounted, run

SIZE_BYTES = 1024 * 1024
CONTENT = bytes(range(256)) * 512


@pytest.fixture
def backing(tmp_path: Path) -> Path:
    return tmp_path / "medium"


@pytest.fixture
def path(backing: Path) -> Iterator[str]:
    with loop_device(backing, SIZE_BYTES) as path:
        yield path


@pytest.fixture
def device(path: str) -> Iterator[LinuxBlockDevice]:
    device = LinuxBlockDevice(path)
    yield device
    device.close()


def test_size_is_that_of_the_device(device: LinuxBlockDevice) -> None:
    assert device.size_bytes == SIZE_BYTES


def test_flushed_bytes_are_on_the_medium(device: LinuxBlockDevice, backing: Path) -> None:
    device.write(4096, CONTENT)
    device.write(SIZE_BYTES - 3, b"end")
    assert device.read(4096, len(CONTENT)) == CONTENT
    device.flush()
    medium = backing.read_bytes()
    assert medium[4096 : 4096 + len(CONTENT)] == CONTENT
    assert medium[-3:] == b"end"


def test_reads_after_a_flush_come_from_the_medium(device: LinuxBlockDevice, backing: Path) -> None:
    """What changes below the cache after the flush is seen, so nothing was answered from the cache."""
    device.write(0, CONTENT)
    device.flush()
    with backing.open("r+b") as medium:
        medium.write(b"changed by the medium")
        medium.flush()
        os.fsync(medium.fileno())
    assert device.read(0, 21) == b"changed by the medium"
    assert device.read(4096, 4096) == CONTENT[4096:8192]


def test_flush_without_a_write_changes_nothing(device: LinuxBlockDevice) -> None:
    device.flush()
    assert device.read(0, 4) == bytes(4)


def test_flush_makes_durable_what_another_process_wrote_and_did_not_sync(
    device: LinuxBlockDevice, path: str, backing: Path
) -> None:
    another = os.open(path, os.O_RDWR)  # it tells the medium nothing, as `device` would
    try:
        os.pwrite(another, CONTENT, 0)
        assert not backing.read_bytes().startswith(CONTENT)
        device.flush()
        assert backing.read_bytes().startswith(CONTENT)
    finally:
        os.close(another)


def test_nothing_beyond_the_end_is_read_or_written(device: LinuxBlockDevice) -> None:
    with pytest.raises(InstallError, match=f"cannot write 2 bytes at {SIZE_BYTES - 1} of .*it has"):
        device.write(SIZE_BYTES - 1, b"xx")
    with pytest.raises(InstallError, match="cannot read 2 bytes"):
        device.read(SIZE_BYTES - 1, 2)
    assert device.read(SIZE_BYTES, 0) == b""


def test_mounted_device_is_read_but_never_written(
    device: LinuxBlockDevice, path: str, tmp_path: Path
) -> None:
    run("mkfs.ext4", "-q", path)
    with mounted(tmp_path / "root", path) as folder:
        assert device.read(1080, 2) == b"\x53\xef"  # the active slot is what deltas copy from
        with pytest.raises(InstallError, match=f"it is mounted at {folder}; an update only writes"):
            device.write(0, b"x")
    device.write(0, b"x")


def test_a_stick_with_any_name_does_not_keep_an_update_from_its_slot(
    device: LinuxBlockDevice, path: str, tmp_path: Path
) -> None:
    run("mkfs.ext4", "-q", path)
    with mounted(tmp_path / os.fsdecode(b"stick-\xe9\x0c"), "-t", "tmpfs", "tmpfs"):
        with (
            mounted(tmp_path / "root", path) as folder,
            pytest.raises(InstallError, match=f"it is mounted at {folder};"),
        ):
            device.write(0, b"x")
        device.write(0, b"x")


def test_device_that_is_written_cannot_be_mounted(
    device: LinuxBlockDevice, path: str, tmp_path: Path
) -> None:
    run("mkfs.ext4", "-q", path)
    device.write(0, b"x")
    with pytest.raises(AssertionError, match="mount"), mounted(tmp_path / "root", path):
        pass


def test_device_that_something_else_claims_is_refused(device: LinuxBlockDevice, path: str) -> None:
    claim = os.open(path, os.O_RDONLY | os.O_EXCL)
    try:
        with pytest.raises(InstallError, match="something else uses it"):
            device.write(0, b"x")
    finally:
        os.close(claim)


@pytest.fixture
def small_device(tmp_path: Path) -> Iterator[LinuxBlockDevice]:
    """A device that announces 1 MiB and has room for 64 KiB."""
    with (
        mounted(tmp_path / "small", "-t", "tmpfs", "-o", "size=64k", "tmpfs") as folder,
        loop_device(folder / "medium", SIZE_BYTES) as path,
    ):
        device = LinuxBlockDevice(path)
        yield device
        device.close()


def test_medium_that_fails_is_told_and_then_read_anew(small_device: LinuxBlockDevice) -> None:
    small_device.write(0, bytes([1]) * 65536)
    small_device.flush()
    small_device.write(65536, CONTENT)
    with pytest.raises(InstallError, match=r"cannot flush /dev/loop.*medium reports an error"):
        small_device.flush()
    assert small_device.read(65536, len(CONTENT)) == bytes(len(CONTENT))


def test_medium_that_lies_about_a_flush_is_found_out_by_reading(
    small_device: LinuxBlockDevice,
) -> None:
    """Linux counts a loop device's short write as done, so this flush claims success."""
    small_device.write(0, CONTENT)
    small_device.flush()
    assert small_device.read(0, len(CONTENT)) != CONTENT


def test_missing_device_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(
        InstallError, match=r"No such file.*the board profile names the right device"
    ):
        LinuxBlockDevice(str(tmp_path / "none")).read(0, 1)


def test_other_kinds_of_file_are_no_devices(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/zero")):
        device = LinuxBlockDevice(str(path))
        with pytest.raises(InstallError, match="block device was expected"):
            device.read(0, 1)
        device.close()


def test_plain_file_serves_where_there_is_no_device(tmp_path: Path) -> None:
    (tmp_path / "slot").write_bytes(bytes(8192))
    device = LinuxBlockDevice(str(tmp_path / "slot"))
    device.write(4096, b"image")
    device.flush()
    device.close()
    assert (tmp_path / "slot").read_bytes()[4096:4101] == b"image"


def test_storage_gives_the_same_device_for_the_same_path() -> None:
    storage = LinuxStorage()
    assert storage.device("/dev/a") is storage.device("/dev/a")
    assert storage.device("/dev/a") is not storage.device("/dev/b")


def test_mount_table_is_searched_by_number() -> None:
    table = (
        "22 1 8:2 / / rw - ext4 /dev/root rw\n23 22 8:21 / /data rw - ext4 /dev/sdb5 rw\n\nodd\n"
    )
    assert mount_point(table, os.makedev(8, 2)) == "/"
    assert mount_point(table, os.makedev(8, 21)) == "/data"
    assert mount_point(table, os.makedev(8, 1)) is None
