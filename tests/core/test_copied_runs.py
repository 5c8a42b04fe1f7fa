"""One entry of a delta may copy many windows: each of them is still looked at, and replaced, by itself."""

import hashlib
from dataclasses import replace

import pytest

from agent.errors import InstallError, PayloadError
from agent.install import Job, Meter, install
from agent.payload import Kind, PayloadIndex, Source, WindowEntry, pack_references, windows_digest
from agent.payload import Reference as Ref
from agent.release import DELTA, Payload
from fleet.delta.columns import pack_index
from tests.core.payloads import WINDOW, Mirror, Slot, digest, make_payload, noise
from tests.core.test_delta import Bench as DeltaBench

COUNT = 14
BASE = noise(20 * WINDOW, 5)
MOVED = 3 * WINDOW + 512
IMAGE = noise(WINDOW, 6) + BASE[MOVED : MOVED + COUNT * WINDOW] + noise(WINDOW, 7)


def hashes(content: bytes) -> list[bytes]:
    return [digest(content[start : start + WINDOW]) for start in range(0, len(content), WINDOW)]


def make_delta() -> tuple[Payload, bytes]:
    """A new window, a run of copied ones in two ranges, and a new window."""
    cut = 5 * WINDOW + 100
    run = pack_references(
        [Ref(Source.BASE, cut, MOVED), Ref(Source.BASE, COUNT * WINDOW - cut, MOVED + cut)]
    )
    first, last = IMAGE[:WINDOW], IMAGE[-WINDOW:]
    inside = IMAGE[WINDOW:-WINDOW]
    entries = (
        WindowEntry(0, WINDOW, digest(first), Kind.PLAIN, 0, WINDOW, digest(first)),
        WindowEntry(
            WINDOW, len(inside), windows_digest(hashes(inside)), Kind.COPY, 0, 0, bytes(32), run
        ),
        WindowEntry(
            len(IMAGE) - WINDOW, WINDOW, digest(last), Kind.PLAIN, WINDOW, WINDOW, digest(last)
        ),
    )
    index = pack_index(PayloadIndex(WINDOW, len(IMAGE), entries))
    blob = index + first + last
    ends = hashlib.sha256(blob).hexdigest(), len(blob)
    sums = hashlib.sha256(index).hexdigest(), hashlib.sha256(BASE).hexdigest()
    return Payload(DELTA, *ends, len(index), *sums, len(BASE)), blob


class Bench(DeltaBench):
    """A slot, the base and a mirror with both payloads."""

    def run(self) -> Meter:
        meter = Meter()
        install((Job(self.installation, self.slot, self.base),), self.mirror, meter, lambda: None)
        assert self.slot.content == IMAGE
        return meter

    def written(self) -> set[int]:
        return {deed.offset // WINDOW for deed in self.slot.writes()}


def make_bench(old: bytes | None = None, base: bytes = BASE) -> Bench:
    installation, full = make_payload(IMAGE)
    payload, blob = make_delta()
    mirror = Mirror({installation.payload.path: full, payload.path: blob})
    installation = replace(
        installation, delta=payload, windows_sha256=windows_digest(hashes(IMAGE)).hex()
    )
    slot = Slot(bytearray(noise(len(IMAGE), 50) if old is None else old), mirror)
    return Bench(installation, mirror, slot, Slot(bytearray(base), mirror))


def test_a_run_is_copied_window_by_window() -> None:
    bench = make_bench()
    bench.run()
    assert bench.fetched_full() == []
    assert max(len(deed.content) for deed in bench.slot.writes()) == WINDOW


def test_of_a_run_only_what_the_slot_lacks_is_written() -> None:
    old = bytearray(IMAGE)
    old[4 * WINDOW + 9] ^= 1
    bench = make_bench(bytes(old))
    bench.run()
    assert bench.written() == {0, 4}


@pytest.mark.parametrize("drifted", [{0}, {6}, {COUNT - 1}, {2, 3, 9}])
def test_of_a_run_that_has_drifted_only_the_windows_that_changed_are_fetched(
    drifted: set[int],
) -> None:
    base = bytearray(BASE)
    for number in drifted:
        base[MOVED + number * WINDOW + 700] ^= 1
    bench = make_bench(base=bytes(base))
    meter = bench.run()
    full = bench.installation.payload
    assert len(bench.fetched_full()) == len(drifted)
    travelled = sum(len(blob) for blob in (*bench.mirror.blobs.values(),)) - full.length_bytes
    assert meter.fetched_bytes <= travelled + full.index_bytes + (len(drifted) + 1) * WINDOW


class OneBadSector(Slot):
    """A base of which one place cannot be read."""

    def read(self, offset: int, length_bytes: int) -> bytes:
        if offset <= MOVED + 6 * WINDOW < offset + length_bytes:
            raise InstallError("a sector cannot be read")
        return Slot.read(self, offset, length_bytes)


def test_a_bad_sector_below_a_run_costs_the_windows_beside_it() -> None:
    bench = make_bench()
    bench.base = OneBadSector(bytearray(BASE), bench.mirror)
    bench.run()
    assert 1 <= len(bench.fetched_full()) <= 2


def test_a_base_that_is_another_one_costs_the_full_payload_and_no_error() -> None:
    bench = make_bench(base=noise(len(BASE), 77))
    bench.run()


def test_an_image_whose_windows_are_not_those_that_were_signed_never_starts() -> None:
    bench = make_bench()
    bench.installation = replace(bench.installation, windows_sha256=64 * "1")
    with pytest.raises(PayloadError, match="publish it anew"):
        bench.run()
    assert bench.slot.read(0, 512) == bytes(512)


def test_a_full_payload_of_another_image_is_refused_before_any_write() -> None:
    bench = make_bench()
    bench.installation = replace(bench.installation, delta=None, windows_sha256=64 * "1")
    with pytest.raises(PayloadError, match="publish it anew"):
        bench.run()
    assert bench.slot.writes() == []


def test_a_medium_that_loses_early_windows_to_later_ones_is_found_out() -> None:
    """One that is smaller than it says begins anew where it ends; all were right when they were flushed."""
    image = noise(200 * WINDOW)
    installation, full = make_payload(image)
    slot = Slot(bytearray(len(image)), Mirror({installation.payload.path: full}))
    installation = replace(installation, windows_sha256=windows_digest(hashes(image)).hex())
    half = len(image) // 2

    def wrapped(offset: int, content: bytes) -> bytes:
        if offset >= half:
            slot.content[offset - half : offset - half + len(content)] = content
        return content

    slot.spoil = wrapped
    with pytest.raises(InstallError, match="read back"):
        install((Job(installation, slot),), slot.mirror, Meter(), lambda: None)
