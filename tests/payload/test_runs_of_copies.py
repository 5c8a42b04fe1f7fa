"""An entry of a delta may make several windows that are copied: as many as devices have room for."""

import hashlib

import pytest
from backports import zstd

from agent.errors import PayloadError
from agent.payload import (
    ENTRY,
    HEADER,
    MAGIC,
    PACKED,
    PACKED_MAGIC,
    REFERENCE,
    RUN_FURTHER_MAX,
    WINDOW_BYTES_MAX,
    Kind,
    PayloadIndex,
    Source,
    encode_index,
    parse_delta_index,
    parse_index,
)

WINDOW = 512
IMAGE = 20 * WINDOW + 100
BASE = 2**30
NOTHING = bytes(32)


def row(kind: Kind, further: int = 0, *references: tuple[Source, int, int]) -> bytes:
    packed = b"".join(REFERENCE.pack(*one) for one in references)
    return ENTRY.pack(NOTHING, kind, further, len(references), 0, 0, NOTHING) + packed


ZEROS = row(Kind.ZEROS)


def copy(windows: int, length: int | None = None, source: Source = Source.BASE) -> bytes:
    return row(Kind.COPY, windows - 1, (source, length or windows * WINDOW, 0))


def plain(*rows: bytes, image: int = IMAGE, window: int = WINDOW) -> bytes:
    return HEADER.pack(MAGIC, window, -(-image // window), image) + b"".join(rows)


def parse(content: bytes, image: int = IMAGE) -> PayloadIndex:
    packed = PACKED.pack(PACKED_MAGIC, len(content)) + zstd.compress(content)
    return parse_delta_index(
        packed,
        sha256=hashlib.sha256(packed).hexdigest(),
        image_bytes=image,
        payload_bytes=len(packed),
        base_bytes=BASE,
    )


def test_entries_of_one_and_of_many_windows_cover_the_image_together() -> None:
    content = plain(ZEROS, copy(16), ZEROS, copy(3, 2 * WINDOW + 100))
    index = parse(content)
    found = [(entry.offset // WINDOW, entry.length_bytes) for entry in index.entries]
    assert found == [(0, 512), (1, 16 * 512), (17, 512), (18, 2 * 512 + 100)]
    assert encode_index(index) == content


def test_the_longest_run_has_sixteen_windows_of_the_size_that_encoders_use() -> None:
    window = WINDOW_BYTES_MAX // (RUN_FURTHER_MAX + 1)
    run = row(Kind.COPY, RUN_FURTHER_MAX, (Source.BASE, WINDOW_BYTES_MAX, 0))
    index = parse(plain(ZEROS, run, image=17 * window, window=window), 17 * window)
    assert index.entries[1].length_bytes == WINDOW_BYTES_MAX


@pytest.mark.parametrize(
    "rows",
    [
        (ZEROS, *[ZEROS] * 18, copy(3)),
        (ZEROS, copy(17), *[ZEROS] * 3),
        (ZEROS, copy(16), copy(5, 4 * WINDOW + 100)),
        (ZEROS, copy(16), copy(4)),
        (ZEROS, copy(16), copy(4, 3 * WINDOW)),
        (ZEROS, copy(16), copy(3, 2 * WINDOW + 100)),
        (ZEROS, copy(16), copy(4, 3 * WINDOW + 100), ZEROS),
        (copy(2), *[ZEROS] * 19),
        (ZEROS, row(Kind.ZEROS, 1), *[ZEROS] * 18),
        (ZEROS, row(Kind.PREFIXED, 1, (Source.BASE, 2 * WINDOW, 0)), *[ZEROS] * 18),
        (ZEROS, row(Kind.DIFFERENCE, 1, (Source.BASE, 2 * WINDOW, 0)), *[ZEROS] * 18),
        (ZEROS, copy(2, source=Source.IMAGE), *[ZEROS] * 18),
        (ZEROS, copy(255), *[ZEROS] * 18),
    ],
)
def test_a_run_that_no_agent_can_take_is_refused(rows: tuple[bytes, ...]) -> None:
    with pytest.raises(PayloadError, match="payload index"):
        parse(plain(*rows))


def test_a_run_that_no_device_has_memory_for_is_refused() -> None:
    window = WINDOW_BYTES_MAX // RUN_FURTHER_MAX // 512 * 512
    image = (RUN_FURTHER_MAX + 2) * window
    run = row(Kind.COPY, RUN_FURTHER_MAX, (Source.BASE, image - window, 0))
    with pytest.raises(PayloadError, match="at most"):
        parse(plain(ZEROS, run, image=image, window=window), image)


@pytest.mark.parametrize("kind", [Kind.ZEROS, Kind.COPY])
def test_a_full_payload_has_no_runs(kind: Kind) -> None:
    content = plain(ZEROS, row(kind, 1), *[ZEROS] * 18)
    with pytest.raises(PayloadError):
        parse_index(
            content,
            sha256=hashlib.sha256(content).hexdigest(),
            image_bytes=IMAGE,
            payload_bytes=len(content),
        )
