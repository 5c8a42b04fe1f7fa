"""The agent's ends of its sockets: a courier that is gone, silent or mad is an error to be tried again."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.errors import BrokerError, FetchError, NotFoundError
from agent.interfaces import Message
from agent.linux.courier import frames
from agent.linux.courier.broker import CourierBroker
from agent.linux.courier.fetching import STREAMS_MAX, Fetching, Stream
from agent.linux.courier.frames import FRAME_BYTES_MAX, Failure, FrameError, Range
from agent.linux.courier.line import Line
from agent.linux.courier.repository import CourierRepository
from agent.linux.wake import Waker

TOPIC = "lockgate/harbour/notice"
WILL = Message("lockgate/harbour/lock-1/presence", b"offline", retain=True)
NOTICE = frames.encode_message(frames.MESSAGE, Message(TOPIC, b"look", retain=False))


@contextmanager
def courier(path: Path, *answers: bytes, first: bytes = b"") -> Iterator[list[bytes]]:
    """A courier that says `first` and then one of these for each frame that comes; then it hangs up."""
    heard: list[bytes] = []

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            if first:
                connection.send(first)
            for answer in answers:
                frame = connection.recv(FRAME_BYTES_MAX)
                if not frame:
                    return
                heard.append(frame)
                connection.send(answer)

    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        yield heard
        thread.join(10)


@pytest.fixture
def waker(tmp_path: Path) -> Iterator[Waker]:
    made = Waker(str(tmp_path / "wake"))
    yield made
    made.close()


def test_a_session_that_is_there_already_is_taken_over(tmp_path: Path, waker: Waker) -> None:
    with courier(tmp_path / "courier", NOTICE, first=frames.UP) as heard:
        broker = CourierBroker(str(tmp_path / "courier"), waker)
        broker.attach()
        assert broker.connected
        broker.publish(WILL)
        assert broker.next_message(5) == Message(TOPIC, b"look", retain=False)
        broker.detach()
    assert frames.parse_message(heard[0][1:]) == Message(WILL.topic, WILL.content, WILL.retain)


def test_a_message_that_comes_while_the_agent_would_rest_keeps_it_awake(
    tmp_path: Path, waker: Waker
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(tmp_path / "courier"))
        listener.listen()
        broker = CourierBroker(str(tmp_path / "courier"), waker)
        caller = threading.Thread(target=broker.attach)
        caller.start()
        connection, _ = listener.accept()
        with connection:
            connection.send(frames.UP)
            caller.join(5)
            for frame in (NOTICE, frames.RESTING):
                connection.send(frame)
            assert rests(broker) is False
            assert connection.recv(100)[:1] == frames.REST
            assert connection.recv(100) == frames.AWAKE
            assert broker.next_message(0) is not None
            connection.send(frames.RESTING)
            assert rests(broker) is True
            broker.detach()


def rests(broker: CourierBroker) -> bool:
    return broker.rest(60.0, on_session=False)


@pytest.mark.parametrize(
    "first",
    [b"?", frames.MESSAGE, frames.MESSAGE + b"\x02\x00", b"M" * (FRAME_BYTES_MAX + 1), b""],
    ids=["unknown", "empty message", "torn message", "too long", "hangs up"],
)
def test_a_mad_courier_is_a_broker_error_and_is_called_again(
    tmp_path: Path, waker: Waker, first: bytes
) -> None:
    broker = CourierBroker(str(tmp_path / "courier"), waker)
    with (
        courier(tmp_path / "courier", first=first),
        pytest.raises(BrokerError, match=r"the courier was expected at .* it is called again"),
    ):
        broker.connect((TOPIC,), WILL)
    assert broker.next_message(0.01) is None
    assert not rests(broker)
    (tmp_path / "courier").unlink()
    with courier(tmp_path / "courier", frames.UP, first=frames.encode_sentence(frames.DOWN, "no")):
        broker.connect((TOPIC,), WILL)
        assert broker.connected
        broker.detach()


def test_why_there_is_no_session_is_told_in_the_courier_s_words(
    tmp_path: Path, waker: Waker
) -> None:
    no = frames.encode_sentence(frames.DOWN, "the broker\ndoes not answer")
    broker = CourierBroker(str(tmp_path / "courier"), waker)
    with (
        courier(tmp_path / "courier", no, first=no),
        pytest.raises(BrokerError, match=r"^the broker\?does not answer$"),
    ):
        broker.connect((TOPIC,), WILL)
    broker.detach()


def test_a_flood_is_neither_kept_nor_followed_for_ever(tmp_path: Path, waker: Waker) -> None:
    broker = CourierBroker(str(tmp_path / "courier"), waker)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(tmp_path / "courier"))
        listener.listen()

        def flood() -> None:
            connection, _ = listener.accept()
            with connection:
                for _ in range(100_000):
                    try:
                        connection.send(NOTICE)
                    except OSError:
                        return

        thread = threading.Thread(target=flood)
        thread.start()
        with pytest.raises(BrokerError, match="says too much"):
            broker.attach()
        thread.join(10)


def repository(path: Path) -> CourierRepository:
    return CourierRepository(str(path), 1)


def test_pieces_and_their_end_arrive(tmp_path: Path) -> None:
    opened = frames.encode_stream(frames.OPENED, 1)
    piece = frames.encode_stream(frames.PIECE, 1, b"abc")
    with courier(
        tmp_path / "fetches", opened, piece, frames.encode_stream(frames.PIECE, 1)
    ) as heard:
        source = repository(tmp_path / "fetches")
        stream = source.open("blobs/x", 7, 10)
        assert stream.read(100) == b"abc"
        assert stream.read(100) == b""
        assert stream.read(100) == b""
        source.close()
    assert frames.parse_range(heard[0][1:]) == Range(1, 7, 10, "blobs/x")
    assert frames.parse_read(heard[1][1:]) == (1, 10)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (frames.encode_failure(Failure(1, "fetch-not-found", "gone")), NotFoundError),
        (frames.encode_failure(Failure(1, "no such code", "odd")), FetchError),
        (frames.encode_failure(Failure(9, "fetch", "of another")), FetchError),
        (frames.encode_stream(frames.OPENED, 2), FetchError),
        (frames.encode_stream(frames.PIECE, 1, b"x"), FetchError),
        (b"E\x00", FetchError),
        (b"?", FetchError),
    ],
)
def test_whatever_else_is_answered_is_a_fetch_error(
    tmp_path: Path, answer: bytes, kind: type[FetchError]
) -> None:
    with courier(tmp_path / "fetches", answer):
        source = repository(tmp_path / "fetches")
        with pytest.raises(FetchError) as caught:
            source.open("blobs/x", 0, 10)
        assert type(caught.value) is kind
        source.close()


def test_more_bytes_than_asked_for_are_refused(tmp_path: Path) -> None:
    opened = frames.encode_stream(frames.OPENED, 1)
    with courier(tmp_path / "fetches", opened, frames.encode_stream(frames.PIECE, 1, b"x" * 11)):
        stream = repository(tmp_path / "fetches").open("blobs/x", 0, 10)
        with pytest.raises(FetchError, match="at most 10 bytes were expected"):
            stream.read(100)


def test_nobody_there_is_a_fetch_error(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="nobody answers"):
        repository(tmp_path / "nobody").open("blobs/x", 0, 1)


class Files:
    """A source of one file of ten bytes, and of nothing else."""

    def open(self, path: str, offset: int, length_max: int) -> Stream:
        if path != "x":
            raise NotFoundError(f"{path}: not here")
        return Rest(b"0123456789"[offset : offset + length_max])


class Rest:
    def __init__(self, left: bytes) -> None:
        self._left = left

    def read(self, length_max: int) -> bytes:
        piece, self._left = self._left[:length_max], self._left[length_max:]
        return piece

    def close(self) -> None:
        self._left = b""


@contextmanager
def child() -> Iterator[Line]:
    """The child of a courier, and the agent's end of its connection."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    thread = threading.Thread(target=Fetching(Line(theirs), Files()).serve)
    thread.start()
    try:
        yield Line(ours)
    finally:
        ours.close()
        thread.join(5)
        theirs.close()
        assert not thread.is_alive()


def test_the_child_serves_several_streams_and_says_what_is_missing() -> None:
    with child() as line:
        for number in (1, 2):
            line.send(frames.encode_range(Range(number, number, 5, "x")))
            assert line.receive(5) == (frames.OPENED, frames.SHORT.pack(number))
        line.send(frames.encode_read(2, 3))
        assert line.receive(5) == (frames.PIECE, frames.SHORT.pack(2) + b"234")
        line.send(frames.encode_range(Range(3, 0, 5, "y")))
        answer = line.receive(5)
        assert answer is not None
        assert frames.parse_failure(answer[1]) == Failure(3, "fetch-not-found", "y: not here")


@pytest.mark.parametrize(
    "frame", [b"?", b"F", frames.encode_read(7, 3), b"r\x00\x01\xff\xff\xff\xff"]
)
def test_the_child_hangs_up_on_whoever_says_what_nobody_may(frame: bytes) -> None:
    with child() as line:
        line.send(frame)
        with pytest.raises(FrameError, match="has ended"):
            line.receive(5)


def test_the_child_keeps_no_more_streams_than_it_should() -> None:
    with child() as line:
        for number in range(STREAMS_MAX):
            line.send(frames.encode_range(Range(number, 0, 5, "x")))
            assert line.receive(5) is not None
        line.send(frames.encode_range(Range(STREAMS_MAX, 0, 5, "x")))
        with pytest.raises(FrameError, match="has ended"):
            line.receive(5)
