"""The packets of MQTT 5 and 3.1.1 (OASIS, 2019 and 2014) that a device exchanges, as bytes. Pure.

Only what a subscriber and publisher at QoS 1 with a clean session needs. What a broker sends is bounded
and strict: anything else raises `MalformedError`, and the session ends.

The process that waits for notices has this loaded for ever, so there are no dataclasses here, which cost
it 1.5 MiB.
"""

from typing import Final, NamedTuple, NoReturn

MQTT_5: Final = 5
MQTT_3_1_1: Final = 4
PACKET_BYTES_MAX: Final = 64 * 1024
RECEIVE_MAX: Final = 20
TEXT_BYTES_MAX: Final = 65_535
VARINT_BYTES_MAX: Final = 4

CONNACK: Final = 0x20
PUBLISH: Final = 0x30
PUBACK: Final = 0x40
SUBACK: Final = 0x90
PINGRESP: Final = 0xD0
DISCONNECT: Final = 0xE0
PING: Final = b"\xc0\x00"
GOODBYE: Final = b"\xe0\x00"

QOS_1: Final = 0x02
RETAIN: Final = 0x01
CLEAN_START: Final = 0x02
HAS_WILL: Final = 0x04
WILL_QOS_1: Final = 0x08
WILL_RETAIN: Final = 0x20

FAILURE: Final = 0x80
"""Reason codes from here on are refusals (MQTT 5, section 2.4)."""
UNSUPPORTED_PROTOCOL: Final = 0x84
TAKEN_OVER: Final = 0x8E

REASONS: Final = {
    0x00: "success",
    0x01: "granted QoS 1",
    0x04: "disconnect with will",
    0x10: "no matching subscribers",
    0x80: "unspecified error",
    0x81: "malformed packet",
    0x82: "protocol error",
    0x83: "implementation specific error",
    0x84: "unsupported protocol version",
    0x85: "client identifier not valid",
    0x86: "bad user name or password",
    0x87: "not authorized",
    0x88: "server unavailable",
    0x89: "server busy",
    0x8A: "banned",
    0x8B: "server shutting down",
    0x8C: "bad authentication method",
    0x8D: "keep alive timeout",
    0x8E: "session taken over",
    0x8F: "topic filter invalid",
    0x90: "topic name invalid",
    0x91: "packet identifier in use",
    0x93: "receive maximum exceeded",
    0x94: "topic alias invalid",
    0x95: "packet too large",
    0x96: "message rate too high",
    0x97: "quota exceeded",
    0x98: "administrative action",
    0x99: "payload format invalid",
    0x9A: "retain not supported",
    0x9B: "QoS not supported",
    0x9C: "use another server",
    0x9D: "server moved",
    0x9E: "shared subscriptions not supported",
    0x9F: "connection rate exceeded",
    0xA0: "maximum connect time",
    0xA1: "subscription identifiers not supported",
    0xA2: "wildcard subscriptions not supported",
}
REASONS_3_1_1: Final = {0: 0x00, 1: 0x84, 2: 0x85, 3: 0x88, 4: 0x86, 5: 0x87}
"""What the answers to CONNECT of 3.1.1 (section 3.2.2.3) are called in MQTT 5."""

BYTE, TWO_BYTES, FOUR_BYTES, VARINT, BINARY, PAIR = range(6)
PROPERTIES: Final = {
    0x01: BYTE, 0x02: FOUR_BYTES, 0x03: BINARY, 0x08: BINARY, 0x09: BINARY, 0x0B: VARINT,
    0x11: FOUR_BYTES, 0x12: BINARY, 0x13: TWO_BYTES, 0x15: BINARY, 0x16: BINARY, 0x1A: BINARY,
    0x1C: BINARY, 0x1F: BINARY, 0x21: TWO_BYTES, 0x22: TWO_BYTES, 0x23: TWO_BYTES, 0x24: BYTE,
    0x25: BYTE, 0x26: PAIR, 0x27: FOUR_BYTES, 0x28: BYTE, 0x29: BYTE, 0x2A: BYTE,
}  # fmt: skip
"""The form of each property (MQTT 5, table 2-4)."""
FIXED_BYTES: Final = {BYTE: 1, TWO_BYTES: 2, FOUR_BYTES: 4}
SERVER_KEEP_ALIVE: Final = 0x13
RECEIVE_MAXIMUM: Final = 0x21
TOPIC_ALIAS: Final = 0x23
MAXIMUM_QOS: Final = 0x24
MAXIMUM_PACKET_SIZE: Final = 0x27


class MalformedError(ValueError):
    """The bytes are not the MQTT that a broker may send here."""


class Publication(NamedTuple):
    """One message; `identifier` is 0 where nobody waits for an acknowledgement."""

    topic: str
    content: bytes
    retain: bool
    identifier: int = 0


class Welcome(NamedTuple):
    """The broker's answer to CONNECT, and the limits it sets; `keepalive_s` None leaves it to us."""

    code: int
    keepalive_s: int | None = None
    in_flight_max: int = RECEIVE_MAX
    packet_bytes_max: int = 0xFFFF_FFFF


class Packet(NamedTuple):
    """One packet: its type, the four flag bits, and what follows the fixed header."""

    kind: int
    flags: int
    body: bytes


def reason(code: int) -> str:
    """The name of a reason code."""
    return REASONS[code]


def encode_connect(
    level: int,
    client_id: str,
    keepalive_s: int,
    will: Publication,
    *,
    receive_max: int = RECEIVE_MAX,
) -> bytes:
    """CONNECT for a session that ends with its connection."""
    flags = CLEAN_START | HAS_WILL | WILL_QOS_1 | (WILL_RETAIN if will.retain else 0)
    head = _text("MQTT") + bytes((level, flags)) + keepalive_s.to_bytes(2, "big")
    own = will_properties = b""
    if level == MQTT_5:
        limits = (
            bytes((RECEIVE_MAXIMUM,))
            + receive_max.to_bytes(2, "big")
            + bytes((MAXIMUM_PACKET_SIZE,))
            + PACKET_BYTES_MAX.to_bytes(4, "big")
        )
        own, will_properties = bytes((len(limits),)) + limits, b"\0"
    tail = _text(client_id) + will_properties + _text(will.topic) + _binary(will.content)
    return _packet(0x10, head + own + tail)


def encode_subscribe(level: int, identifier: int, topics: tuple[str, ...]) -> bytes:
    """SUBSCRIBE to each topic at QoS 1."""
    properties = b"\0" if level == MQTT_5 else b""
    filters = b"".join(_text(topic) + b"\1" for topic in topics)
    return _packet(0x82, identifier.to_bytes(2, "big") + properties + filters)


def encode_publish(level: int, message: Publication) -> bytes:
    """PUBLISH at QoS 1. Raises `ValueError` for a topic that no message can have."""
    if not message.topic or any(letter in message.topic for letter in "+#\0"):
        raise ValueError("a topic without wildcards was expected")
    properties = b"\0" if level == MQTT_5 else b""
    head = _text(message.topic) + message.identifier.to_bytes(2, "big") + properties
    flags = QOS_1 | (RETAIN if message.retain else 0)
    return _packet(PUBLISH | flags, head + message.content)


def encode_puback(identifier: int) -> bytes:
    """PUBACK: received."""
    return _packet(PUBACK, identifier.to_bytes(2, "big"))


def take_packet(buffer: bytearray) -> Packet | None:
    """The first packet of what has arrived, removed from it; None until all of it is there."""
    length = shift = 0
    for place in range(1, 1 + VARINT_BYTES_MAX):
        if place >= len(buffer):
            return None
        length |= (buffer[place] & 0x7F) << shift
        shift += 7
        if buffer[place] < 0x80:
            break
    else:
        _refuse("the length of a packet has more than four bytes")
    if length > PACKET_BYTES_MAX:
        _refuse(f"a packet of {length} bytes was announced, at most {PACKET_BYTES_MAX} are taken")
    end = place + 1 + length
    if len(buffer) < end:
        return None
    packet = Packet(buffer[0] & 0xF0, buffer[0] & 0x0F, bytes(buffer[place + 1 : end]))
    del buffer[:end]
    return packet


def parse_welcome(level: int, packet: Packet) -> Welcome:
    """CONNACK."""
    reader = _Reader(packet)
    _ = reader.byte("flags")
    code = reader.byte("a reason")
    if level != MQTT_5:
        reader.done()
        if code not in REASONS_3_1_1:
            _refuse(f"answer {code} to CONNECT is unknown")
        return Welcome(REASONS_3_1_1[code])
    _check_reason(code)
    found = {} if reader.at_end and code >= FAILURE else reader.properties()
    reader.done()
    if found.get(MAXIMUM_QOS) == 0:
        _refuse("QoS 1 was expected, the broker has only QoS 0")
    in_flight_max = found.get(RECEIVE_MAXIMUM, RECEIVE_MAX)
    if in_flight_max == 0:
        _refuse("the broker takes no message at all")
    return Welcome(
        code,
        found.get(SERVER_KEEP_ALIVE),
        min(in_flight_max, RECEIVE_MAX),
        found.get(MAXIMUM_PACKET_SIZE, 0xFFFF_FFFF),
    )


def parse_granted(level: int, packet: Packet) -> tuple[int, bytes]:
    """SUBACK: the identifier, and a reason code for each topic."""
    reader = _Reader(packet)
    identifier = reader.number(2)
    if level == MQTT_5:
        reader.properties()
    codes = reader.rest()
    for code in codes:
        _check_reason(code)
    return identifier, codes


def parse_receipt(level: int, packet: Packet) -> tuple[int, int]:
    """PUBACK: the identifier and a reason code."""
    reader = _Reader(packet)
    identifier = reader.number(2)
    code = 0
    if level == MQTT_5 and not reader.at_end:
        code = reader.byte("a reason")
        _check_reason(code)
        if not reader.at_end:
            reader.properties()
    reader.done()
    return identifier, code


def parse_publication(level: int, packet: Packet) -> Publication:
    """PUBLISH at QoS 0 or 1, which is all that was asked for."""
    quality = packet.flags & 0x06
    if quality not in (0, QOS_1):
        _refuse("a message at QoS 0 or 1 was expected")
    reader = _Reader(packet)
    topic = reader.text()
    if not topic or any(letter in topic for letter in "+#\0"):
        _refuse("a topic without wildcards was expected")
    identifier = 0
    if quality == QOS_1:
        identifier = reader.number(2)
        if identifier == 0:
            _refuse("a packet identifier above 0 was expected")
    if level == MQTT_5 and TOPIC_ALIAS in reader.properties():
        _refuse("a topic alias was used that nobody allowed")
    return Publication(topic, reader.rest(), bool(packet.flags & RETAIN), identifier)


def parse_farewell(level: int, packet: Packet) -> int:
    """DISCONNECT from the broker: the reason code."""
    if level != MQTT_5:
        _refuse("only MQTT 5 lets a broker say goodbye")
    reader = _Reader(packet)
    if reader.at_end:
        return 0
    code = reader.byte("a reason")
    _check_reason(code)
    return code


class _Reader:
    """Takes the parts of a packet's body one after the other."""

    def __init__(self, packet: Packet) -> None:
        self._body = packet.body
        self._kind = packet.kind
        self._place = 0

    @property
    def at_end(self) -> bool:
        return self._place == len(self._body)

    def take(self, length: int) -> bytes:
        end = self._place + length
        if end > len(self._body):
            _refuse(f"packet 0x{self._kind:02x} ends too early")
        part = self._body[self._place : end]
        self._place = end
        return part

    def rest(self) -> bytes:
        return self.take(len(self._body) - self._place)

    def number(self, length: int) -> int:
        return int.from_bytes(self.take(length), "big")

    def byte(self, what: str) -> int:
        if self.at_end:
            _refuse(f"packet 0x{self._kind:02x}: {what} was expected")
        return self.number(1)

    def text(self) -> str:
        try:
            return self.take(self.number(2)).decode()
        except UnicodeDecodeError:
            _refuse("text that is not UTF-8")

    def varint(self) -> int:
        value = 0
        for place in range(VARINT_BYTES_MAX):
            piece = self.number(1)
            value |= (piece & 0x7F) << (7 * place)
            if piece < 0x80:
                return value
        raise MalformedError("a number has more than four bytes")

    def properties(self) -> dict[int, int]:
        """The properties that are numbers, by identifier; the others are read over."""
        end = self.varint() + self._place
        if end > len(self._body):
            _refuse("properties end after their packet")
        found: dict[int, int] = {}
        while self._place < end:  # each turn takes at least a byte
            kind = self.number(1)
            if kind not in PROPERTIES:
                _refuse(f"property 0x{kind:02x} is unknown")
            value = self._property(PROPERTIES[kind])
            if value is not None:
                if kind in found and kind != 0x0B:
                    _refuse(f"property 0x{kind:02x} stands there twice")
                found[kind] = value
        if self._place != end:
            _refuse("a property ends after the others")
        return found

    def _property(self, form: int) -> int | None:
        if form in FIXED_BYTES:
            return self.number(FIXED_BYTES[form])
        if form == VARINT:
            return self.varint()
        for _ in range(2 if form == PAIR else 1):
            self.take(self.number(2))
        return None

    def done(self) -> None:
        if not self.at_end:
            _refuse(f"packet 0x{self._kind:02x} is longer than it says")


def _check_reason(code: int) -> None:
    if code not in REASONS:
        _refuse(f"reason 0x{code:02x} is unknown")


def _refuse(found: str) -> NoReturn:
    raise MalformedError(found)


def _packet(first: int, body: bytes) -> bytes:
    length, left = b"", len(body)
    for _ in range(VARINT_BYTES_MAX):
        left, low = divmod(left, 0x80)
        length += bytes((low | (0x80 if left else 0),))
        if not left:
            return bytes((first,)) + length + body
    raise ValueError(f"a packet of at most 256 MiB was expected, {len(body)} bytes found")


def _text(text: str) -> bytes:
    return _binary(text.encode())


def _binary(content: bytes) -> bytes:
    if len(content) > TEXT_BYTES_MAX:
        raise ValueError(f"at most {TEXT_BYTES_MAX} bytes were expected, {len(content)} found")
    return len(content).to_bytes(2, "big") + content
