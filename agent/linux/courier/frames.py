"""What the courier and the agent say to each other: one frame is one packet of a SOCK_SEQPACKET socket. Pure.

A frame is a letter and its content; numbers are big-endian, texts and topics UTF-8 with their length in
two bytes before them unless they stand at the end.

    session, from the agent                        session, from the courier
    C  count u8, topics, will as a message         U  there is a session with the broker
    P  message to be published                     D  there is none; why
    G  say goodbye to the broker                   X  one publication was refused; why
    R  wake after ms u64, on a new session u8      O  rest then; what comes is kept from now on
    W  not resting after all                       M  message that came

    fetches, from the agent                        fetches, from the courier
    F  stream u16, offset u64, length u64, path    K  stream u16: it is open
    r  stream u16, length u32                      B  stream u16, bytes; none at the end
    c  stream u16: no more of it                   E  stream u16, code, why

A message is retain u8, topic, content. Whatever else comes raises `FrameError`.
"""

import struct
from typing import Final, NamedTuple, NoReturn

from agent.message import Message

FRAME_BYTES_MAX: Final = 80 * 1024
"""More than the longest MQTT packet, or the longest piece of a file, with what stands before it."""
PIECE_BYTES_MAX: Final = 64 * 1024
TOPICS_MAX: Final = 16
SENTENCE_BYTES_MAX: Final = 4096
WAKE_AFTER_MS_MAX: Final = 40 * 86_400 * 1000

CONNECT, PUBLISH, GOODBYE, REST, AWAKE = b"C", b"P", b"G", b"R", b"W"
UP, DOWN, REFUSED, RESTING, MESSAGE = b"U", b"D", b"X", b"O", b"M"
FETCH, READ, CLOSE = b"F", b"r", b"c"
OPENED, PIECE, FAILED = b"K", b"B", b"E"

SHORT: Final = struct.Struct(">H")
ORDER: Final = struct.Struct(">QB")
RANGE: Final = struct.Struct(">HQQ")
PORTION: Final = struct.Struct(">HI")


class FrameError(ValueError):
    """The other end does not say what it may say here."""


class Standing(NamedTuple):
    """What the courier opens a session with, again and again if it must."""

    subscriptions: tuple[str, ...]
    will: Message


class Rest(NamedTuple):
    """When the agent wants to be woken, and whether a new session with the broker is a reason."""

    wake_after_s: float
    on_session: bool


class Range(NamedTuple):
    """A part of a file that is asked for."""

    stream: int
    offset: int
    length_max: int
    path: str


class Failure(NamedTuple):
    """Why a file does not come: the code of the error, and its sentence."""

    stream: int
    code: str
    sentence: str


def encode_message(kind: bytes, message: Message) -> bytes:
    """A frame with one message."""
    return kind + _post(message)


def parse_message(content: bytes) -> Message:
    """The message in a frame."""
    topic, place = _text(content, 1)
    return Message(topic, content[place:], bool(_flag(content, 0)))


def encode_standing(standing: Standing) -> bytes:
    """A request for a session."""
    topics = b"".join(_counted(topic) for topic in standing.subscriptions)
    return CONNECT + bytes((len(standing.subscriptions),)) + topics + _post(standing.will)


def parse_standing(content: bytes) -> Standing:
    """A request for a session."""
    count = _flag(content, 0, TOPICS_MAX)
    topics, place = [], 1
    for _ in range(count):
        topic, place = _text(content, place)
        topics.append(topic)
    return Standing(tuple(topics), parse_message(content[place:]))


def encode_rest(rest: Rest) -> bytes:
    """The wish to rest."""
    wake_after_ms = min(max(0, int(rest.wake_after_s * 1000)), WAKE_AFTER_MS_MAX)
    return REST + ORDER.pack(wake_after_ms, rest.on_session)


def parse_rest(content: bytes) -> Rest:
    """The wish to rest."""
    wake_after_ms, on_session = _unpack(ORDER, content, exactly=True)
    if wake_after_ms > WAKE_AFTER_MS_MAX or on_session > 1:
        _refuse("an order within 40 days was expected")
    return Rest(wake_after_ms / 1000, bool(on_session))


def encode_sentence(kind: bytes, sentence: str) -> bytes:
    """A frame with words."""
    return kind + _words(sentence)


def parse_sentence(content: bytes) -> str:
    """Words for people, in one line, whatever they were."""
    words = content[:SENTENCE_BYTES_MAX].decode(errors="replace")
    return "".join(letter if letter.isprintable() else "?" for letter in words)


def encode_range(wanted: Range) -> bytes:
    """A request for part of a file."""
    return (
        FETCH + RANGE.pack(wanted.stream, wanted.offset, wanted.length_max) + wanted.path.encode()
    )


def parse_range(content: bytes) -> Range:
    """A request for part of a file."""
    stream, offset, length_max = _unpack(RANGE, content)
    if length_max == 0:
        _refuse("at least one byte must be asked for")
    try:
        path = content[RANGE.size :].decode("ascii")
    except UnicodeDecodeError:
        _refuse("a path of plain letters was expected")
    return Range(stream, offset, length_max, path)


def encode_read(stream: int, length_bytes: int) -> bytes:
    """A request for the next piece."""
    return READ + PORTION.pack(stream, length_bytes)


def parse_read(content: bytes) -> tuple[int, int]:
    """A request for the next piece: which stream, and how much of it at most."""
    stream, length_bytes = _unpack(PORTION, content, exactly=True)
    if not 0 < length_bytes <= PIECE_BYTES_MAX:
        _refuse(f"1 to {PIECE_BYTES_MAX} bytes were expected to be asked for")
    return stream, length_bytes


def encode_stream(kind: bytes, stream: int, content: bytes = b"") -> bytes:
    """A frame about one stream."""
    return kind + SHORT.pack(stream) + content


def parse_stream(content: bytes) -> tuple[int, bytes]:
    """Which stream, and the rest."""
    (stream,) = _unpack(SHORT, content)
    return stream, content[SHORT.size :]


def encode_failure(failure: Failure) -> bytes:
    """Why a file does not come."""
    head = FAILED + SHORT.pack(failure.stream) + _counted(failure.code)
    return head + _words(failure.sentence)


def parse_failure(content: bytes) -> Failure:
    """Why a file does not come."""
    stream, rest = parse_stream(content)
    code, place = _text(rest, 0)
    return Failure(stream, code, parse_sentence(rest[place:]))


def _post(message: Message) -> bytes:
    return bytes((message.retain,)) + _counted(message.topic) + message.content


def _counted(text: str) -> bytes:
    content = text.encode()
    return SHORT.pack(len(content)) + content


def _words(sentence: str) -> bytes:
    return sentence.encode(errors="replace")[:SENTENCE_BYTES_MAX]


def _text(content: bytes, place: int) -> tuple[str, int]:
    """The text at a place, and where it ends."""
    (length,) = _unpack(SHORT, content[place:])
    begin = place + SHORT.size
    end = begin + length
    if end > len(content):
        _refuse("a text ends after its frame")
    try:
        return content[begin:end].decode(), end
    except UnicodeDecodeError:
        _refuse("a text that is not UTF-8")


def _flag(content: bytes, place: int, highest: int = 1) -> int:
    if place >= len(content) or content[place] > highest:
        _refuse(f"a number up to {highest} was expected")
    return content[place]


def _unpack(form: struct.Struct, content: bytes, *, exactly: bool = False) -> tuple[int, ...]:
    if len(content) < form.size or (exactly and len(content) != form.size):
        _refuse(f"{form.size} bytes were expected, {len(content)} found")
    return form.unpack_from(content)


def _refuse(found: str) -> NoReturn:
    raise FrameError(found)
