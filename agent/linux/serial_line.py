"""`SerialLine` on Linux, by pyserial: a device under `/dev`, `socket://HOST:PORT` or `rfc2217://HOST:PORT`.

Adapters that collect input for 16 ms before they pass it on are asked not to, where the kernel can ask
them. A device is waited for and read here, with exact deadlines and all that has arrived in one call; the
library reads network ports, with a fixed timeout, because changing that renegotiates the port each time.
"""

import errno
import os
import select
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import serial

from agent.errors import FlashLineError, FlashRefusedError
from agent.interfaces import CheckResult, LineSettings, Parity
from agent.linux.child import run_bounded

PARITIES: Final = {
    Parity.NONE: serial.PARITY_NONE,
    Parity.EVEN: serial.PARITY_EVEN,
    Parity.ODD: serial.PARITY_ODD,
}
SLICE_S: Final = 0.02
"""The library's timeout: how much later than its deadline a read from a network port may end."""
READ_BYTES: Final = 4096
WRITE_S: Final = 10.0
WITHOUT_WRITE_TIMEOUT: Final = "rfc2217://"
"""There the library has none, and refuses to be asked for one."""
DISCARDS_MAX: Final = 64
TTY_CLASS: Final = "/sys/class/tty"
WITHOUT_PARITY: Final = frozenset(("bcm2835-aux-uart",))
"""Drivers of ports whose hardware has no parity bit, whatever it is set to: the Pi's mini UART."""


class LinuxSerialLine:
    """One port by its name; use a name below `/dev/serial/by-id/` for a port that may come back."""

    def __init__(self, port: str, tty_class: str = TTY_CLASS) -> None:
        self._name = port
        self._tty_class = tty_class
        self._port: serial.Serial | None = None
        self._input = bytearray()

    def open(self, settings: LineSettings) -> None:
        """Open, or change the settings; opening asserts DTR and RTS, as the kernel does."""
        self._check_parity(settings)
        with self._translated():
            if self._port is None:
                self._port = self._opened(settings)
            else:
                self._port.baudrate = settings.baud
                self._port.parity = PARITIES[settings.parity]

    @property
    def is_open(self) -> bool:
        """Whether the port is open here."""
        return self._port is not None

    def close(self) -> None:
        """Let go; a port that is gone already is closed too."""
        port, self._port = self._port, None
        self._input.clear()
        if port is not None:
            with suppress(OSError):
                port.close()

    def write(self, content: bytes) -> None:
        """Hand all of it to the kernel."""
        with self._working() as port:
            port.write(content)

    def read(self, length_bytes: int, timeout_s: float) -> bytes:
        """So many bytes, or what there is when the time is up."""
        deadline_s = time.monotonic() + timeout_s
        with self._working() as port:
            while (missing := length_bytes - len(self._input)) > 0:
                self._receive(port, missing, deadline_s)
                if time.monotonic() >= deadline_s:
                    break
        return self._take(length_bytes)

    def read_until(self, end: bytes, length_max: int, timeout_s: float) -> bytes:
        """All up to and with `end`, or what there is when the time or the length is up."""
        deadline_s = time.monotonic() + timeout_s
        with self._working() as port:
            while end not in self._input and len(self._input) < length_max:
                self._receive(port, max(1, min(port.in_waiting, length_max)), deadline_s)
                if time.monotonic() >= deadline_s:
                    break
        place = self._input.find(end)
        return self._take(length_max if place < 0 else min(place + len(end), length_max))

    def discard_input(self) -> None:
        """Forget what has arrived; a network port's buffer is emptied by reading it."""
        self._input.clear()
        with self._working() as port:
            port.reset_input_buffer()
            for _ in range(DISCARDS_MAX):
                waiting = port.in_waiting
                if not waiting or not port.read(waiting):
                    return

    def set_lines(self, *, dtr: bool | None = None, rts: bool | None = None) -> None:
        """Move the control lines behind what was written; a pty or a plain socket has none."""
        with self._working() as port:
            port.flush()
            try:
                if dtr is not None:
                    port.dtr = dtr
                if rts is not None:
                    port.rts = rts
            except OSError as error:
                if error.errno not in (errno.ENOTTY, errno.EINVAL):
                    raise

    def wait(self, duration_s: float) -> None:
        """Sleep; the kernel keeps what arrives."""
        time.sleep(max(0.0, duration_s))

    def lend(self, command: tuple[str, ...], content: bytes, timeout_s: float) -> CheckResult:
        """Let a program use the port, which is closed meanwhile; it is killed when its time is up."""
        self.close()
        with tempfile.TemporaryDirectory(prefix="lockgate-") as folder:
            image = Path(folder, "image.bin")
            image.write_bytes(content)
            names = {"{port}": self._name, "{image}": str(image)}
            program = Path(sys.executable).with_name(command[0])
            arguments = [names.get(word, word) for word in command[1:]]
            try:
                outcome = run_bounded(
                    (str(program) if program.exists() else command[0], *arguments), timeout_s
                )
            except OSError as error:
                raise FlashRefusedError(
                    f"the program {command[0]} was expected: {error}; install lockgate[{command[0]}]"
                ) from error
        late = outcome.exit_status is None
        told = f"not done within {timeout_s:.0f} s" if late else outcome.last_line
        return CheckResult(outcome.exit_status == 0, told)

    def _receive(self, port: serial.Serial, length_bytes: int, deadline_s: float) -> None:
        """Take what there is, or wait for something until the deadline."""
        if "://" in self._name:
            self._input += port.read(length_bytes)
            return
        left_s = max(0.0, deadline_s - time.monotonic())
        readable, _, _ = select.select([port.fileno()], [], [], left_s)
        if not readable:
            return
        content = os.read(port.fileno(), READ_BYTES)
        if not content:
            raise OSError(errno.EIO, "the device is readable and has nothing to read")
        self._input += content

    def _take(self, length: int) -> bytes:
        taken = bytes(self._input[:length])
        del self._input[:length]
        return taken

    def _opened(self, settings: LineSettings) -> serial.Serial:
        port = serial.serial_for_url(self._name, do_not_open=True, timeout=SLICE_S)
        if not self._name.startswith(WITHOUT_WRITE_TIMEOUT):
            port.write_timeout = WRITE_S
        port.baudrate = settings.baud
        port.parity = PARITIES[settings.parity]
        with warnings.catch_warnings():  # the library's RFC 2217 names its thread in an old way
            warnings.simplefilter("ignore", DeprecationWarning)
            port.open()
        hurry = getattr(port, "set_low_latency_mode", None)
        if hurry is not None:
            with suppress(OSError, ValueError, NotImplementedError):
                hurry(True)
        return port

    def _check_parity(self, settings: LineSettings) -> None:
        if settings.parity is Parity.NONE or "://" in self._name:
            return
        driver = Path(self._tty_class, Path(self._name).resolve().name, "device", "driver")
        if driver.resolve().name in WITHOUT_PARITY:
            raise FlashLineError(
                f"{self._name}: a port with a parity bit was expected, the Raspberry Pi's mini UART has "
                "none: use the PL011 (disable-bt, miniuart-bt, uart2 to uart5) or a USB adapter"
            )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:  # pyserial's own errors are OSErrors
            raise FlashLineError(
                f"{self._name}: a working serial port was expected: {error}; check its plug and its name"
            ) from error

    @contextmanager
    def _working(self) -> Iterator[serial.Serial]:
        if self._port is None:
            raise FlashLineError(f"{self._name}: an open port was expected, it is closed")
        with self._translated():
            yield self._port
