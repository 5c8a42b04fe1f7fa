"""`System` on Linux: /proc, health checks as child processes, reboot, and the service manager."""

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from agent.basics import PathSettings
from agent.config import RebootSettings
from agent.errors import BootControlError
from agent.interfaces import CheckResult, Conditions, SystemFacts
from agent.linux.child import run_bounded
from agent.linux.conditions import read_link, read_memory, read_temperature

REBOOT_TIMEOUT_S: Final = 60.0
FACT_BYTES_MAX: Final = 64 * 1024
STATUS_LENGTH_MAX: Final = 200
ARGUMENT: Final = "{argument}"
THERMAL: Final = Path("/sys/class/thermal")
LINK_FILE: Final = "metered"
LOWEST: Final = 19
IDLE: Final = "3"
BEST_EFFORT: Final = "2"
IONICE_TIMEOUT_S: Final = 10.0


class LinuxSystem:
    """The running Linux system, seen through `paths.process`, which is `/proc`."""

    def __init__(
        self,
        paths: PathSettings,
        reboot: RebootSettings,
        environment: Mapping[str, str] = os.environ,
        thermal: Path = THERMAL,
    ) -> None:
        self._process = Path(paths.process)
        self._link_file = Path(paths.runtime) / LINK_FILE
        self._thermal = thermal
        self._niceness = LOWEST
        self._reboot = reboot
        self._environment = environment

    def facts(self) -> SystemFacts:
        """What the kernel and the firmware say; `device-tree/` is absent on boards without one.

        `chosen/bootloader/` is described in the Raspberry Pi documentation, section "tryboot".
        """
        boot_id = _read(self._process / "sys/kernel/random/boot_id")
        command_line = _read(self._process / "cmdline")
        if boot_id is None or command_line is None:
            raise BootControlError(
                f"{self._process}/sys/kernel/random/boot_id and {self._process}/cmdline were "
                f"expected; check paths.process in agent.toml"
            )
        compatible = _read(self._process / "device-tree/compatible") or b""
        tryboot = self._firmware_word("tryboot")
        return SystemFacts(
            boot_id=_text(boot_id).strip(),
            compatible=tuple(_text(word) for word in compatible.split(b"\0") if word),
            command_line=tuple(_text(command_line).split()),
            boot_partition=self._firmware_word("partition"),
            tryboot=None if tryboot is None else tryboot != 0,
        )

    def run_check(self, command: tuple[str, ...], timeout_s: float) -> CheckResult:
        """Run a program without a shell, in a process group that ends with it."""
        try:
            outcome = run_bounded(command, timeout_s)
        except OSError as error:
            return CheckResult(
                passed=False, detail=f"{command[0]} cannot be started: {error.strerror}"
            )
        if outcome.exit_status is None:
            return CheckResult(
                passed=False,
                detail=f"not finished after {timeout_s:g} s, stopped: {outcome.last_line}",
            )
        if outcome.exit_status != 0:
            return CheckResult(
                passed=False, detail=f"exit status {outcome.exit_status}: {outcome.last_line}"
            )
        return CheckResult(passed=True, detail=outcome.last_line)

    def reboot(self, argument: str) -> None:
        """Run the configured program; it returns once the reboot has been accepted."""
        command = reboot_command(self._reboot.command, argument)
        try:
            outcome = run_bounded(command, REBOOT_TIMEOUT_S)
        except OSError as error:
            raise BootControlError(
                f"{command[0]} cannot be started: {error.strerror}; check [reboot] in agent.toml"
            ) from error
        if outcome.exit_status != 0:
            ending = (
                "did not finish"
                if outcome.exit_status is None
                else f"exit status {outcome.exit_status}"
            )
            raise BootControlError(
                f"{' '.join(command)} was expected to reboot, {ending}: {outcome.last_line}; "
                f"check [reboot] in agent.toml"
            )

    def progress(self, status: str) -> None:
        """Notify the service manager, when there is one (sd_notify(3))."""
        address = self._environment.get("NOTIFY_SOCKET", "")
        if not address:
            return
        if address.startswith("@"):
            address = "\0" + address[1:]
        line = " ".join(status.split())[:STATUS_LENGTH_MAX]
        with (
            suppress(OSError),  # a manager that does not listen must not stop an update
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as notifier,
        ):
            notifier.sendto(f"READY=1\nWATCHDOG=1\nSTATUS={line}".encode(), address)

    def conditions(self, *, ask_link: bool) -> Conditions:
        """From `meminfo`, the thermal zones, and NetworkManager or the flag file `metered`."""
        return Conditions(
            memory_available_bytes=read_memory(self._process / "meminfo"),
            temperature_celsius=read_temperature(self._thermal),
            metered=read_link(self._link_file) if ask_link else None,
        )

    def make_way(self, *, low: bool) -> None:
        """The nice value, and the idle class of input and output (ionice(1)), of this process."""
        io_class = IDLE if low else BEST_EFFORT
        with suppress(OSError):  # giving way needs no right, taking it back does
            if low:
                self._niceness = min(self._niceness, os.getpriority(os.PRIO_PROCESS, 0))
            os.setpriority(os.PRIO_PROCESS, 0, LOWEST if low else self._niceness)
        with suppress(OSError):
            run_bounded(("ionice", "-c", io_class, "-p", str(os.getpid())), IONICE_TIMEOUT_S)

    def _firmware_word(self, name: str) -> int | None:
        """A 32-bit big-endian cell of the device tree, None where there is none."""
        path = self._process / "device-tree/chosen/bootloader" / name
        cell = _read(path)
        if cell is None:
            return None
        if len(cell) != 4:
            raise BootControlError(
                f"{path}: 4 bytes were expected, {len(cell)} found; update the boot firmware"
            )
        return int.from_bytes(cell, "big")


def reboot_command(words: tuple[str, ...], argument: str) -> tuple[str, ...]:
    """The program and its words with the argument filled in; without one, its words are left out."""
    return tuple(
        word.replace(ARGUMENT, argument) for word in words if argument or ARGUMENT not in word
    )


def _read(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            return file.read(FACT_BYTES_MAX)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise BootControlError(
            f"cannot read {path}: {error.strerror}; check paths.process in agent.toml"
        ) from error


def _text(content: bytes) -> str:
    return content.rstrip(b"\0").decode(errors="replace")
