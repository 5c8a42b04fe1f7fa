"""Debian's QEMU with a microcontroller in it: its serial line on a socket, a monitor, and a debugger.

Firmware goes in through the debugger, once. What QEMU loads by itself it loads again at every reset, and
with it every page that the chip had written meanwhile.
"""

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from agent.errors import FlashLineError
from agent.flash import ChipImage
from agent.interfaces import LineSettings

EMULATOR: Final = "qemu-system-arm"
START_S: Final = 20.0
WRITE_S: Final = 10.0
LOOK_S: Final = 0.02
DEBUG_BYTES: Final = 512


class SocketLine:
    """`SerialLine` over a socket; emulated receivers lose what comes in one burst, so it is paced."""

    def __init__(self, path: Path, *, piece_bytes: int, piece_s: float) -> None:
        self._path = path
        self._piece_bytes = piece_bytes
        self._piece_s = piece_s
        self._socket: socket.socket | None = None
        self._input = b""
        self.console = b""

    def open(self, settings: LineSettings) -> None:
        del settings  # an emulated line has no speed
        if self._socket is None:
            self._socket = connect(self._path)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def write(self, content: bytes) -> None:
        line = self._opened()
        line.settimeout(WRITE_S)
        for start in range(0, len(content), self._piece_bytes):
            line.sendall(content[start : start + self._piece_bytes])
            time.sleep(self._piece_s)

    def read(self, length_bytes: int, timeout_s: float) -> bytes:
        deadline_s = time.monotonic() + timeout_s
        while len(self._input) < length_bytes and self._receive(deadline_s):
            pass
        return self._take(length_bytes)

    def read_until(self, end: bytes, length_max: int, timeout_s: float) -> bytes:
        deadline_s = time.monotonic() + timeout_s
        while (
            end not in self._input and len(self._input) < length_max and self._receive(deadline_s)
        ):
            pass
        found = self._input.find(end)
        return self._take(length_max if found < 0 else min(length_max, found + len(end)))

    def discard_input(self) -> None:
        while self._receive(time.monotonic()):
            pass
        self._input = b""

    def set_lines(self, *, dtr: bool | None = None, rts: bool | None = None) -> None:
        del dtr, rts  # a socket has none

    def wait(self, duration_s: float) -> None:
        deadline_s = time.monotonic() + duration_s
        while self._receive(deadline_s):
            pass

    def _opened(self) -> socket.socket:
        if self._socket is None:
            raise FlashLineError("an open line was expected, it is closed")
        return self._socket

    def _receive(self, deadline_s: float) -> bool:
        """Take what comes before the deadline; False when nothing does."""
        line = self._opened()
        line.settimeout(max(deadline_s - time.monotonic(), 0.0001))
        try:
            content = line.recv(65_536)
        except TimeoutError:
            return False
        if not content:
            raise FlashLineError("the emulator has ended")
        self._input += content
        self.console += content
        return True

    def _take(self, length_bytes: int) -> bytes:
        taken, self._input = self._input[:length_bytes], self._input[length_bytes:]
        return taken


class Monitor:
    """QEMU's machine protocol, for what no wire of the machine can do."""

    def __init__(self, path: Path) -> None:
        self._socket = connect(path)
        self._stream = self._socket.makefile("rwb")

    def open(self) -> None:
        self._stream.readline()  # its greeting
        self._execute("qmp_capabilities")

    def reset(self) -> None:
        """Reset the machine, wherever it is."""
        self._execute("system_reset")

    def run(self) -> None:
        """Let the processor go."""
        self._execute("cont")

    def close(self) -> None:
        self._stream.close()
        self._socket.close()

    def _execute(self, command: str) -> None:
        self._stream.write(json.dumps({"execute": command}).encode() + b"\n")
        self._stream.flush()
        for _ in range(100):  # events may come before the answer
            answer = json.loads(self._stream.readline())
            if "return" in answer:
                return
            assert "error" not in answer, answer
        raise AssertionError(f"{command}: QEMU does not answer")


def put(path: Path, image: ChipImage) -> None:
    """Write an image into a machine that stands still, as a debugger would.

    It does not say goodbye: that would let the processor go before its reset has read the vectors.
    """
    with connect(path) as debugger:
        for region in image.regions:
            for start in range(0, len(region.content), DEBUG_BYTES):
                part = region.content[start : start + DEBUG_BYTES]
                command = f"M{region.start + start:x},{len(part):x}:{part.hex()}".encode()
                debugger.sendall(b"$%b#%02x" % (command, sum(command) % 256))
                answer = b""
                while not answer.endswith(b"$OK#9a"):
                    answer += debugger.recv(64)
                    assert len(answer) < 64, answer
                debugger.sendall(b"+")


def connect(path: Path) -> socket.socket:
    """The stream at a path, which QEMU is about to make."""
    for _ in range(round(START_S / LOOK_S)):
        stream = socket.socket(socket.AF_UNIX)
        try:
            stream.connect(str(path))
        except OSError:
            stream.close()
            time.sleep(LOOK_S)
        else:
            return stream
    raise AssertionError(f"{path}: {EMULATOR} was expected to listen there; is it installed?")


class Machine:
    """One running machine."""

    def __init__(self, line: SocketLine, monitor: Monitor) -> None:
        self.line = line
        self.monitor = monitor


@contextmanager
def run_machine(
    folder: Path, machine: tuple[str, ...], image: ChipImage, *, piece_bytes: int, piece_s: float
) -> Iterator[Machine]:
    """Start a machine with this in its memory; it is gone when the context ends."""
    serial, monitor, debugger = folder / "serial", folder / "monitor", folder / "debugger"
    command = [EMULATOR, *machine, "-S", "-display", "none", "-monitor", "none"]
    command += ["-chardev", f"socket,id=con,path={serial},server=on,wait=off"]
    command += ["-serial", "chardev:con", "-serial", "null"]
    command += ["-chardev", f"socket,id=gdb,path={debugger},server=on,wait=off"]
    command += ["-gdb", "chardev:gdb", "-qmp", f"unix:{monitor},server=on,wait=off"]
    with (folder / "qemu.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    line = SocketLine(serial, piece_bytes=piece_bytes, piece_s=piece_s)
    try:
        with ExitStack() as stack:
            line.open(LineSettings(115_200))
            stack.callback(line.close)
            control = Monitor(monitor)
            stack.callback(control.close)
            control.open()
            put(debugger, image)
            control.reset()
            control.run()
            yield Machine(line, control)
    finally:
        process.kill()
        process.wait(10)
