"""Whatever a broker sends is a packet or a `MalformedError`, in bounded memory and time."""

from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.linux.mqtt_packets import (
    CONNACK,
    MQTT_3_1_1,
    MQTT_5,
    PACKET_BYTES_MAX,
    PUBACK,
    PUBLISH,
    QOS_1,
    SUBACK,
    MalformedError,
    Packet,
    Publication,
    Welcome,
    encode_publish,
    parse_farewell,
    parse_granted,
    parse_publication,
    parse_receipt,
    parse_welcome,
    take_packet,
)

LEVELS = st.sampled_from([MQTT_5, MQTT_3_1_1])
PARSERS = (parse_farewell, parse_granted, parse_publication, parse_receipt, parse_welcome)


@given(level=LEVELS, kind=st.integers(0, 255), body=st.binary(max_size=300))
@example(level=MQTT_5, kind=PUBLISH, body=b"\x00\x01a\xff\xff\xff\xff")
@example(level=MQTT_5, kind=CONNACK, body=b"\x00\x00\x7f")
def test_no_body_is_more_than_malformed(level: int, kind: int, body: bytes) -> None:
    packet = Packet(kind & 0xF0, kind & 0x0F, body)
    for parse in PARSERS:
        with suppress(MalformedError):
            assert parse(level, packet) is not None


@given(st.lists(st.binary(max_size=200), max_size=20))
def test_a_stream_in_any_pieces_is_packets_or_malformed(pieces: list[bytes]) -> None:
    buffer, given_bytes, taken_bytes = bytearray(), 0, 0
    for piece in pieces:
        buffer += piece
        given_bytes += len(piece)
        try:
            while (packet := take_packet(buffer)) is not None:
                taken_bytes += len(packet.body)
        except MalformedError:
            return
        assert taken_bytes <= given_bytes
        assert len(buffer) <= PACKET_BYTES_MAX + 5


@given(
    level=LEVELS,
    topic=st.text(min_size=1, max_size=40).filter(lambda text: not set(text) & set("+#\0")),
    content=st.binary(max_size=20_000),
    retain=st.booleans(),
    identifier=st.integers(1, 65_535),
)
def test_what_is_encoded_is_parsed_as_it_was(
    level: int, topic: str, content: bytes, *, retain: bool, identifier: int
) -> None:
    try:
        topic.encode()
    except UnicodeEncodeError:
        return
    message = Publication(topic, content, retain, identifier)
    buffer = bytearray(encode_publish(level, message))
    split = len(buffer) // 2
    head, tail = buffer[:split], buffer[split:]
    assert take_packet(head) is None
    whole = head + tail
    packet = take_packet(whole)
    assert packet is not None
    assert parse_publication(level, packet) == message
    assert not whole


def test_a_length_beyond_the_limit_is_refused_before_anything_of_it_came() -> None:
    for length in (b"\x81\x80\x04", b"\xff\xff\xff\x7f"):
        with pytest.raises(MalformedError, match=f"at most {PACKET_BYTES_MAX} are taken"):
            take_packet(bytearray(b"\x30" + length))
    assert take_packet(bytearray(b"\x30\x80\x80\x04")) is None
    with pytest.raises(MalformedError, match="more than four bytes"):
        take_packet(bytearray(b"\x30\x80\x80\x80\x80\x01"))


def test_the_limits_of_the_broker_are_heeded() -> None:
    body = b"\x00\x00\x0b\x13\x00\x1e\x21\x00\x05\x27\x00\x00\x04\x00"
    assert parse_welcome(MQTT_5, Packet(CONNACK, 0, body)) == Welcome(0, 30, 5, 1024)
    with pytest.raises(MalformedError, match="QoS 1 was expected"):
        parse_welcome(MQTT_5, Packet(CONNACK, 0, b"\x00\x00\x02\x24\x00"))
    with pytest.raises(MalformedError, match="twice"):
        parse_welcome(MQTT_5, Packet(CONNACK, 0, b"\x00\x00\x06\x13\x00\x1e\x13\x00\x1e"))


@pytest.mark.parametrize(
    ("packet", "sentence"),
    [
        (Packet(PUBLISH, 0x04, b"\x00\x01a\x00\x01\x00"), "QoS 0 or 1"),
        (Packet(PUBLISH, QOS_1, b"\x00\x01a\x00\x00\x00"), "above 0"),
        (Packet(PUBLISH, 0, b"\x00\x02a+\x00"), "without wildcards"),
        (Packet(PUBLISH, 0, b"\x00\x00\x00"), "without wildcards"),
        (Packet(PUBLISH, 0, b"\x00\x01a\x03\x23\x00\x01"), "alias"),
        (Packet(PUBLISH, 0, b"\x00\x01a\x02\x13"), "after their packet"),
    ],
)
def test_a_publication_that_nobody_asked_for_is_refused(packet: Packet, sentence: str) -> None:
    with pytest.raises(MalformedError, match=sentence):
        parse_publication(MQTT_5, packet)


def test_acknowledgements_of_both_versions_are_understood() -> None:
    assert parse_receipt(MQTT_3_1_1, Packet(PUBACK, 0, b"\x00\x07")) == (7, 0)
    assert parse_receipt(MQTT_5, Packet(PUBACK, 0, b"\x00\x07\x87\x00")) == (7, 0x87)
    assert parse_granted(MQTT_3_1_1, Packet(SUBACK, 0, b"\x00\x07\x01\x80")) == (7, b"\x01\x80")
    assert parse_granted(MQTT_5, Packet(SUBACK, 0, b"\x00\x07\x00\x01")) == (7, b"\x01")
    assert parse_welcome(MQTT_3_1_1, Packet(CONNACK, 0, b"\x00\x01")) == Welcome(0x84)
