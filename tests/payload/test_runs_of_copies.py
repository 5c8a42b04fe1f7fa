"""An entry of a delta may make several windows that are copied: as many as devices have room for."""

import hashlib
from dataclasses import replace

import pytest

from agent.delta_index import parse_delta_index
from agent.errors import PayloadError
from agent.payload import RUN_FURTHER_MAX, WINDOW_BYTES_MAX, Kind, PayloadIndex, Source
from fleet.delta.columns import encode_columns
from tests.core.delta_indexes import ZEROS, Draft, columns, packed
from tests.core.delta_indexes import copy as copied

WINDOW = 512
IMAGE = 20 * WINDOW + 100
BASE = 2**30


def copy(windows: int, length: int | None = None, source: Source = Source.BASE) -> Draft:
    return copied(length or windows * WINDOW, windows=windows, source=source)


def parse(content: bytes, image: int = IMAGE) -> PayloadIndex:
    head = packed(content)
    return parse_delta_index(
        head,
        sha256=hashlib.sha256(head).hexdigest(),
        image_bytes=image,
        payload_bytes=len(head),
        base_bytes=BASE,
    )


def test_entries_of_one_and_of_many_windows_cover_the_image_together() -> None:
    content = columns([ZEROS, copy(16), ZEROS, copy(3, 2 * WINDOW + 100)], IMAGE)
    index = parse(content)
    found = [(entry.offset // WINDOW, entry.length_bytes) for entry in index.entries]
    assert found == [(0, 512), (1, 16 * 512), (17, 512), (18, 2 * 512 + 100)]
    assert encode_columns(index) == content


def test_the_longest_run_has_sixteen_windows_of_the_size_that_encoders_use() -> None:
    window = WINDOW_BYTES_MAX // (RUN_FURTHER_MAX + 1)
    run = copied(WINDOW_BYTES_MAX, windows=RUN_FURTHER_MAX + 1)
    index = parse(columns([ZEROS, run], 17 * window, window), 17 * window)
    assert index.entries[1].length_bytes == WINDOW_BYTES_MAX


@pytest.mark.parametrize(
    "drafts",
    [
        [ZEROS] * 19 + [copy(3)],
        [ZEROS, copy(17), *[ZEROS] * 3],
        [ZEROS, copy(16), copy(5, 4 * WINDOW + 100)],
        [ZEROS, copy(16), copy(4)],
        [ZEROS, copy(16), copy(4, 3 * WINDOW)],
        [ZEROS, copy(16), copy(3, 2 * WINDOW + 100)],
        [ZEROS, copy(16), copy(4, 3 * WINDOW + 100), ZEROS],
        [ZEROS, copy(16), copy(3)],
        [copy(2), *[ZEROS] * 19],
        [ZEROS, replace(ZEROS, further=1), *[ZEROS] * 18],
        [ZEROS, replace(copy(2), kind=Kind.PREFIXED, record_length=9), *[ZEROS] * 18],
        [ZEROS, replace(copy(2), kind=Kind.DIFFERENCE, record_length=9), *[ZEROS] * 18],
        [ZEROS, copy(2, source=Source.IMAGE), *[ZEROS] * 18],
        [ZEROS, copy(256), *[ZEROS] * 18],
    ],
)
def test_a_run_that_no_agent_can_take_is_refused(drafts: list[Draft]) -> None:
    with pytest.raises(PayloadError, match="payload index"):
        parse(columns(drafts, IMAGE))


def test_a_run_that_no_device_has_memory_for_is_refused() -> None:
    window = WINDOW_BYTES_MAX // RUN_FURTHER_MAX // 512 * 512
    image = (RUN_FURTHER_MAX + 2) * window
    run = copied(image - window, windows=RUN_FURTHER_MAX + 1)
    with pytest.raises(PayloadError, match="at most"):
        parse(columns([ZEROS, run], image, window), image)
