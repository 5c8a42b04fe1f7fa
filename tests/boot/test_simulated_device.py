"""The simulated block device forgets what real ones forget, and no more."""

from itertools import pairwise
from pathlib import Path

import pytest

from agent.errors import InstallError
from simulator.block_device import (
    CACHE_BYTES_MAX,
    MemoryStore,
    PendingWrite,
    SimulatedBlockDevice,
    SimulatedStorage,
    SparseFileStore,
)
from simulator.power import Moment, Power, PowerCut

SIZE = 16 * 512


def small(seed: int = 0) -> tuple[SimulatedBlockDevice, Power]:
    power = Power(seed=seed)
    return SimulatedBlockDevice(MemoryStore(SIZE), power), power


def test_reads_see_what_was_written_last() -> None:
    device, _ = small()
    device.write(100, b"a" * 1000)
    device.write(600, b"b" * 10)
    assert device.read(598, 14) == b"aa" + b"b" * 10 + b"aa"
    assert device.durable(598, 14) == bytes(14)
    device.flush()
    assert device.durable(598, 14) == b"aa" + b"b" * 10 + b"aa"
    assert device.pending_writes() == ()


def test_a_flush_behind_completes_the_one_before_and_no_more() -> None:
    device, _ = small()
    device.write(0, b"first")
    device.flush_behind()
    assert device.durable(0, 5) == bytes(5), "as late as it may be"
    device.write(512, b"second")
    device.flush_behind()
    assert device.durable(0, 5) == b"first"
    assert [one.content for one in device.pending_writes()] == [b"second"]
    device.flush_behind()
    assert device.pending_writes() == ()


def test_a_cut_loses_any_subset_of_the_writes_since_the_flush() -> None:
    seen = set()
    for seed in range(200):
        device, power = small(seed)
        device.write(0, b"f" * 512)
        device.flush()
        device.write(512, b"1" * 512)
        device.write(1024, b"2" * 1024)
        power.restore()
        assert device.read(0, 512) == b"f" * 512
        seen.add(tuple(device.read(at, 1) != b"\0" for at in (512, 1024, 1536)))
    assert len(seen) == 8


def test_the_same_seed_loses_the_same_writes() -> None:
    contents = set()
    for _ in range(2):
        device, power = small(seed=7)
        for sector in range(16):
            device.write(sector * 512, bytes((sector + 1,)) * 512)
        power.restore()
        contents.add(device.snapshot())
    assert len(contents) == 1


def test_later_writes_win_when_they_survive() -> None:
    for seed in range(50):
        device, power = small(seed)
        device.write(0, b"1" * 512)
        device.write(0, b"2" * 512)
        power.restore()
        content = device.read(0, 512)
        assert content in (bytes(512), b"1" * 512, b"2" * 512)


def test_writes_are_torn_only_between_sectors() -> None:
    pieces = PendingWrite(500, b"x" * 1100).sectors()
    assert [(piece.offset, len(piece.content)) for piece in pieces] == [
        (500, 12),
        (512, 512),
        (1024, 512),
        (1536, 64),
    ]
    assert all(one.offset + len(one.content) == two.offset for one, two in pairwise(pieces))


@pytest.mark.parametrize(
    ("moment", "pending"), [(Moment.BEFORE, 0), (Moment.TORN, 2), (Moment.AFTER, 1)]
)
def test_a_cut_inside_a_write_takes_none_a_part_or_all_of_it(moment: Moment, pending: int) -> None:
    device, power = small()
    power.cut_at_name("BlockDevice.write", 1, moment)
    with pytest.raises(PowerCut):
        device.write(0, b"x" * 2048)
    assert len(device.pending_writes()) == pending


@pytest.mark.parametrize("moment", [Moment.BEFORE, Moment.TORN])
def test_a_flush_that_was_interrupted_does_not_count(moment: Moment) -> None:
    device, power = small()
    device.write(0, b"x")
    power.cut_at_name("BlockDevice.flush", 1, moment)
    with pytest.raises(PowerCut):
        device.flush()
    assert device.durable(0, 1) == b"\0"


def test_an_explorer_decides_what_survives() -> None:
    device, power = small()
    before = device.snapshot()
    device.write(0, b"1")
    device.write(512, b"2")
    _, second = device.pending_writes()
    power.switch_off()
    device.settle([second])
    power.restore()
    assert (device.read(0, 1), device.read(512, 1)) == (b"\0", b"2")
    device.restore(before)
    assert device.snapshot() == before


def test_a_lying_flush_keeps_nothing() -> None:
    device, _ = small()
    device.faults.lying_flush = True
    device.write(0, b"x")
    device.flush()
    assert device.durable(0, 1) == b"\0"


def test_a_bad_sector_and_a_failing_write_are_errors() -> None:
    device, _ = small()
    device.faults.bad_sectors.add(2)
    assert device.read(0, 1024) == bytes(1024)
    with pytest.raises(InstallError, match="sector 2 cannot be read"):
        device.read(1000, 100)
    device.faults.write_error_in = 2
    device.write(0, b"1")
    with pytest.raises(InstallError, match="input/output error"):
        device.write(0, b"2")
    device.write(1, b"3")
    assert device.read(0, 2) == b"13"


@pytest.mark.parametrize(("offset", "length"), [(-1, 1), (SIZE, 1), (SIZE - 1, 2), (0, 0)])
def test_bytes_outside_the_device_are_an_error(offset: int, length: int) -> None:
    device, _ = small()
    with pytest.raises(InstallError, match="were expected"):
        device.read(offset, length)
    with pytest.raises(InstallError, match="were expected"):
        device.write(offset, b"x" * length)


def test_a_large_device_takes_little_room(tmp_path: Path) -> None:
    size_bytes = 256 * 1024 * 1024
    store = SparseFileStore(tmp_path / "disk", size_bytes).create()
    device = SimulatedBlockDevice(store, Power())
    block = b"x" * (1024 * 1024)
    for number in range(20):
        device.write(number * len(block), block)
    waiting = sum(len(write.content) for write in device.pending_writes())
    assert waiting <= CACHE_BYTES_MAX
    assert device.read(19 * len(block), len(block)) == block
    device.flush()
    assert device.durable(0, len(block)) == block
    assert store.path.stat().st_blocks * 512 < 2 * 20 * len(block)


def test_storage_gives_the_same_device_each_time() -> None:
    device, _ = small()
    storage = SimulatedStorage({"/dev/one": device})
    assert storage.device("/dev/one") is device
    with pytest.raises(InstallError, match="/dev/two: no such device"):
        storage.device("/dev/two")
