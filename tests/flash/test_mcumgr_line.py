"""SMP's lines: what stands in them is found among whatever else a chip prints, and nothing hangs."""

import base64
import struct

from hypothesis import given
from hypothesis import strategies as st

from agent.flash.smp import LINE_BYTES_MAX, PacketReader, encode_packet
from simulator.mcu.smp_wire import crc16

CONSOLE = [b"uart:~$ \r\n", b"[00:01] <inf> ok\r\n", b"\n", b"\xff\xfe\n", b"\x06\n", b"\x1b[8D\n"]
messages = st.binary(min_size=8, max_size=1000)


def _read(lines: list[bytes]) -> list[bytes]:
    reader = PacketReader()
    found = [reader.line(line)[1] for line in lines]
    return [message for message in found if message is not None]


@given(messages)
def test_each_line_is_short_and_framed_as_specified(message: bytes) -> None:
    lines = encode_packet(message).splitlines(keepends=True)
    assert all(len(line) <= LINE_BYTES_MAX and line.endswith(b"\n") for line in lines)
    assert [line[:2] for line in lines] == [b"\x06\x09"] + [b"\x04\x14"] * (len(lines) - 1)
    packet = b"".join(base64.b64decode(line[2:]) for line in lines)
    assert packet == struct.pack(">H", len(message) + 2) + message + struct.pack(
        ">H", crc16(message)
    )


@given(messages, st.lists(st.sampled_from(CONSOLE), max_size=20))
def test_console_text_between_lines_is_passed_over(message: bytes, console: list[bytes]) -> None:
    lines = encode_packet(message).splitlines(keepends=True)
    mixed = [part for line in lines for part in (*console, line)]
    mixed[len(console)] = b"uart:~$ " + mixed[len(console)]  # a prompt has no newline
    assert _read(mixed) == [message]


@given(messages, st.integers(0, 10_000), st.integers(1, 255))
def test_no_damaged_byte_gets_through(message: bytes, place: int, change: int) -> None:
    packet = bytearray(encode_packet(message))
    packet[place % len(packet)] ^= change
    assert _read(bytes(packet).splitlines(keepends=True)) in ([], [message])


@given(st.lists(st.binary(max_size=140), max_size=30))
def test_any_lines_at_all_are_survived(lines: list[bytes]) -> None:
    _read([line + b"\n" for line in lines])


def test_a_packet_that_never_ends_is_left() -> None:
    first = b"\x06\x09" + base64.b64encode(struct.pack(">H", 60_000)) + b"\n"
    reader = PacketReader()
    assert reader.line(first) == (False, None)
    assert reader.line(b"\x04\x14QUJD\n") == (False, None)
