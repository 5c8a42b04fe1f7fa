import hashlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import PayloadError
from agent.payload import (
    ENTRY,
    HEADER,
    MAGIC,
    WINDOW_BYTES_MAX,
    Kind,
    PayloadIndex,
    WindowEntry,
    encode_index,
    index_length,
    parse_index,
    window_lengths,
)

GIB = 2**30


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def make(image_bytes: int, window_bytes: int = WINDOW_BYTES_MAX) -> PayloadIndex:
    """Windows of every kind in turn, their records one behind the other."""
    entries = []
    position = index_length(image_bytes, window_bytes)
    for number, (offset, length) in enumerate(window_lengths(image_bytes, window_bytes)):
        kind = Kind(number % 3)
        size = {Kind.ZEROS: 0, Kind.PLAIN: length, Kind.ZSTD: 7}[kind]
        record = b"" if kind is Kind.ZEROS else bytes([number % 251]) * 32
        entries.append(
            WindowEntry(
                offset=offset,
                length_bytes=length,
                sha256=bytes([number % 256]) * 32,
                kind=kind,
                record_offset=position if size else 0,
                record_length=size,
                record_sha256=record or bytes(32),
            )
        )
        position += size
    return PayloadIndex(window_bytes, image_bytes, tuple(entries))


def end(index: PayloadIndex) -> int:
    starts = index_length(index.image_bytes, index.window_bytes)
    return max([starts, *(e.record_offset + e.record_length for e in index.entries)])


def parse(content: bytes, image_bytes: int, payload_bytes: int) -> PayloadIndex:
    return parse_index(
        content, sha256=sha256(content), image_bytes=image_bytes, payload_bytes=payload_bytes
    )


def refused(content: bytes, image_bytes: int, payload_bytes: int = 2**40) -> str:
    with pytest.raises(PayloadError) as caught:
        parse(content, image_bytes, payload_bytes)
    return str(caught.value)


@pytest.mark.parametrize(
    "image_bytes",
    [
        1,
        511,
        512,
        513,
        4 * 2**20,
        *(size + delta for size in (2 * GIB, 4 * GIB) for delta in (-1, 0, 1)),
    ],
)
def test_every_size_is_encoded_and_read_back(image_bytes: int) -> None:
    index = make(image_bytes)
    content = encode_index(index)
    assert len(content) == index_length(image_bytes, index.window_bytes)
    assert parse(content, image_bytes, end(index)) == index
    assert sum(entry.length_bytes for entry in index.entries) == image_bytes
    if len(index.entries) > 1:  # a lone window of zeros has no record that could be outside
        assert refused(content, image_bytes, end(index) - 1)


@given(st.integers(1, 100_000), st.sampled_from([512, 1024, 4096, 65536]))
def test_windows_cover_the_image_without_gap_or_overlap(image_bytes: int, window: int) -> None:
    position = 0
    for offset, length in window_lengths(image_bytes, window):
        assert offset == position
        assert 0 < length <= window
        position += length
    assert position == image_bytes


@given(st.binary(max_size=300), st.integers(1, 2**40), st.integers(1, 2**40))
def test_any_bytes_are_an_index_or_refused(content: bytes, image: int, payload: int) -> None:
    for given_bytes in (content, MAGIC + content):
        try:
            parse(given_bytes, image, payload)
        except PayloadError:
            continue


@settings(max_examples=200)
@given(st.data())
def test_an_index_that_lies_anywhere_stays_inside_image_and_payload_or_is_refused(
    data: st.DataObject,
) -> None:
    image_bytes, window_bytes = 3000, 512
    content = bytearray(encode_index(make(image_bytes, window_bytes)))
    payload_bytes = end(make(image_bytes, window_bytes))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    try:
        index = parse(bytes(content), image_bytes, payload_bytes)
    except PayloadError:
        return
    for entry in index.entries:
        assert entry.offset + entry.length_bytes <= image_bytes
        assert entry.record_offset + entry.record_length <= payload_bytes
        assert entry.record_length <= entry.length_bytes + 4096


def test_another_index_than_the_manifest_names_is_refused_unread() -> None:
    content = encode_index(make(3000, 512))
    with pytest.raises(PayloadError, match="was expected"):
        parse_index(content, sha256="00" * 32, image_bytes=3000, payload_bytes=2**20)


@pytest.mark.parametrize("window_bytes", [0, 1, 256, 511, 513, 8 * 2**20, 2**32 - 1])
def test_windows_that_no_device_has_memory_for_are_refused(window_bytes: int) -> None:
    content = HEADER.pack(MAGIC, window_bytes, 1, 100)
    assert "not supported" in refused(content, 100)


@pytest.mark.parametrize(
    ("count", "length"), [(2, 512), (0, 512), (2**32 - 1, 512), (1, 513), (1, 2**64 - 1), (1, 0)]
)
def test_a_header_that_does_not_fit_the_image_is_refused(count: int, length: int) -> None:
    assert refused(HEADER.pack(MAGIC, 512, count, length) + bytes(ENTRY.size), 512)


def test_bytes_after_the_last_entry_or_missing_from_it_are_refused() -> None:
    content = encode_index(make(3000, 512))
    assert "do not hold" in refused(content + b"\0", 3000)
    assert "do not hold" in refused(content[:-1], 3000)
    assert "too few" in refused(content[:10], 3000)


def entry_with(**changes: int) -> bytes:
    fields = {"kind": 1, "reserved": 0, "length": 512, "offset": 104} | changes
    entry = ENTRY.pack(
        bytes(32),
        fields["kind"],
        fields["reserved"].to_bytes(3, "little"),
        fields["length"],
        fields["offset"],
        bytes(32),
    )
    return HEADER.pack(MAGIC, 512, 1, 512) + entry


def test_the_entry_that_these_tests_change_is_a_good_one() -> None:
    assert parse(entry_with(), 512, 616).entries[0].kind is Kind.PLAIN


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": 3},
        {"kind": 255},
        {"reserved": 1},
        {"reserved": 256},
        {"reserved": 2**24 - 1},
        {"length": 511},
        {"length": 513},
        {"length": 0},
        {"length": 2**32 - 1},
        {"offset": 105},
        {"offset": 2**63},
        {"offset": 2**64 - 1},
        {"kind": 0},
        {"kind": 0, "length": 0},
        {"kind": 0, "offset": 0},
        {"kind": 2, "length": 0},
        {"kind": 2, "length": 512 + 4097},
    ],
)
def test_a_record_that_is_not_inside_the_payload_is_refused(changes: dict[str, int]) -> None:
    assert refused(entry_with(**changes), 512, 616)


def test_a_zstd_record_may_be_a_little_longer_than_its_window() -> None:
    entry = entry_with(kind=2, length=512 + 4096)
    assert parse(entry, 512, 104 + 512 + 4096).entries[0].kind is Kind.ZSTD


def test_an_index_survives_a_change_of_nothing() -> None:
    index = make(3000, 512)
    assert replace(index) == parse(encode_index(index), 3000, end(index))
