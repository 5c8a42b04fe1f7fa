"""SMP over a serial line: frames, requests that are sent again, and nothing that waits for ever.

Sources: Zephyr's "SMP Protocol Specification" and "SMP Transport Specification", console transport.

    a line     06 09 (first) or 04 14 (next), base64, newline: at most 127 bytes
    a packet   length of what follows u16, message, CRC-16/XMODEM of the message u16; big-endian
    a message  operation u8, flags u8, body length u16, group u16, sequence u8, command u8; then CBOR

Between lines of a packet the chip may print whatever it likes. Requests go out in version 0 of the
protocol, which every server and every MCUboot understands.
"""

import base64
import binascii
import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from agent.errors import FlashError, FlashLineError
from agent.flash.cbor import Value, decode, encode
from agent.interfaces import SerialLine

FIRST: Final = b"\x06\x09"
NEXT: Final = b"\x04\x14"
LINE_BYTES_MAX: Final = 127
LINE_CONTENT_BYTES: Final = (LINE_BYTES_MAX - len(FIRST) - 1) // 4 * 3
READ_BYTES_MAX: Final = 512
"""Console lines longer than this are looked at in parts."""
PACKET_BYTES_MAX: Final = 8192
HEADER: Final = struct.Struct(">BBHHBB")
FRAME_OVERHEAD_BYTES: Final = 4
"""Length and CRC, which a server's buffer holds together with the message."""
NOISE_LINES_MAX: Final = 64
SEQUENCES: Final = 256


class Operation(IntEnum):
    """What a request does; the answer's operation is one higher."""

    READ = 0
    WRITE = 2


@dataclass(frozen=True, slots=True)
class Command:
    """One command of one group, with the operation that it wants."""

    operation: Operation
    group: int
    number: int


ECHO: Final = Command(Operation.WRITE, 0, 0)
RESET: Final = Command(Operation.WRITE, 0, 5)
PARAMETERS: Final = Command(Operation.READ, 0, 6)
IMAGE_LIST: Final = Command(Operation.READ, 1, 0)
IMAGE_STATE: Final = Command(Operation.WRITE, 1, 0)
IMAGE_UPLOAD: Final = Command(Operation.WRITE, 1, 1)
IMAGE_ERASE: Final = Command(Operation.WRITE, 1, 5)

MEANINGS: Final[Mapping[int, str]] = {
    1: "unknown error",
    2: "no memory",
    3: "invalid value",
    4: "timeout",
    5: "no such entry",
    6: "bad state",
    7: "too large",
    8: "not supported",
    9: "corrupt",
    10: "busy",
    11: "access denied",
}


class SmpRefusal(FlashError):  # noqa: N818  # a server's answer, which a caller may expect
    """The server understood a request and will not do it; `reason` is its code, never 0."""

    def __init__(self, sentence: str, reason: int) -> None:
        super().__init__(sentence)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class SmpSettings:
    """How long to wait for an answer, and how often one request is sent at most."""

    answer_s: float = 2.0
    attempts_max: int = 5


@dataclass(slots=True)
class Traffic:
    """What went over the line, for progress and for time against the wire's own minimum.

    `fallbacks` counts how often sending ahead of the answers was given up.
    """

    round_trips: int = 0
    resends: int = 0
    fallbacks: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0


def encode_packet(message: bytes) -> bytes:
    """The lines that carry one message."""
    packet = (
        (len(message) + 2).to_bytes(2, "big")
        + message
        + binascii.crc_hqx(message, 0).to_bytes(2, "big")
    )
    lines = []
    for start in range(0, len(packet), LINE_CONTENT_BYTES):
        mark = NEXT if start else FIRST
        part = base64.b64encode(packet[start : start + LINE_CONTENT_BYTES])
        lines.append(mark + part + b"\n")
    return b"".join(lines)


class PacketReader:
    """Puts packets together from lines; whatever is no part of one is passed over."""

    def __init__(self) -> None:
        self._packet = b""

    def line(self, line: bytes) -> tuple[bool, bytes | None]:
        """Whether this line went on with a packet, and the message that it completed.

        Only so many lines can go on with a packet, while first lines may come without end.
        """
        first, following = line.rfind(FIRST), line.rfind(NEXT)
        start = max(first, following)
        if start < 0 or (following > first and not self._packet):
            return False, None
        part = _unbase64(line[start + len(FIRST) :].rstrip(b"\r\n"))
        if not part:
            self._packet = b""
            return False, None
        self._packet = part if first >= following else self._packet + part
        return following > first, self._complete()

    def _complete(self) -> bytes | None:
        length_bytes = int.from_bytes(self._packet[:2], "big")
        if len(self._packet) < 2 or not HEADER.size + 2 <= length_bytes <= PACKET_BYTES_MAX:
            self._packet = b""
            return None
        if len(self._packet) < 2 + length_bytes:
            return None
        packet, self._packet = self._packet, b""
        message, check = packet[2:length_bytes], packet[length_bytes:]
        whole = check == binascii.crc_hqx(message, 0).to_bytes(2, "big")
        return message if whole else None


def _unbase64(text: bytes) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return None


class SmpClient:
    """One conversation with one server. Raises `FlashLineError`, `SmpRefusal`.

    `request` waits for its answer: a request that stays without one is sent again as it was, with the
    same sequence number, so that a late answer to the first is as good as one to the second. With `send`
    and `receive` several are on their way; what is not answered there is the caller's to settle.
    """

    def __init__(self, line: SerialLine, settings: SmpSettings) -> None:
        self._line = line
        self._settings = settings
        self._sequence = 0
        self.traffic = Traffic()

    def request(
        self,
        command: Command,
        body: Mapping[str, object],
        *,
        answer_s: float | None = None,
        attempts_max: int | None = None,
    ) -> dict[str, Value]:
        """The body of the server's answer, which reported no error."""
        packet = self._next_packet(command, body)
        attempts = attempts_max or self._settings.attempts_max
        self.traffic.round_trips += 1
        for attempt in range(attempts):
            self.traffic.resends += attempt > 0
            self._line.discard_input()
            self._put(packet)
            wait_s = answer_s or self._settings.answer_s
            answer = self.receive(command, (self._sequence,), wait_s)
            if answer is not None:
                return answer
        raise FlashLineError(
            f"an answer of the SMP server to group {command.group} command {command.number} was "
            f"expected, {attempts} requests stayed without one; check port, baud and wiring, and "
            "that the buffer size in the settings is not above the server's"
        )

    def send(self, command: Command, body: Mapping[str, object]) -> int:
        """Put a request on its way behind those before it; the number that its answer will have."""
        packet = self._next_packet(command, body)
        self.traffic.round_trips += 1
        self._put(packet)
        return self._sequence

    def receive(
        self, command: Command, sequences: Collection[int], answer_s: float
    ) -> dict[str, Value] | None:
        """The first answer to one of these requests; None when the time is up.

        Answers to any others are passed over: they are late, or somebody else's. Each line that is not
        the answer's takes its share of the time away, so that a chip that talks without end is left
        after a bounded time although no clock is asked.
        """
        reader = PacketReader()
        left_s = answer_s
        while left_s > 0:
            line = self._line.read_until(b"\n", READ_BYTES_MAX, left_s)
            self.traffic.received_bytes += len(line)
            if not line.endswith(b"\n") and len(line) < READ_BYTES_MAX:
                return None
            used, message = reader.line(line)
            if message is not None:
                answer = _matching(command, sequences, message)
                if answer is not None:
                    _check_reason(command, answer)
                    return answer
            if not used:
                left_s -= answer_s / NOISE_LINES_MAX
        return None

    def _next_packet(self, command: Command, body: Mapping[str, object]) -> bytes:
        self._sequence = (self._sequence + 1) % SEQUENCES
        content = encode(body)
        head = (command.operation, 0, len(content), command.group, self._sequence, command.number)
        return encode_packet(HEADER.pack(*head) + content)

    def _put(self, packet: bytes) -> None:
        self.traffic.sent_bytes += len(packet)
        self._line.write(packet)


def _matching(
    command: Command, sequences: Collection[int], message: bytes
) -> dict[str, Value] | None:
    operation, _, length_bytes, group, sequence, number = HEADER.unpack_from(message)
    if (operation & 0x07, group, number) != (command.operation + 1, command.group, command.number):
        return None
    content = message[HEADER.size :]
    if sequence not in sequences or length_bytes != len(content):
        return None
    try:
        body = decode(content)
    except FlashLineError:  # damage that the CRC did not show: as good as no answer
        return None
    return body if isinstance(body, dict) else None


def _check_reason(command: Command, answer: Mapping[str, Value]) -> None:
    reason = answer.get("rc", 0)
    error = answer.get("err")
    if isinstance(error, dict):
        reason = error.get("rc", 1)
    if reason == 0:
        return
    number = reason if isinstance(reason, int) else 1
    raise SmpRefusal(
        f"group {command.group} command {command.number} was to be done, the SMP server refuses "
        f"it: {number}, {MEANINGS.get(number, 'without a meaning here')}",
        number,
    )
