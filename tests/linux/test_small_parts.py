import stat
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agent.errors import BusyError, ConfigError, StateError
from agent.linux.clock import LinuxClock, kernel_is_synchronised
from agent.linux.identity import create_identity
from agent.linux.lock import StateLock
from agent.linux.random import LinuxRandom
from agent.linux.scratch import LinuxScratch
from agent.linux.wake import Waker


def test_clock_moves_on_and_sleeps_long_enough() -> None:
    clock = LinuxClock()
    began_s = clock.monotonic_s()
    clock.sleep(0.02)
    clock.sleep(-1)
    assert clock.monotonic_s() - began_s >= 0.02


def test_date_is_vouched_for_by_the_marker_or_by_the_kernel(tmp_path: Path) -> None:
    marker = tmp_path / "synchronized"
    clock = LinuxClock(str(marker))
    assert clock.wall().synchronised is kernel_is_synchronised()
    marker.touch()
    wall = clock.wall()
    assert wall.synchronised
    assert abs(wall.utc - datetime.now(UTC)) < timedelta(seconds=5)


def test_chance_stays_in_its_bounds_and_does_not_repeat() -> None:
    random = LinuxRandom()
    assert all(2 <= random.uniform(2, 3) <= 3 for _ in range(100))
    tokens = {random.token() for _ in range(100)}
    assert len(tokens) == 100
    assert all(len(token) == 32 and int(token, 16) >= 0 for token in tokens)


def test_scratch_folder_holds_the_files_and_is_gone_afterwards(tmp_path: Path) -> None:
    scratch = LinuxScratch(str(tmp_path / "run"))
    with scratch.folder({"root.json": b"1", "history/1.root.json": b"1"}) as path:
        folder = Path(path)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "timestamp.json").write_bytes(b"2")
        (folder / "latest").symlink_to("history/1.root.json")
        (folder / "outside").symlink_to("/etc/passwd")
        assert scratch.collect(path) == {
            "history/1.root.json": b"1",
            "latest": b"1",
            "root.json": b"1",
            "timestamp.json": b"2",
        }
    assert not folder.exists()


def test_scratch_of_a_process_that_was_killed_is_cleared_by_the_next(tmp_path: Path) -> None:
    scratch = LinuxScratch(str(tmp_path / "run"))
    ended = subprocess.Popen(("true",))
    ended.wait()
    with scratch.folder({"root.json": b"1"}) as own:
        remains = tmp_path / "run" / f"scratch-{ended.pid}-x"
        remains.mkdir()
        (remains / "root.json").write_bytes(b"1")
        with LinuxScratch(str(tmp_path / "run")).folder({}):
            assert not remains.exists()
            assert Path(own).exists()


def test_scratch_keeps_inside_its_folder(tmp_path: Path) -> None:
    scratch = LinuxScratch(str(tmp_path / "run"))
    with pytest.raises(StateError, match="inside"), scratch.folder({"../x": b""}):
        pass
    assert list((tmp_path / "run").iterdir()) == []


def test_scratch_without_a_place_is_a_clear_error() -> None:
    with pytest.raises(StateError, match=r"paths\.runtime"), LinuxScratch("/proc/x").folder({}):
        pass


def test_second_process_is_told_who_holds_the_state(tmp_path: Path) -> None:
    script = (
        "import sys, time; from agent.linux.lock import StateLock\n"
        f"with StateLock({str(tmp_path)!r}):\n    print('held', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen((sys.executable, "-c", script), stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(BusyError, match=f"in use by process {holder.pid};"):
            StateLock(str(tmp_path)).acquire()
        holder.kill()
    with StateLock(str(tmp_path)):
        pass


def test_lock_is_free_again_after_its_release(tmp_path: Path) -> None:
    for _ in range(2):
        with StateLock(str(tmp_path / "state")), pytest.raises(BusyError):
            StateLock(str(tmp_path / "state")).acquire()


def test_lock_is_ours_also_where_nothing_can_be_written(tmp_path: Path) -> None:
    script = (
        "import resource; from agent.linux.lock import StateLock\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
        f"with StateLock({str(tmp_path)!r}):\n    print('held')\n"
    )
    done = subprocess.run((sys.executable, "-c", script), capture_output=True, check=False)
    assert (done.stdout, done.stderr) == (b"held\n", b"")


def test_lock_without_a_place_is_a_clear_error() -> None:
    with pytest.raises(StateError, match="cannot lock /proc/x/lock"):
        StateLock("/proc/x").acquire()


def test_many_calls_wake_once(tmp_path: Path) -> None:
    path = str(tmp_path / "run" / "wake")
    assert not Waker.send(path)
    waker = Waker(path)
    assert not waker.drain()
    waker.fileno()
    assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600
    assert all(Waker.send(path) for _ in range(1000))
    assert waker.drain()
    assert not waker.drain()
    waker.close()
    waker.close()
    assert not Path(path).exists()


def test_waker_takes_over_what_a_killed_process_left(tmp_path: Path) -> None:
    path = str(tmp_path / "wake")
    left_behind = Waker(path)
    left_behind.fileno()
    waker = Waker(path)
    waker.fileno()
    assert Waker.send(path)
    assert waker.drain()
    waker.close()
    left_behind.close()


def test_waker_at_an_impossible_path_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=r"paths\.runtime must be a short path"):
        Waker(str(tmp_path / ("x" * 120))).fileno()


def test_identity_is_a_key_of_its_own_and_a_request_in_its_name(tmp_path: Path) -> None:
    path = tmp_path / "secret" / "device.key"
    request = x509.load_pem_x509_csr(create_identity(str(path), "device-1"))
    assert request.is_signature_valid
    (name,) = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert name.value == "device-1"
    key = request.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert isinstance(key.curve, ec.SECP256R1)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [file.name for file in path.parent.iterdir()] == ["device.key"]


def test_identity_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "device.key"
    create_identity(str(path), "device-1")
    before = path.read_bytes(), path.stat().st_mtime_ns
    time.sleep(0.01)
    create_identity(str(path), "device-1")
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


def test_identity_clears_what_a_cut_left(tmp_path: Path) -> None:
    (tmp_path / "device.key.new").write_bytes(b"-----BEGIN PRIV")
    create_identity(str(tmp_path / "device.key"), "device-1")
    assert [file.name for file in tmp_path.iterdir()] == ["device.key"]


def test_identity_refuses_what_is_no_key_and_what_is_no_name(tmp_path: Path) -> None:
    (tmp_path / "device.key").write_bytes(b"precious")
    with pytest.raises(ConfigError, match="a private key in PEM was expected"):
        create_identity(str(tmp_path / "device.key"), "device-1")
    assert (tmp_path / "device.key").read_bytes() == b"precious"
    with pytest.raises(ConfigError, match="at most 64 letters"):
        create_identity(str(tmp_path / "other.key"), "x" * 65)
    with pytest.raises(ConfigError, match="cannot keep the device's key"):
        create_identity("/proc/x/device.key", "device-1")
