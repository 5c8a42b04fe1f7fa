"""A mirror may serve any bytes, and a payload may lie although its index is signed."""

from dataclasses import replace

import pytest
from backports import zstd

from agent.decompress import decompress
from agent.errors import FetchError, PayloadError, UpdateError
from agent.payload import Kind, WindowEntry
from tests.core.payloads import (
    WINDOW,
    Bench,
    Entries,
    Lie,
    digest,
    make_bench,
    make_payload,
    noise,
)

IMAGE = noise(WINDOW) + b"text " * 3000 + noise(700)
SECOND = 1  # the first window that is written in the body, and coded with zstd


def refused(bench: Bench, kind: type[UpdateError] = PayloadError) -> str:
    """What it says; the slot cannot start, and holds nothing of the lie."""
    with pytest.raises(kind) as caught:
        bench.install()
    assert bench.slot.read(0, 512) == bytes(512)
    for deed in bench.slot.writes():
        assert deed.content in (bytes(len(deed.content)), IMAGE[deed.offset :][: len(deed.content)])
    return str(caught.value)


def changed(**changes: object) -> Lie:
    def lie(entries: Entries) -> Entries:
        entry = replace(entries[SECOND], **changes)  # type: ignore[arg-type]  # each test names a field of its type
        return (*entries[:SECOND], entry, *entries[SECOND + 1 :])

    return lie


def with_record(record: bytes) -> Bench:
    """A bench whose second window has this record, signed as it is."""

    def lie(entries: Entries) -> Entries:
        last = max(entries, key=lambda entry: entry.record_offset)
        entry = replace(
            entries[SECOND],
            kind=Kind.ZSTD,
            record_offset=last.record_offset + last.record_length,
            record_length=len(record),
            record_sha256=digest(record),
        )
        return (*entries[:SECOND], entry, *entries[SECOND + 1 :])

    return make_bench(IMAGE, lie=lie, tail=record)


CONTENT = IMAGE[WINDOW : 2 * WINDOW]


def test_the_record_that_these_tests_change_is_a_good_one() -> None:
    bench = with_record(zstd.compress(CONTENT))
    bench.install()
    assert bench.slot.content == IMAGE


@pytest.mark.parametrize(
    "record",
    [
        zstd.compress(noise(WINDOW, 9)),
        zstd.compress(bytes(200 * 1024 * 1024)),
        zstd.compress(CONTENT + b"\0"),
        zstd.compress(CONTENT[:-1]),
        zstd.compress(CONTENT) + b"\0",
        zstd.compress(CONTENT) + zstd.compress(b"more"),
        zstd.compress(CONTENT[:100]) + zstd.compress(CONTENT[100:]),
        zstd.compress(CONTENT)[:-1],
        zstd.compress(CONTENT)[:5],
        zstd.compress(b""),
        b"\x50\x2a\x4d\x18\x04\x00\x00\x00skip" + zstd.compress(CONTENT),
        b"no zstd at all",
        CONTENT,
    ],
    ids=[
        "another window",
        "bomb",
        "a byte too many",
        "a byte too few",
        "a byte behind it",
        "a frame behind it",
        "two frames",
        "torn at its end",
        "torn at its start",
        "empty",
        "skippable frame",
        "noise",
        "plain",
    ],
)
def test_a_record_that_is_not_its_window_is_refused_although_it_is_signed(record: bytes) -> None:
    refused(with_record(record))


def test_a_bomb_makes_no_more_than_its_window_and_one_byte() -> None:
    bomb = zstd.compress(bytes(200 * 1024 * 1024))
    with pytest.raises(PayloadError, match=f"{WINDOW + 1} or more"):
        decompress(bomb, WINDOW)


def test_a_frame_that_asks_for_gigabytes_of_window_is_refused() -> None:
    options: dict[int, int] = {zstd.CompressionParameter.window_log: 27}
    frame = zstd.compress(noise(2**20) * 20, options=options)
    with pytest.raises(PayloadError):
        decompress(frame, 20 * 2**20)


@pytest.mark.parametrize(
    "lie",
    [
        changed(sha256=bytes(32)),
        changed(record_sha256=bytes(32)),
        changed(record_offset=0),
        changed(kind=Kind.ZEROS, record_offset=0, record_length=0),
    ],
)
def test_an_index_that_lies_is_refused_although_it_is_signed(lie: Lie) -> None:
    refused(make_bench(IMAGE, lie=lie))


def test_windows_that_are_right_in_the_wrong_order_are_refused() -> None:
    image = noise(WINDOW, 1) + noise(WINDOW, 2) + noise(WINDOW, 3)

    def swap(entries: Entries) -> Entries:
        first, second, third = entries

        def moved(entry: WindowEntry, place: WindowEntry) -> WindowEntry:
            return replace(entry, offset=place.offset, length_bytes=place.length_bytes)

        return first, moved(third, second), moved(second, third)

    bench = make_bench(image, lie=swap)
    with pytest.raises(UpdateError):
        bench.install()
    assert bench.slot.read(0, 512) == bytes(512)


def test_a_mirror_that_changes_any_one_byte_is_refused_and_the_next_one_is_used() -> None:
    installation, blob = make_payload(IMAGE)
    for position in range(0, len(blob), 61):
        bench = make_bench(IMAGE)
        spoiled = bytearray(blob)
        spoiled[position] ^= 0x10
        bench.mirror.blobs[installation.payload.path] = bytes(spoiled)
        with pytest.raises(PayloadError):
            bench.install()
        assert bench.slot.content != IMAGE
        bench.mirror.blobs[installation.payload.path] = blob
        bench.install()
        assert bench.slot.content == IMAGE


@pytest.mark.parametrize("length", [0, 1, 23, 24, 100, 5000])
def test_a_mirror_with_a_truncated_copy_is_a_matter_of_time(length: int) -> None:
    bench = make_bench(IMAGE)
    path = bench.installation.payload.path
    bench.mirror.blobs[path] = bench.mirror.blobs[path][:length]
    with pytest.raises(FetchError, match="truncated"):
        bench.install()
    assert bench.slot.content != IMAGE


def test_a_mirror_that_serves_more_than_was_asked_for_is_not_read_further() -> None:
    bench = make_bench(IMAGE)
    path = bench.installation.payload.path
    bench.mirror.blobs[path] += noise(10**6)
    bench.install()
    payload = bench.installation.payload
    assert bench.mirror.sent_bytes == payload.length_bytes + 1  # the last byte, to begin with
