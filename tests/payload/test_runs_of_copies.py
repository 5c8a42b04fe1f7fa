"""An entry of a delta may make several windows that are copied: as many as devices have room for."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from agent.delta_index import parse_delta_index
from agent.errors import PayloadError
from agent.payload import (
    RUN_FURTHER_MAX,
    WINDOW_BYTES_MAX,
    Kind,
    PayloadIndex,
    Reference,
    Source,
    WindowEntry,
    pack_references,
    windows_digest,
)
from agent.release import DELTA
from benchmarks.mirror import Mirror
from fleet.delta.columns import encode_columns
from fleet.delta.runs import joined
from fleet.payload import Encoding
from tests.core.delta_indexes import ZEROS, Draft, columns, packed
from tests.core.delta_indexes import copy as copied
from tests.core.payloads import noise
from tests.payload.bench import make_slot, run
from tests.payload.pair import Made, made

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


@pytest.fixture
def changed(tmp_path: Path) -> Made:
    """Forty windows of noise, of which one has changed."""
    old = noise(40 * 4096)
    new = old[: 20 * 4096 + 9] + b"changed" + old[20 * 4096 + 16 :]
    for name, content in (("old", old), ("new", new)):
        (tmp_path / name).write_bytes(content)
    return made(tmp_path / "old", tmp_path / "new", tmp_path / "blobs", Encoding(window_bytes=4096))


def test_windows_that_did_not_change_travel_in_few_entries(changed: Made) -> None:
    delta = next(one for one in changed.image.image.payloads if one.kind == DELTA)
    index = parse_delta_index(
        (changed.blobs / delta.blob).read_bytes()[: delta.index_bytes],
        sha256=delta.index_sha256,
        image_bytes=len(changed.new),
        payload_bytes=delta.length_bytes,
        base_bytes=delta.base_bytes,
    )
    assert [one.length_bytes // 4096 for one in index.entries] == [1, 16, 3, 1, 16, 3]
    assert all(len(list(one.references())) == 1 for one in index.entries if one.kind is Kind.COPY)


@pytest.mark.parametrize("drifted", [None, 0, 5, 39])
def test_a_device_takes_them_and_only_what_has_drifted_from_the_full_payload(
    changed: Made, tmp_path: Path, drifted: int | None
) -> None:
    active = bytearray(changed.old)
    if drifted is not None:
        active[drifted * 4096] ^= 1
    standby = make_slot(tmp_path / "standby", b"", len(changed.new))
    mirror = Mirror(changed.blobs)
    base = make_slot(tmp_path / "active", bytes(active), len(active))

    meter = run(changed.image.image, standby, base, mirror)

    assert (tmp_path / "standby").read_bytes() == changed.new
    assert (changed.image.payload.path in mirror.opened) is (drifted is not None)
    assert meter.fetched_bytes < 3 * 4096 + changed.image.payload.index_bytes


def window(number: int, reference: Reference) -> WindowEntry:
    sha256 = bytes([number]) * 32
    packed_references = pack_references([reference])
    return WindowEntry(
        number * WINDOW, WINDOW, sha256, Kind.COPY, 0, 0, bytes(32), packed_references
    )


def test_a_run_refers_to_nothing_that_it_makes_itself() -> None:
    base = Reference(Source.BASE, WINDOW, 0)
    windows = [
        window(0, base),
        window(1, base),
        window(2, Reference(Source.IMAGE, WINDOW, 0)),
        window(3, Reference(Source.IMAGE, WINDOW, WINDOW)),
        window(4, Reference(Source.IMAGE, WINDOW, 2 * WINDOW)),
    ]
    found = joined(windows, WINDOW)
    assert [one.length_bytes // WINDOW for one in found] == [1, 2, 2]
    assert found[1].sha256 == windows_digest(one.sha256 for one in windows[1:3])
    assert list(found[2].references()) == [Reference(Source.IMAGE, 2 * WINDOW, WINDOW)]


def test_what_goes_on_in_the_base_or_in_zeros_is_one_reference() -> None:
    zeros = Reference(Source.ZEROS, WINDOW, 0)
    base = [Reference(Source.BASE, WINDOW, place * WINDOW) for place in (7, 8, 7)]
    windows = [window(number, one) for number, one in enumerate([*base[:1], zeros, zeros, *base])]
    found = joined(windows, WINDOW)
    assert [[one.length_bytes for one in entry.references()] for entry in found] == [
        [WINDOW],
        [2 * WINDOW, 2 * WINDOW, WINDOW],
    ]
