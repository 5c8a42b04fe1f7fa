"""The CBOR of SMP: what the other implementation writes is read, and nothing else ends a session."""

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import FlashLineError
from agent.flash.cbor import decode, encode

leaves = st.integers(-(2**64), 2**64 - 1) | st.binary() | st.text() | st.booleans() | st.none()
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
).filter(lambda value: _depth(value) <= 8)


def _depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max((_depth(row) for row in value.values()), default=0)
    if isinstance(value, list):
        return 1 + max((_depth(row) for row in value), default=0)
    return 0


@given(values)
def test_reads_and_writes_what_another_implementation_does(value: object) -> None:
    assert decode(cbor2.dumps(value)) == value
    assert cbor2.loads(encode(value)) == value
    assert encode(value) == cbor2.dumps(value)


@given(values)
def test_reads_lists_and_maps_of_indefinite_length(value: object) -> None:
    assert decode(cbor2.dumps(value, indefinite_containers=True)) == value


def test_reads_strings_in_parts() -> None:
    assert decode(bytes.fromhex("5f4201024103ff")) == b"\x01\x02\x03"
    assert decode(bytes.fromhex("7f61616162ff")) == "ab"


@given(st.binary(max_size=64))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    try:
        value = decode(content)
    except FlashLineError:
        return
    assert decode(encode(value)) == value


@pytest.mark.parametrize(
    "content",
    [
        "",
        "00 00",  # something behind the value
        "a2 6161 01 6161 02",  # a key twice
        "a1 01 02",  # a key that is no text
        "c0 00",  # a tag
        "f9 3c00",  # a float
        "f7",  # undefined
        "5b ffffffffffffffff 00",  # a length behind the end
        "9b ffffffffffffffff",  # a list as long as memory
        "9f 01",  # no break
        "ff",  # a break alone
        "1f",  # a number without end
        "5f 6161 ff",  # a text in a byte string
        "61 ff",  # not UTF-8
        "81" * 40 + "00",
        "9f" * 40,
    ],
)
def test_refuses_what_no_server_has_reason_to_send(content: str) -> None:
    with pytest.raises(FlashLineError, match="CBOR"):
        decode(bytes.fromhex(content))
