import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from random import Random

import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.delta_index import COLUMNS, PACKED, parse_delta_index
from agent.errors import FetchError, PayloadError
from agent.install import Job, Meter, install
from agent.payload import (
    Kind,
    PayloadIndex,
    Reference,
    Source,
    WindowEntry,
    pack_references,
)
from agent.release import DELTA, Payload
from agent.update import Installation
from agent.windows import STEP_BYTES, add_bytes
from fleet.delta.columns import pack_index
from tests.core.delta_indexes import ZEROS, Draft, columns, copy, packed
from tests.core.payloads import WINDOW, Mirror, Slot, digest, make_payload, noise

BASE = noise(8 * WINDOW, 5)
CHANGED = bytearray(BASE[2 * WINDOW : 3 * WINDOW])
CHANGED[100] ^= 0x81
IMAGE = b"".join(
    [
        noise(WINDOW, 6),  # new
        BASE[WINDOW + 7 : 2 * WINDOW + 7],  # moved
        bytes(CHANGED),  # changed a little
        BASE[3 * WINDOW : 4 * WINDOW - 9] + b"prefixed.",  # nearly the same
        noise(WINDOW, 6),  # as the first window
        bytes(WINDOW),
        BASE[6 * WINDOW : 7 * WINDOW - 500],
    ]
)


def ref(source: Source, length: int, offset: int) -> Reference:
    return Reference(source, length, offset)


RECIPES: dict[int, tuple[Kind, tuple[Reference, ...]]] = {
    1: (Kind.COPY, (ref(Source.BASE, WINDOW, WINDOW + 7),)),
    2: (
        Kind.DIFFERENCE,
        (ref(Source.BASE, 4000, 2 * WINDOW), ref(Source.BASE, 96, 2 * WINDOW + 4000)),
    ),
    3: (Kind.PREFIXED, (ref(Source.BASE, WINDOW, 3 * WINDOW),)),
    4: (Kind.COPY, (ref(Source.IMAGE, WINDOW, 0),)),
    6: (Kind.DIFFERENCE, (ref(Source.BASE, WINDOW - 500, 6 * WINDOW), ref(Source.ZEROS, 64, 0))),
}


def gathered(references: Iterable[Reference]) -> bytes:
    sources = {Source.BASE: BASE, Source.IMAGE: IMAGE, Source.ZEROS: bytes(len(BASE))}
    return b"".join(
        sources[one.source][one.offset : one.offset + one.length_bytes] for one in references
    )


def record_of(kind: Kind, content: bytes, known: bytes) -> bytes:
    match kind:
        case Kind.COPY | Kind.ZEROS:
            return b""
        case Kind.PREFIXED:
            return zstd.compress(content, zstd_dict=zstd.ZstdDict(known, is_raw=True).as_prefix)
        case Kind.DIFFERENCE:
            changes = bytes((a - b) % 256 for a, b in zip(content, known, strict=False))
            return zstd.compress(changes)
        case Kind.PLAIN | Kind.ZSTD:
            return zstd.compress(content)


def make_delta(
    change: Callable[[int, WindowEntry], WindowEntry] = lambda _, entry: entry,
) -> tuple[Payload, bytes]:
    """The delta of IMAGE against BASE, with what `change` makes of its entries."""
    entries, records = [], b""
    for number, offset in enumerate(range(0, len(IMAGE), WINDOW)):
        content = IMAGE[offset : offset + WINDOW]
        nothing: tuple[Reference, ...] = ()
        plain = Kind.ZEROS if content == bytes(len(content)) else Kind.ZSTD
        kind, references = RECIPES.get(number, (plain, nothing))
        record = record_of(kind, content, gathered(references))
        entry = WindowEntry(
            offset,
            len(content),
            digest(content),
            kind,
            len(records) if record else 0,
            len(record),
            digest(record) if record else bytes(32),
            pack_references(references),
        )
        entries.append(change(number, entry))
        records += record
    index = pack_index(PayloadIndex(WINDOW, len(IMAGE), tuple(entries)))
    blob = index + records
    return (
        Payload(
            DELTA,
            hashlib.sha256(blob).hexdigest(),
            len(blob),
            len(index),
            hashlib.sha256(index).hexdigest(),
            hashlib.sha256(BASE).hexdigest(),
            len(BASE),
        ),
        blob,
    )


@dataclass(slots=True)
class Bench:
    """A slot to write, the base beside it, and a mirror with both payloads."""

    installation: Installation
    mirror: Mirror
    slot: Slot
    base: Slot

    def install(self) -> Meter:
        meter = Meter()
        job = Job(self.installation, self.slot, self.base)
        install((job,), self.mirror, meter, lambda: None)
        assert self.slot.content == IMAGE
        assert self.base.deeds == [], "the active slot is only read"
        return meter

    def fetched_full(self) -> list[int]:
        """The windows that came from the full payload."""
        path = self.installation.payload.path
        index_bytes = self.installation.payload.index_bytes
        return [
            offset for name, offset in self.mirror.opened if name == path and offset >= index_bytes
        ]


def make_bench(delta: tuple[Payload, bytes] | None = None) -> Bench:
    installation, full = make_payload(IMAGE)
    payload, blob = delta or make_delta()
    mirror = Mirror({installation.payload.path: full, payload.path: blob})
    installation = replace(installation, delta=payload)
    slot = Slot(bytearray(noise(len(IMAGE), 50)), mirror)
    return Bench(installation, mirror, slot, Slot(bytearray(BASE), mirror))


def test_an_image_is_built_from_what_the_active_slot_has() -> None:
    bench = make_bench()
    meter = bench.install()
    assert bench.fetched_full() == []
    assert meter.fetched_bytes < bench.installation.payload.length_bytes // 2


@pytest.mark.parametrize("window", [1, 2, 3, 6])
def test_a_window_whose_base_has_drifted_comes_from_the_full_payload_and_only_that_one(
    window: int,
) -> None:
    _, references = RECIPES[window]
    bench = make_bench()
    bench.base.content[references[0].offset + 11] ^= 0x01
    bench.install()
    assert len(bench.fetched_full()) == 1


def test_a_base_that_is_another_one_costs_a_few_windows_and_no_error() -> None:
    bench = make_bench()
    bench.base.content[:] = noise(len(BASE), 77)
    bench.install()


@pytest.mark.parametrize("length", [1, WINDOW, 3 * WINDOW, len(BASE) - 1])
def test_a_base_that_is_too_short_is_no_error(length: int) -> None:
    bench = make_bench()
    del bench.base.content[length:]
    bench.install()


def test_without_a_base_the_full_payload_is_used() -> None:
    bench = make_bench()
    job = Job(bench.installation, bench.slot)
    install((job,), bench.mirror, Meter(), lambda: None)
    assert bench.slot.content == IMAGE
    assert {name for name, _ in bench.mirror.opened} == {bench.installation.payload.path}


def test_a_mirror_that_lacks_the_delta_or_has_half_of_it_serves_the_full_payload() -> None:
    for keep in (None, 0, 10, 200):
        bench = make_bench()
        assert bench.installation.delta is not None
        path = bench.installation.delta.path
        if keep is None:
            del bench.mirror.blobs[path]
        else:
            bench.mirror.blobs[path] = bench.mirror.blobs[path][:keep]
        try:
            bench.install()
        except FetchError:
            assert keep is not None
            assert bench.slot.writes() == []


def test_any_changed_byte_of_a_delta_costs_bytes_and_never_the_image() -> None:
    _, blob = make_delta()
    for position in range(0, len(blob), 37):
        bench = make_bench()
        assert bench.installation.delta is not None
        spoiled = bytearray(blob)
        spoiled[position] ^= 0x40
        bench.mirror.blobs[bench.installation.delta.path] = bytes(spoiled)
        bench.install()


@pytest.mark.parametrize("window", sorted(RECIPES))
def test_a_delta_that_lies_about_a_window_although_it_is_signed_costs_only_that_window(
    window: int,
) -> None:
    def lie(number: int, entry: WindowEntry) -> WindowEntry:
        if number != window:
            return entry
        references = [replace(one, offset=max(0, one.offset - 1)) for one in entry.references()]
        return replace(entry, packed_references=pack_references(references))

    bench = make_bench(make_delta(lie))
    bench.install()


def parse(content: bytes, image_bytes: int = 1024, base_bytes: int = 2000) -> PayloadIndex:
    return parse_delta_index(
        content,
        sha256=hashlib.sha256(content).hexdigest(),
        image_bytes=image_bytes,
        payload_bytes=10_000,
        base_bytes=base_bytes,
    )


def test_the_entry_that_these_tests_change_is_a_good_one() -> None:
    index = parse(packed(columns([ZEROS, copy(512, 1488)], 1024)))
    assert list(index.entries[1].references()) == [ref(Source.BASE, 512, 1488)]


@pytest.mark.parametrize(
    "references",
    [
        [(Source.BASE, 512, 1489)],
        [(Source.BASE, 512, 2**63 - 1)],
        [(Source.BASE, 512, -1)],
        [(Source.BASE, 512, -(2**63))],
        [(Source.BASE, 2**32 - 1, 0)],
        [(Source.IMAGE, 512, 1)],
        [(Source.IMAGE, 513, 0)],
        [(3, 512, 0)],
        [(255, 512, 0)],
        [(Source.BASE, 511, 0)],
        [(Source.BASE, 512, 0)] * 2,
        [(Source.BASE, 512, 0), (Source.BASE, 0, 0)],
        [(Source.BASE, 0, 0), (Source.BASE, 512, 0)],
        [],
        [(Source.BASE, 512, 0)] * 65535,
        [(Source.ZEROS, 1, 0)] * 511 + [(Source.BASE, 1, 2000)],
    ],
)
def test_a_reference_outside_what_the_device_has_is_refused(
    references: list[tuple[int, int, int]],
) -> None:
    with pytest.raises(PayloadError):
        parse(packed(columns([ZEROS, Draft(Kind.COPY, beside=tuple(references))], 1024)))


@pytest.mark.parametrize("count", [4096, 4097])
def test_an_entry_has_a_bounded_number_of_references(count: int) -> None:
    window = 65536
    references = ((Source.ZEROS, 8, 0),) * (count - 1)
    draft = Draft(Kind.COPY, beside=(*references, (Source.BASE, window - 8 * (count - 1), 0)))
    content = packed(columns([ZEROS] * 16 + [draft], 17 * window, window))
    if count == 4096:
        assert len(list(parse(content, 17 * window, window).entries[16].references())) == count
    else:
        with pytest.raises(PayloadError, match="at most 4096"):
            parse(content, 17 * window, window)


def test_all_entries_together_have_a_bounded_number_of_references() -> None:
    many = Draft(Kind.COPY, beside=((Source.ZEROS, 1, 0),) * 512)
    one = copy(512)
    parse(packed(columns([many, one, ZEROS, one], 2048)), 2048)
    with pytest.raises(PayloadError, match="more than a device has room for"):
        parse(packed(columns([many, many, one], 1536)), 1536)


@pytest.mark.parametrize("length", [0, 7, 1024 * 1024 + 1])
def test_a_prefix_that_no_decoder_takes_is_refused(length: int) -> None:
    draft = Draft(Kind.PREFIXED, before=((Source.ZEROS, length, 0),), record_length=20)
    with pytest.raises(PayloadError):
        parse(packed(columns([ZEROS, draft], 1024)))


@pytest.mark.parametrize("entries", [0, 1, 3, 2**32 - 1])
def test_another_number_of_entries_than_the_image_has_is_refused(entries: int) -> None:
    content = columns([ZEROS, copy(512)], 1024, entries=entries)
    with pytest.raises(PayloadError):
        parse(packed(content))


@pytest.mark.parametrize("change", [-1, 1])
def test_columns_that_end_early_or_late_are_refused(change: int) -> None:
    content = columns([ZEROS, copy(512)], 1024)
    with pytest.raises(PayloadError, match=r"early|expected"):
        parse(packed((content + b"\0")[: len(content) + change]))


@settings(max_examples=300)
@given(st.integers(0, 2**32), st.integers(1, 6))
def test_a_delta_index_that_lies_anywhere_refers_to_nothing_outside_or_is_refused(
    seed: int, changes: int
) -> None:
    chance = Random(seed)
    payload, blob = make_delta()
    plain = bytearray(zstd.ZstdDecompressor().decompress(blob[PACKED.size : payload.index_bytes]))
    for _ in range(changes):
        plain[chance.randrange(len(plain))] = chance.randrange(256)
    content = packed(bytes(plain))
    try:
        index = parse_delta_index(
            content,
            sha256=hashlib.sha256(content).hexdigest(),
            image_bytes=len(IMAGE),
            payload_bytes=payload.length_bytes,
            base_bytes=len(BASE),
        )
    except PayloadError:
        return
    assert sum(entry.length_bytes for entry in index.entries) == len(IMAGE)
    for entry in index.entries:
        assert entry.record_offset + entry.record_length <= payload.length_bytes
        for one in entry.references():
            limit = {Source.BASE: len(BASE), Source.IMAGE: entry.offset}.get(one.source, 2**32)
            assert one.offset + one.length_bytes <= limit


@given(st.binary(max_size=200))
def test_any_bytes_are_a_delta_index_or_refused(content: bytes) -> None:
    header = columns([], 1024)[: COLUMNS.size - 4] + b"\2\0\0\0"
    for given_bytes in (content, b"LKGDLT02" + content, packed(content), packed(header + content)):
        with pytest.raises(PayloadError):
            parse(given_bytes)


@pytest.mark.parametrize("length", [0, 19, 2**32 - 1, 65 * 2**20])
def test_an_index_that_unpacks_to_more_than_any_may_be_is_refused_packed(length: int) -> None:
    with pytest.raises(PayloadError):
        parse(packed(bytes(2**20), length), image_bytes=2**40)


def test_an_index_of_before_is_refused() -> None:
    content = packed(columns([ZEROS, copy(512)], 1024)).replace(b"LKGDLT02", b"LKGDLT01")
    with pytest.raises(PayloadError, match="was expected first"):
        parse(content)


@given(st.binary(max_size=300), st.integers(0, 2**32))
def test_bytes_are_added_one_by_one(base: bytes, seed: int) -> None:
    other = Random(seed).randbytes(len(base))
    assert add_bytes(base, other) == bytes((a + b) % 256 for a, b in zip(base, other, strict=True))


@pytest.mark.parametrize("length", [STEP_BYTES - 1, STEP_BYTES, STEP_BYTES + 1, 3 * STEP_BYTES + 5])
def test_bytes_are_added_one_by_one_across_steps(length: int) -> None:
    base, other = noise(length, 1), noise(length, 2)
    assert add_bytes(base, other) == bytes((a + b) % 256 for a, b in zip(base, other, strict=True))
