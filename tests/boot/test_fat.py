"""Finding a file on FAT: real tools make the partitions and judge them after our write."""

import contextlib
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.boot.fat import find_file
from agent.boot.select import boot_control
from agent.errors import BootControlError
from simulator.block_device import (
    MemoryStore,
    SimulatedBlockDevice,
    SimulatedStorage,
    SparseFileStore,
    Store,
)
from simulator.fat import FatError, fat_image, read_root_file
from simulator.power import Power
from tests.boot.boards import AUTOBOOT, CONFIG_PARTITION, raspberry_pi

MIB = 1024 * 1024
KINDS = {
    "FAT12": ("12", 4 * MIB, "4"),
    "FAT16": ("16", 16 * MIB, "2"),
    "FAT32": ("32", 40 * MIB, "1"),
}


def run(*command: str) -> bytes:
    done = subprocess.run(command, capture_output=True, check=False, timeout=30)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


def made_by_tools(path: Path, kind: str, sector_bytes: int = 512) -> None:
    bits, size_bytes, cluster_sectors = KINDS[kind]
    SparseFileStore(path, size_bytes).create()
    run(
        "mkfs.vfat", "-F", bits, "-s", cluster_sectors, "-S", str(sector_bytes), "-n", "CONFIG",
        str(path),
    )  # fmt: skip
    file = path.with_suffix(".txt")
    for name, content in (
        ("a long name before it.txt", b"x" * 5000),
        ("gone.txt", b"deleted"),
        ("autoboot.txt", AUTOBOOT),
    ):
        file.write_bytes(content)
        run("mcopy", "-i", str(path), str(file), f"::{name}")
    run("mdel", "-i", str(path), "::gone.txt")


def device(store: Store) -> SimulatedBlockDevice:
    return SimulatedBlockDevice(store, Power(), "partition")


@pytest.mark.parametrize("kind", KINDS)
def test_the_tools_see_our_write_and_a_clean_file_system(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "partition"
    made_by_tools(path, kind)
    board = raspberry_pi()
    board.device = device(SparseFileStore(path, path.stat().st_size))
    board.storage = SimulatedStorage({CONFIG_PARTITION: board.device})
    board.below = None
    board.reboot(board.reboot().try_next("b", 1)).confirm("b")

    written = run("mtype", "-i", str(path), "::autoboot.txt")
    assert written == AUTOBOOT.replace(b"=2", b"=9").replace(b"=3", b"=2").replace(b"=9", b"=3")
    run("fsck.vfat", "-n", str(path))
    assert board.reboot().booted() == "b"


def test_larger_sectors_of_the_file_system_are_understood(tmp_path: Path) -> None:
    path = tmp_path / "partition"
    made_by_tools(path, "FAT16", sector_bytes=2048)
    place = find_file(device(SparseFileStore(path, path.stat().st_size)), "autoboot.txt")
    assert path.read_bytes()[place.offset : place.offset + place.length_bytes] == AUTOBOOT


def test_one_sector_changes_and_nothing_beside_the_file(tmp_path: Path) -> None:
    path = tmp_path / "partition"
    made_by_tools(path, "FAT12")
    before = path.read_bytes()
    storage = SimulatedStorage({CONFIG_PARTITION: device(SparseFileStore(path, len(before)))})
    board = raspberry_pi()
    board.reboot("0 tryboot")
    boot_control(board.profile, storage, board.choice.facts("boot")).confirm("b")
    after = path.read_bytes()
    changed = [at for at in range(len(before)) if before[at] != after[at]]
    assert len(changed) == 2
    assert len(before) == len(after)


@pytest.mark.parametrize("size_bytes", [32 * 1024, 64 * 1024, 2 * MIB, 4 * MIB])
def test_the_tools_take_the_partitions_of_the_simulator(size_bytes: int, tmp_path: Path) -> None:
    path = tmp_path / "partition"
    files = {"AUTOBOOT.TXT": AUTOBOOT, "LONG.BIN": bytes(range(256)) * 20, "EMPTY": b""}
    path.write_bytes(fat_image(files, size_bytes))
    run("fsck.vfat", "-n", str(path))
    for name, content in files.items():
        assert run("mtype", "-i", str(path), f"::{name}") == content
        assert (
            read_root_file(device(MemoryStore(size_bytes, path.read_bytes())).read, name) == content
        )


@pytest.mark.parametrize("kind", KINDS)
def test_the_simulator_reads_the_partitions_of_the_tools(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "partition"
    made_by_tools(path, kind)
    read = device(SparseFileStore(path, path.stat().st_size)).read
    assert read_root_file(read, "autoboot.txt") == AUTOBOOT
    assert read_root_file(read, "gone.txt") is None


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ({"OTHER.TXT": b"x"}, "no such file"),
        ({"AUTOBOOT.TXT": b""}, "1 to 512 bytes was expected, 0 bytes"),
        ({"AUTOBOOT.TXT": b"x" * 513}, "1 to 512 bytes was expected, 513 bytes"),
    ],
)
def test_a_file_that_is_not_one_sector_is_refused(files: dict[str, bytes], complaint: str) -> None:
    with pytest.raises(BootControlError, match=complaint):
        find_file(device(MemoryStore(65536, fat_image(files))), "AUTOBOOT.TXT")


def with_bytes(at: int, content: bytes) -> bytes:
    image = bytearray(fat_image({"AUTOBOOT.TXT": AUTOBOOT}))
    image[at : at + len(content)] = content
    return bytes(image)


@pytest.mark.parametrize(
    ("image", "complaint"),
    [
        (with_bytes(510, b"\0\0"), "signature 55 aa"),
        (with_bytes(11, b"\0\0"), "sectors of 512"),
        (with_bytes(13, b"\3"), "power of two"),
        (with_bytes(16, b"\0"), "at least one allocation table"),
        (with_bytes(19, b"\xff\xff"), "ends within the partition"),
        (with_bytes(22, b"\0\0"), "FAT32 with mirrored tables"),
        (with_bytes(512 + 3, b"\x03\xf0"), "single cluster"),
    ],
)
def test_an_odd_file_system_is_refused(image: bytes, complaint: str) -> None:
    with pytest.raises(BootControlError, match=complaint):
        find_file(device(MemoryStore(65536, image)), "AUTOBOOT.TXT")


def test_a_folder_of_that_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "partition"
    SparseFileStore(path, MIB).create()
    run("mkfs.vfat", str(path))
    run("mmd", "-i", str(path), "::autoboot.txt")
    with pytest.raises(BootControlError, match="a folder or a label"):
        find_file(device(SparseFileStore(path, MIB)), "AUTOBOOT.TXT")


def test_fat32_with_too_few_clusters_is_refused_because_readers_disagree(tmp_path: Path) -> None:
    path = tmp_path / "partition"
    SparseFileStore(path, 8 * MIB).create()
    run("mkfs.vfat", "-F", "32", "-s", "1", str(path))
    with pytest.raises(BootControlError, match="FAT32 exactly from 65525 clusters on"):
        find_file(device(SparseFileStore(path, 8 * MIB)), "AUTOBOOT.TXT")


FIELDS = st.tuples(st.integers(0, 40), st.binary(min_size=1, max_size=4))


@given(
    st.lists(FIELDS, max_size=6),
    st.lists(st.tuples(st.integers(512, 4096), st.binary(min_size=1, max_size=32)), max_size=4),
)
def test_any_damage_gives_a_place_or_a_refusal(
    fields: list[tuple[int, bytes]], elsewhere: list[tuple[int, bytes]]
) -> None:
    image = bytearray(fat_image({"AUTOBOOT.TXT": AUTOBOOT}))
    for at, content in fields + elsewhere:
        image[at : at + len(content)] = content
    medium = device(MemoryStore(65536, bytes(image)))
    try:
        place = find_file(medium, "AUTOBOOT.TXT")
    except BootControlError:
        pass
    else:
        assert place.offset % 512 == 0
        assert 512 <= place.offset <= 65536 - 512
    with contextlib.suppress(FatError):
        read_root_file(medium.durable, "AUTOBOOT.TXT")


@given(st.binary(min_size=512, max_size=2048))
def test_any_bytes_give_a_place_or_a_refusal(content: bytes) -> None:
    signed = content[:510] + b"\x55\xaa" + content[512:]
    with pytest.raises(BootControlError):
        find_file(device(MemoryStore(len(signed), signed)), "AUTOBOOT.TXT")
