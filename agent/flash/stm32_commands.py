"""The STM32 ROM's USART commands, each whole: sent, acknowledged, and tried again when bytes got lost.

Every command is its byte and the complement, every block ends in its XOR, every step is answered by ACK or
NACK, and nothing in the ROM ever times out. After a loss the ROM may wait for anything, so `resync` feeds
it 0xFF until it objects: whatever it waited for, that is a wrong address, a wrong XOR, or a write of
ones, which changes no flash. Source: ST AN3155 rev 14, sections 2 and 3.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import reduce
from operator import xor
from typing import Final, TypeVar

from agent.errors import FlashError, FlashLineError, FlashRefusedError
from agent.interfaces import SerialLine

ACK: Final = 0x79
NACK: Final = 0x1F
BUSY: Final = 0x76
SYNC: Final = b"\x7f"
GET, GET_VERSION, GET_ID, READ, GO, WRITE = 0x00, 0x01, 0x02, 0x11, 0x21, 0x31
ERASE, EXTENDED_ERASE, CHECKSUM = 0x43, 0x44, 0xA1
HARMLESS: Final = frozenset((GET, GET_VERSION, GET_ID, READ, CHECKSUM))
"""Commands that change nothing, wherever they come from."""
BLOCK_BYTES: Final = 256
QUICK_S: Final = 0.005
"""An answer that takes this long and the time of its bytes has waited in an adapter."""
QUICK_BITS: Final = 60
"""Bits of a command, its acknowledgement, and a little more."""
PROBE_S: Final = 0.1
PROBES: Final = 2
LOST_TOGETHER: Final = 3
"""So many bytes in a row a ROM may lose before what it takes for a command is not foreseen."""
ANSWER_S: Final = 1.0
"""Longest wait for an answer that needs no flash: adapters and networks, not the ROM."""
WRITE_S: Final = 2.0
ERASE_S: Final = 35.0
QUIET_S: Final = 0.1
CHARACTER_BITS: Final = 11
SYNC_S: Final = 0.25
SYNC_TRIES: Final = 8
TRIES: Final = 4
TROUBLES_MAX: Final = 128
"""After so many losses in one run the line is not fit for flashing."""
FILLER_BYTES: Final = 64
FILLERS: Final = 6
BUSY_ANSWERS_MAX: Final = 1000
LISTED_MAX: Final = 64
POLYNOMIAL: Final = 0x04C11DB7
CHECKSUM_SEED: Final = 0xFFFFFFFF

Answer = TypeVar("Answer")


class Join(StrEnum):
    """What may travel in one write of the host, where answers are slow and the ROM was seen to keep up.

    `addresses`: a command, its address, and the length of a read. `blocks`: also the bytes to be written.
    """

    NEVER = "never"
    ADDRESSES = "addresses"
    BLOCKS = "blocks"


class RefusedCommandError(FlashError):
    """The ROM answered NACK."""


def number(value: int) -> bytes:
    """Four bytes, most significant first, and their XOR."""
    content = value.to_bytes(4, "big")
    return content + bytes([reduce(xor, content)])


def command(code: int) -> bytes:
    """A command byte and its complement."""
    return bytes([code, code ^ 0xFF])


@dataclass(slots=True)
class Stm32Commands:
    """One ROM on an open line. Raises `FlashLineError`, and `RefusedCommandError` for a NACK.

    The receiver of the ROM holds one byte, so no document says that it hears what follows its answer at
    once. `probe` asks by reads that can do no harm; until then, and after the first loss, each step waits
    for its answer. Data go out joined only where no command that changes anything can be made of them by
    losing a few bytes: a ROM that lost its place takes a pair of complements for one, and 0x82 0x7D locks.
    """

    line: SerialLine
    join: Join = Join.NEVER
    listed: frozenset[int] = frozenset()
    troubles: int = 0
    _joining: Join = Join.NEVER
    _commanding: re.Pattern[bytes] | None = None

    def synchronise(self) -> None:
        """Let the ROM measure the baud rate; a ROM that knows it already objects, which is as good."""
        for attempt in range(SYNC_TRIES):
            self.line.write(SYNC)
            if self.line.read(1, SYNC_S) in (bytes([ACK]), bytes([NACK])):
                if attempt:
                    self.drain()  # a slow start answers several times at once
                return
        raise FlashLineError(
            f"the STM32 ROM was expected to answer within {SYNC_TRIES} tries, it did not: check BOOT0, "
            "reset, port, and that the port has even parity (a Pi's mini UART has none)"
        )

    def get(self) -> tuple[int, frozenset[int]]:
        """The bootloader's version, and the commands that it lists."""
        version, *listed = self._tried("Get", lambda: self._listing(GET))
        self.listed = frozenset(listed)
        return version, self.listed

    def get_id(self) -> bytes:
        """The chip's id, two bytes on all chips so far."""
        return self._tried("Get ID", lambda: self._listing(GET_ID))

    def probe(self, address: int, bit_s: float) -> None:
        """See whether steps may travel together, where waiting for each answer costs much.

        A read of a whole block from an address with a zero at its end: whatever of it is lost, nothing in
        it is a command that changes anything.
        """
        assert address % BLOCK_BYTES == 0, "the address holds no command"
        if self.join is Join.NEVER:
            return
        if not self._tried("Get ID", lambda: self._is_slow(QUICK_S + QUICK_BITS * bit_s)):
            return
        steps = command(READ) + number(address) + bytes([BLOCK_BYTES - 1, 0])
        answer_bytes = 3 + BLOCK_BYTES
        timeout_s = PROBE_S + (len(steps) + answer_bytes) * CHARACTER_BITS * bit_s
        for _ in range(PROBES):
            self.line.write(steps)
            answer = self.line.read(answer_bytes, timeout_s)
            if len(answer) < answer_bytes or answer[:3] != bytes([ACK]) * 3:
                self.resync()
                return
        self._joining = self.join

    def read(self, address: int, length_bytes: int) -> bytes:
        """At most 256 bytes of memory."""
        assert 0 < length_bytes <= BLOCK_BYTES, "the command has one byte for the length"

        def ask() -> bytes:
            count = length_bytes - 1
            self._steps(command(READ), number(address), bytes([count, count ^ 0xFF]))
            return self._exactly(length_bytes)

        return self._tried(f"Read {address:#x}", ask)

    def write(self, address: int, content: bytes) -> None:
        """At most 256 bytes, a multiple of four, into erased flash."""
        assert 0 < len(content) <= BLOCK_BYTES, "the command has one byte for the length"
        assert len(content) % 4 == 0, "the ROM writes words"
        block = bytes([len(content) - 1]) + content
        block += bytes([reduce(xor, block)])
        steps = command(WRITE), number(address)

        def ask() -> None:
            if self._joining is Join.BLOCKS and self._together(*steps, block):
                return
            self._steps(*steps)
            try:
                self._send(block, WRITE_S)
            except RefusedCommandError as error:
                raise FlashLineError(
                    "an acknowledgement of the bytes was expected, NACK found: the line garbled them, or "
                    "the page was not erased"
                ) from error

        self._tried(f"Write {address:#x}", ask)

    def erase(self, pages: tuple[int, ...], *, extended: bool) -> None:
        """Pages or sectors by their numbers, in this order."""
        width = 2 if extended else 1
        block = b"".join(value.to_bytes(width, "big") for value in (len(pages) - 1, *pages))

        def ask() -> None:
            self._send(command(EXTENDED_ERASE if extended else ERASE))
            self._send(block + bytes([reduce(xor, block)]), ERASE_S)

        self._tried(f"Erase pages {pages[0]} to {pages[-1]}", ask)

    def checksum(self, address: int, length_bytes: int) -> int | None:
        """The CRC of a range of words by the chip's own unit; None when the ROM gives no sound answer."""
        try:
            self._send(command(CHECKSUM))
            for value in (address, length_bytes, POLYNOMIAL, CHECKSUM_SEED):
                self._send(number(value), ERASE_S)
            answer = self._exactly(5)
        except FlashLineError:
            self.resync()
            return None
        except RefusedCommandError:
            return None
        return int.from_bytes(answer[:4], "big") if reduce(xor, answer) == 0 else None

    def go(self, address: int) -> None:
        """Start the image whose vectors are here."""
        self._send(command(GO))
        self._send(number(address))

    def resync(self) -> None:
        """Bring the ROM back to waiting for a command. Raises `FlashLineError`."""
        self.troubles += 1
        if self.troubles > TROUBLES_MAX:
            raise FlashLineError(
                f"a line that loses bytes at most {TROUBLES_MAX} times in one run was expected; look at "
                "the wiring, its length, and the baud rate"
            )
        self.drain()
        for _ in range(FILLERS):
            self.line.write(b"\xff")
            if self.line.read(1, QUIET_S) == bytes([NACK]):
                return
            self.line.write(b"\xff" * FILLER_BYTES)
            self.drain()
            self.line.write(b"\xff")
            if self.line.read(1, QUIET_S) == bytes([NACK]):
                return
        raise FlashLineError(
            "the STM32 ROM was expected to object to what is no command, it is silent or babbles: it has "
            "been reset or has lost power; enter the bootloader again"
        )

    def drain(self) -> None:
        """Forget what arrives, until there is quiet or it never ends."""
        self.line.discard_input()
        for _ in range(FILLERS):
            if not self.line.read(4096, QUIET_S):
                return

    def _tried(self, what: str, ask: Callable[[], Answer]) -> Answer:
        for _ in range(TRIES - 1):
            try:
                return ask()
            except FlashLineError:
                self._joining = Join.NEVER
                self.resync()
            except RefusedCommandError:  # a garbled byte makes a wrong XOR, and that a NACK
                self._joining = Join.NEVER
                self.resync()
        try:
            return ask()
        except RefusedCommandError as error:
            raise FlashRefusedError(
                f"{what}: the STM32 ROM was expected to do this, it refuses: the chip is protected "
                "against reading or writing, and only an erase of everything by hand lifts that"
            ) from error

    def _listing(self, code: int) -> bytes:
        self._send(command(code))
        return self._list()

    def _is_slow(self, quick_s: float) -> bool:
        """Whether the answer to a question takes much longer than its bytes."""
        self.line.write(command(GET_ID))
        quick = self.line.read(1, quick_s)
        if not quick:
            self._acknowledged(ANSWER_S)
        elif quick != bytes([ACK]):
            raise FlashLineError(f"an acknowledgement was expected, {quick.hex()} found")
        self._list()
        return not quick

    def _may_command(self, content: bytes) -> bool:
        """Whether a ROM that lost its place in this might find a command that changes something."""
        if self._commanding is None:
            between = b".{0,%d}" % LOST_TOGETHER
            pairs = [
                re.escape(bytes([code])) + between + re.escape(bytes([code ^ 0xFF]))
                for code in sorted(self.listed - HARMLESS)
            ]
            self._commanding = re.compile(b"|".join(pairs), re.DOTALL)
        return self._commanding.search(content) is not None

    def _list(self) -> bytes:
        length = self._exactly(1)[0] + 1
        if length > LISTED_MAX:
            raise FlashLineError(
                f"a list of at most {LISTED_MAX} bytes was expected, {length} found"
            )
        listed = self._exactly(length)
        self._acknowledged(ANSWER_S)
        return listed

    def _steps(self, *steps: bytes) -> None:
        if not self._together(*steps):
            for step in steps:
                self._send(step)

    def _together(self, *steps: bytes) -> bool:
        """Send all steps in one write and take their answers, if nothing speaks against it."""
        if self._joining is Join.NEVER or self._may_command(b"".join(steps[1:])):
            return False
        self.line.write(b"".join(steps))
        for _ in steps:
            self._acknowledged(WRITE_S)
        return True

    def _send(self, content: bytes, timeout_s: float = ANSWER_S) -> None:
        self.line.write(content)
        self._acknowledged(timeout_s)

    def _acknowledged(self, timeout_s: float) -> None:
        for _ in range(BUSY_ANSWERS_MAX):
            answer = self.line.read(1, timeout_s)
            if answer == bytes([ACK]):
                return
            if answer == bytes([NACK]):
                raise RefusedCommandError("an acknowledgement was expected, NACK found")
            if answer != bytes([BUSY]):
                found = answer.hex() or "nothing"
                raise FlashLineError(
                    f"an acknowledgement was expected within {timeout_s} s, {found} found"
                )
        raise FlashLineError("an end of work was expected, the ROM is busy for ever")

    def _exactly(self, length_bytes: int) -> bytes:
        answer = self.line.read(length_bytes, ANSWER_S)
        if len(answer) != length_bytes:
            raise FlashLineError(f"{length_bytes} bytes were expected, {len(answer)} found")
        return answer
