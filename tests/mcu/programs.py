"""Flashing programs and the port that they open, each with a deadline and a process group of its own."""

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from simulator.mcu.esp_rom import EspRom
from simulator.mcu.optiboot import Optiboot
from simulator.mcu.pty import PtyPort
from simulator.mcu.rfc2217 import Rfc2217Port
from simulator.mcu.stm32_rom import F103, Stm32Model, Stm32Rom
from simulator.mcu.tcp import TcpPort
from simulator.mcu.wire import TimedWire

DEADLINE_S: Final = 60.0
DEAD_LINE_S: Final = 6.0


def pty_stm32(model: Stm32Model = F103) -> Stm32Rom:
    """An STM32 as a pty can carry it: without parity, strapped to its ROM."""
    return Stm32Rom(model=model, parity=None, start_s=0.0, program_is_real=False)


def pty_avr() -> Optiboot:
    """An AVR whose reset is the opening of the port."""
    return Optiboot(program_is_real=False)


@contextmanager
def on_pty(chip: Stm32Rom | Optiboot | EspRom) -> Iterator[str]:
    """The name of a pty with this chip on it."""
    port = PtyPort(TimedWire(chip, paced=False))
    name = port.open()
    with _served(port):
        yield name


@contextmanager
def on_tcp(chip: Stm32Rom | Optiboot) -> Iterator[str]:
    """The address of a TCP port with this chip on it."""
    port = TcpPort(TimedWire(chip, paced=False))
    number = port.open()
    with _served(port):
        yield f"socket://127.0.0.1:{number}"


@contextmanager
def on_rfc2217(chip: Stm32Rom | Optiboot | EspRom) -> Iterator[str]:
    """The address of a port that carries parity and control lines to this chip."""
    port = Rfc2217Port(TimedWire(chip, paced=False))
    number = port.open()
    with _served(port):
        yield f"rfc2217://127.0.0.1:{number}"


@contextmanager
def _served(port: PtyPort | TcpPort) -> Iterator[None]:
    stop = threading.Event()
    server = threading.Thread(target=port.serve, args=(stop.is_set,))
    server.start()
    try:
        yield
    finally:
        stop.set()
        server.join()
        port.close()


def run_program(*command: str, deadline_s: float = DEADLINE_S) -> tuple[int | None, str]:
    """Exit status and output; None when its time was up and its whole group was killed."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=deadline_s)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        return None, output
    return process.returncode, output
