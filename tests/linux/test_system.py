import os
import socket
import time
from pathlib import Path

import pytest

from agent.basics import PathSettings
from agent.config import RebootSettings
from agent.errors import BootControlError
from agent.linux.child import last_line
from agent.linux.system import LinuxSystem, reboot_command


def system(process: Path, *reboot: str, notify_socket: str = "") -> LinuxSystem:
    paths = PathSettings(state="", runtime="", process=str(process), root_of_trust="")
    return LinuxSystem(paths, RebootSettings(reboot or ("true",)), {"NOTIFY_SOCKET": notify_socket})


@pytest.fixture
def process(tmp_path: Path) -> Path:
    """A /proc as on a Raspberry Pi."""
    root = tmp_path / "proc"
    bootloader = root / "device-tree/chosen/bootloader"
    bootloader.mkdir(parents=True)
    (root / "sys/kernel/random").mkdir(parents=True)
    (root / "sys/kernel/random/boot_id").write_text("0b1e-boot\n")
    (root / "cmdline").write_text("console=tty1 root=/dev/mmcblk0p3  quiet\n")
    (root / "device-tree/compatible").write_bytes(b"raspberrypi,4-model-b\0brcm,bcm2711\0")
    (bootloader / "partition").write_bytes(b"\0\0\0\x02")
    (bootloader / "tryboot").write_bytes(b"\0\0\0\x01")
    return root


def test_facts_are_those_of_the_kernel_and_the_firmware(process: Path) -> None:
    facts = system(process).facts()
    assert facts.boot_id == "0b1e-boot"
    assert facts.compatible == ("raspberrypi,4-model-b", "brcm,bcm2711")
    assert facts.command_line == ("console=tty1", "root=/dev/mmcblk0p3", "quiet")
    assert facts.boot_partition == 2
    assert facts.tryboot is True


def test_board_without_a_device_tree_has_no_such_facts() -> None:
    facts = system(Path("/proc")).facts()
    assert facts.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    if not Path("/proc/device-tree").exists():
        assert facts.compatible == ()
        assert facts.boot_partition is None
        assert facts.tryboot is None


def test_firmware_word_of_another_size_stops_everything(process: Path) -> None:
    (process / "device-tree/chosen/bootloader/partition").write_bytes(b"\x02")
    with pytest.raises(BootControlError, match="4 bytes were expected, 1 found"):
        system(process).facts()


def test_process_root_without_facts_is_named(tmp_path: Path) -> None:
    with pytest.raises(BootControlError, match=r"check paths\.process"):
        system(tmp_path).facts()


def test_check_passes_with_its_last_line() -> None:
    result = system(Path("/proc")).run_check(("sh", "-c", "echo one; echo all well; echo"), 10)
    assert result.passed
    assert result.detail == "all well"


def test_check_fails_with_its_last_line() -> None:
    result = system(Path("/proc")).run_check(("sh", "-c", "echo out; echo why >&2; exit 3"), 10)
    assert not result.passed
    assert result.detail == "exit status 3: why"


@pytest.mark.parametrize("command", [("/nowhere/check",), ("/etc/passwd",), ("/",)])
def test_check_that_cannot_be_started_has_failed(command: tuple[str, ...]) -> None:
    result = system(Path("/proc")).run_check(command, 10)
    assert not result.passed
    assert "cannot be started" in result.detail


def test_check_that_is_late_is_stopped_with_all_its_children(tmp_path: Path) -> None:
    script = f"sleep 60 & echo $! > {tmp_path}/pid; echo waiting; trap '' TERM; sleep 60"
    began_s = time.monotonic()
    result = system(Path("/proc")).run_check(("sh", "-c", script), 0.5)
    assert time.monotonic() - began_s < 5
    assert not result.passed
    assert result.detail == "not finished after 0.5 s, stopped: waiting"
    assert_gone(int((tmp_path / "pid").read_text()))


def test_check_that_leaves_something_behind_is_not_waited_for(tmp_path: Path) -> None:
    script = f"sleep 60 & echo $! > {tmp_path}/pid; echo done"
    began_s = time.monotonic()
    result = system(Path("/proc")).run_check(("sh", "-c", script), 10)
    assert time.monotonic() - began_s < 5
    assert result.passed
    assert_gone(int((tmp_path / "pid").read_text()))


def test_check_that_never_stops_printing_is_bounded() -> None:
    result = system(Path("/proc")).run_check(("yes",), 0.5)
    assert not result.passed
    assert result.detail.startswith("not finished after 0.5 s")
    assert len(result.detail) < 300


def test_last_line_is_short_and_printable() -> None:
    assert last_line(b"") == "no output"
    assert last_line(b"a\n\x1b[31mred\xff\n \n") == "?[31mred\ufffd"
    assert len(last_line(b"x" * 5000)) == 200


def test_reboot_words_with_the_argument_are_filled_in_or_left_out() -> None:
    words = ("systemctl", "reboot", "--reboot-argument={argument}")
    assert reboot_command(words, "0 tryboot") == (*words[:2], "--reboot-argument=0 tryboot")
    assert reboot_command(words, "") == words[:2]


def test_reboot_runs_the_configured_program(tmp_path: Path) -> None:
    system(Path("/proc"), "touch", str(tmp_path / "{argument}")).reboot("tryboot")
    assert (tmp_path / "tryboot").exists()


def test_reboot_that_is_refused_is_an_error() -> None:
    with pytest.raises(BootControlError, match=r"exit status 1: not now; check .reboot."):
        system(Path("/proc"), "sh", "-c", "echo not now; exit 1").reboot("")
    with pytest.raises(BootControlError, match="cannot be started"):
        system(Path("/proc"), "/nowhere/reboot").reboot("")


@pytest.mark.parametrize("abstract", [False, True])
def test_progress_reaches_the_service_manager(tmp_path: Path, *, abstract: bool) -> None:
    name = f"@lockgate-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name.replace("@", "\0") if abstract else name)
        manager.settimeout(5)
        system(Path("/proc"), notify_socket=name).progress("installing\nwindow 3")
        assert manager.recv(1000) == b"READY=1\nWATCHDOG=1\nSTATUS=installing window 3"


def test_progress_without_a_manager_is_no_error(tmp_path: Path) -> None:
    system(Path("/proc")).progress("idle")
    system(Path("/proc"), notify_socket=str(tmp_path / "nobody")).progress("idle")


def assert_gone(pid: int) -> None:
    """Killed; in a container without an init it may stay as a zombie."""
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except FileNotFoundError:
            return
        if state == "Z":
            return
        time.sleep(0.02)
    raise AssertionError(f"process {pid} still runs")
