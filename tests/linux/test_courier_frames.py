"""What one process says to the other is a frame or a `FrameError`, whatever it is made of."""

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.linux.courier import frames
from agent.linux.courier.frames import Failure, FrameError, Range, Rest, Standing
from agent.linux.courier.orders import Orders, from_words, to_words
from agent.message import Message

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
POST = st.builds(Message, TEXT, st.binary(max_size=500), st.booleans())
PARSERS: tuple[Callable[[bytes], object], ...] = (
    frames.parse_message,
    frames.parse_standing,
    frames.parse_rest,
    frames.parse_sentence,
    frames.parse_range,
    frames.parse_read,
    frames.parse_stream,
    frames.parse_failure,
)


@given(st.binary(max_size=300))
def test_no_bytes_are_more_than_a_frame_error(content: bytes) -> None:
    for parse in PARSERS:
        with suppress(FrameError):
            assert parse(content) is not None


@given(POST, st.lists(TEXT, max_size=5))
def test_messages_and_orders_arrive_as_they_were(post: Message, topics: list[str]) -> None:
    assert frames.parse_message(frames.encode_message(frames.MESSAGE, post)[1:]) == post
    standing = Standing(tuple(topics), post)
    assert frames.parse_standing(frames.encode_standing(standing)[1:]) == standing


@given(st.integers(0, 0xFFFF), st.integers(0, 2**63), st.integers(1, 2**63), st.booleans())
def test_requests_arrive_as_they_were(
    stream: int,
    offset: int,
    length: int,
    on_session: bool,  # noqa: FBT001  # hypothesis gives it
) -> None:
    wanted = Range(stream, offset, length, "blobs/abc")
    assert frames.parse_range(frames.encode_range(wanted)[1:]) == wanted
    rest = Rest(length % 86_400 / 8, on_session)
    assert frames.parse_rest(frames.encode_rest(rest)[1:]) == rest
    failure = Failure(stream, "fetch", "it is not there")
    assert frames.parse_failure(frames.encode_failure(failure)[1:]) == failure


def test_what_would_take_too_much_is_refused() -> None:
    with pytest.raises(FrameError, match="to be asked for"):
        frames.parse_read(frames.encode_read(1, frames.PIECE_BYTES_MAX + 1)[1:])
    with pytest.raises(FrameError, match="40 days"):
        frames.parse_rest(b"\xff" * 8 + b"\x00")
    assert len(frames.parse_sentence(b"x" * 100_000)) == frames.SENTENCE_BYTES_MAX
    assert frames.parse_sentence(b"two\nlines\x00") == "two?lines?"


def test_the_words_of_a_command_carry_all_orders() -> None:
    orders = Orders(
        device="lock-1",
        host="localhost",
        port=8883,
        authority="/a",
        certificate="/c",
        key="/k",
        keepalive_s=60,
        retry_max_s=900,
        repository_authority="/r",
        urls=("https://one", "https://two"),
        session=3,
        fetches=4,
        wake="/run/wake",
        agent=("lockgate", "agent"),
    )
    assert from_words(to_words(orders)) == orders
    assert from_words(to_words(orders._replace(agent=(), urls=()))).wake == "/run/wake"
