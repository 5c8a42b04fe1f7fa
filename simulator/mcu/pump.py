"""Carries a simulated chip's bytes over a file descriptor in real time."""

import os
import select
import time
from collections.abc import Callable
from typing import Final

from agent.interfaces import LineSettings
from simulator.mcu.wire import TimedWire

READ_BYTES: Final = 4096
IDLE_S: Final = 0.05
WRITE_S: Final = 5.0

Stop = Callable[[], bool]


def always() -> bool:
    """The usual answer to whether an opening resets the chip."""
    return True


def pump(
    wire: TimedWire, descriptor: int, settings: Callable[[], LineSettings | None], stop: Stop
) -> None:
    """Go on until the host hangs up or somebody says stop; sleeps exactly as long as the wire says."""
    while not stop():
        answer = wire.run_until(time.monotonic())
        if answer and not _send(descriptor, answer):
            return
        next_s = wire.next_s()
        wait_s = IDLE_S if next_s is None else min(IDLE_S, max(0.0, next_s - time.monotonic()))
        readable, _, _ = select.select([descriptor], [], [], wait_s)
        if readable:
            try:
                content = os.read(descriptor, READ_BYTES)
            except OSError:  # EIO from a pty, ECONNRESET from a socket: nobody is there
                return
            if not content:
                return
            wire.from_host(time.monotonic(), content, settings())


def _send(descriptor: int, content: bytes) -> bool:
    """Whether the host took it all; one that stops reading has hung up for us."""
    while content:
        _, writable, _ = select.select([], [descriptor], [], WRITE_S)
        if not writable:
            return False
        try:
            content = content[os.write(descriptor, content) :]
        except OSError:
            return False
    return True
