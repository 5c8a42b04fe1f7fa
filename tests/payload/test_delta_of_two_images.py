"""A delta between two real file systems: small, right, and of use to a device that has drifted."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from agent.install import Job, Meter, install
from agent.release import DELTA
from benchmarks.mirror import Mirror
from simulator.block_device import MemoryStore, SimulatedBlockDevice
from simulator.power import Moment, Power, PowerCut
from tests.payload.bench import installation, make_slot, run
from tests.payload.pair import Made, made

ROOT = Path(__file__).parents[2]
RSS_MIB_MAX = 40


def delta_bytes(pair: Made) -> int:
    return next(one.length_bytes for one in pair.image.image.payloads if one.kind == DELTA)


def peers(pair: Made, folder: Path) -> int:
    old, new, patch = folder / "old", folder / "new", folder / "patch"
    old.write_bytes(pair.old)
    new.write_bytes(pair.new)
    command = ["zstd", "-q", "-19", "--long=31", f"--patch-from={old}", str(new), "-o", str(patch)]
    subprocess.run(command, check=True, timeout=100, stderr=subprocess.DEVNULL)
    return patch.stat().st_size


def test_a_delta_is_a_twentieth_of_the_full_payload_and_less_than_zstd_makes(
    pair: Made, tmp_path: Path
) -> None:
    assert delta_bytes(pair) < 0.05 * pair.image.payload.length_bytes
    assert delta_bytes(pair) < 0.8 * peers(pair, tmp_path)


def test_a_device_with_the_base_fetches_the_delta_and_nothing_else(
    pair: Made, tmp_path: Path
) -> None:
    active = make_slot(tmp_path / "active", pair.old, len(pair.old))
    standby = make_slot(tmp_path / "standby", b"", len(pair.new))
    mirror = Mirror(pair.blobs)

    meter = run(pair.image.image, standby, active, mirror)

    assert (tmp_path / "standby").read_bytes() == pair.new
    assert (tmp_path / "active").read_bytes() == pair.old
    assert meter.fetched_bytes <= delta_bytes(pair) + 1
    assert pair.image.payload.path not in mirror.opened
    assert len(mirror.opened) <= 3  # the index, the end, all records
    assert mirror.asked_bytes <= delta_bytes(pair) + 1  # a server sends ahead what was asked for


@pytest.mark.parametrize("places", [1, 6])
def test_a_base_that_was_mounted_costs_the_windows_that_drifted(
    pair: Made, tmp_path: Path, places: int
) -> None:
    drifted = bytearray(pair.old)
    for place in range(places):
        at = 1024 + place * 512 * 1024
        drifted[at : at + 8] = b"mounted!"
    active = make_slot(tmp_path / "active", bytes(drifted), len(drifted))
    standby = make_slot(tmp_path / "standby", b"", len(pair.new))

    meter = run(pair.image.image, standby, active, Mirror(pair.blobs))

    assert (tmp_path / "standby").read_bytes() == pair.new
    assert (tmp_path / "active").read_bytes() == bytes(drifted)
    windows = places * 2  # a place may help more than its own window
    assert meter.fetched_bytes < delta_bytes(pair) + windows * 256 * 1024


def test_another_base_is_noticed_before_most_of_the_delta_was_fetched_in_vain(
    pair: Made, tmp_path: Path
) -> None:
    other = random.Random(9).randbytes(len(pair.old))
    active = make_slot(tmp_path / "active", other, len(other))
    standby = make_slot(tmp_path / "standby", b"", len(pair.new))

    meter = run(pair.image.image, standby, active, Mirror(pair.blobs))

    assert (tmp_path / "standby").read_bytes() == pair.new
    assert meter.fetched_bytes < pair.image.payload.length_bytes + delta_bytes(pair)


def test_an_image_that_did_not_change_is_copied(pair: Made, tmp_path: Path) -> None:
    path = tmp_path / "same"
    path.write_bytes(pair.old)
    same = made(path, path, tmp_path / "blobs")
    active = make_slot(tmp_path / "active", pair.old, len(pair.old))
    standby = make_slot(tmp_path / "standby", b"", len(pair.old))

    meter = run(same.image.image, standby, active, Mirror(same.blobs))

    assert (tmp_path / "standby").read_bytes() == pair.old
    assert meter.fetched_bytes < 4096


def job(pair: Made, power: Power) -> Job:
    standby = SimulatedBlockDevice(MemoryStore(len(pair.new), pair.new[:4096]), power)
    return Job(installation(pair.image.image), standby, MemoryStore(len(pair.old), pair.old))


@pytest.mark.parametrize("moment", list(Moment))
@pytest.mark.parametrize("share", [0.1, 0.4, 0.7, 0.95])
def test_after_a_power_cut_at_most_the_last_mebibyte_is_fetched_again(
    pair: Made, moment: Moment, share: float
) -> None:
    power = Power(seed=3)
    mirror = Mirror(pair.blobs)
    install((job(pair, power),), mirror, Meter(), lambda: None)
    operations = power.number
    jobs = (job(pair, power),)
    power.cut_at(operations + int(share * operations), moment)
    first, second = Meter(), Meter()
    with pytest.raises(PowerCut):
        install(jobs, mirror, first, lambda: None)
    power.restore()

    install(jobs, mirror, second, lambda: None)

    assert jobs[0].device.read(0, len(pair.new)) == pair.new
    index_bytes = sum(one.index_bytes for one in pair.image.image.payloads if one.kind == DELTA)
    again = first.fetched_bytes + second.fetched_bytes - delta_bytes(pair)
    assert again <= 2 * index_bytes + 1024 * 1024
    assert pair.image.payload.path not in mirror.opened


def test_a_device_needs_little_memory_for_it(pair: Made, tmp_path: Path) -> None:
    make_slot(tmp_path / "active", pair.old, len(pair.old))
    make_slot(tmp_path / "standby", b"", len(pair.new))
    (tmp_path / "manifest").write_bytes(pair.manifest())
    command = [
        sys.executable,
        "-m",
        "tests.payload.install_process",
        str(tmp_path),
        str(pair.blobs),
    ]
    done = subprocess.run(command, cwd=ROOT, check=True, timeout=60, capture_output=True)
    assert (tmp_path / "standby").read_bytes() == pair.new
    assert int(done.stdout) < RSS_MIB_MAX * 1024
