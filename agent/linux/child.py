"""Runs one program with a deadline, and keeps only the end of what it prints."""

import os
import select
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

OUTPUT_BYTES_MAX: Final = 4096
LINE_LENGTH_MAX: Final = 200
DRAIN_READS_MAX: Final = 64  # more than a pipe holds


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program ended: its exit status, None when its time was up; and its last printed line."""

    exit_status: int | None
    last_line: str


def run_bounded(command: tuple[str, ...], timeout_s: float) -> Outcome:
    """Run a program in a process group of its own, which is killed when the program ends or is late.

    Raises `OSError` when it cannot be started. A program that leaves its output open to a process in
    the background does not delay the answer: its own end is waited for, not that of its output.
    """
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    assert child.stdout is not None, "a pipe was asked for"
    with child.stdout:
        try:
            finished, output = _watch(child.pid, child.stdout.fileno(), timeout_s)
        finally:
            # Before it is waited for, so that the number of the group cannot be anyone else's.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    return Outcome(child.returncode if finished else None, last_line(output))


def last_line(output: bytes) -> str:
    """The last line with something in it, printable and short enough for a report."""
    lines = output.decode(errors="replace").split("\n")
    line = next((line.strip() for line in reversed(lines) if line.strip()), "no output")
    return "".join(letter if letter.isprintable() else "?" for letter in line)[:LINE_LENGTH_MAX]


def _watch(pid: int, pipe: int, timeout_s: float) -> tuple[bool, bytes]:
    """Read until the process has ended (True) or the time is up (False)."""
    deadline = time.monotonic() + timeout_s
    os.set_blocking(pipe, False)
    ended = os.pidfd_open(pid)
    try:
        poller = select.poll()
        poller.register(ended, select.POLLIN)
        poller.register(pipe, select.POLLIN)
        output = b""
        finished = False
        while not finished and (left_s := deadline - time.monotonic()) > 0:
            ready = {descriptor for descriptor, _ in poller.poll(left_s * 1000)}
            finished = ended in ready
            if pipe in ready:
                output, at_end = _drain(pipe, output)
                if at_end:
                    poller.unregister(pipe)
        return finished, _drain(pipe, output)[0]
    finally:
        os.close(ended)


def _drain(pipe: int, output: bytes) -> tuple[bytes, bool]:
    """What is kept after reading what is there now, and whether the pipe is at its end."""
    for _ in range(DRAIN_READS_MAX):
        try:
            piece = os.read(pipe, OUTPUT_BYTES_MAX)
        except BlockingIOError:
            return output, False
        if not piece:
            return output, True
        output = (output + piece)[-OUTPUT_BYTES_MAX:]
    return output, False
