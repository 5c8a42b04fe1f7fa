import itertools
from dataclasses import replace
from random import Random

import pytest

from agent.errors import FetchError, InstallError, PayloadError
from agent.install import FLUSH_BYTES, FLUSH_WRITTEN_BYTES, Job, Meter, install
from tests.core.payloads import WINDOW, Mirror, Slot, make_bench, make_payload, noise

LAST_BYTE = 1  # fetched first, to see that the mirror has the payload whole
IMAGE = noise(3 * WINDOW) + bytes(2 * WINDOW) + b"text " * 2000 + noise(700)


def test_the_slot_holds_the_image_and_what_is_behind_it_is_untouched() -> None:
    bench = make_bench(IMAGE, spare_bytes=5000)
    behind = bench.slot.read(len(IMAGE), 5000)
    bench.install()
    assert bench.slot.content[: len(IMAGE)] == IMAGE
    assert bench.slot.read(len(IMAGE), 5000) == behind
    assert bench.meter.done_bytes == bench.meter.total_bytes == len(IMAGE)
    assert bench.meter.fetched_bytes == bench.installation.payload.length_bytes + LAST_BYTE


@pytest.mark.parametrize("length", [1, 511, 512, 513, WINDOW - 1, WINDOW, WINDOW + 1, 3 * WINDOW])
def test_an_image_of_any_length_arrives(length: int) -> None:
    bench = make_bench(noise(length))
    bench.install()
    assert bench.slot.content == bench.image


def test_a_whole_payload_is_its_index_its_last_byte_and_one_request() -> None:
    bench = make_bench(IMAGE)
    bench.install()
    payload = bench.installation.payload
    assert [offset for _, offset in bench.mirror.opened] == [
        0,
        payload.length_bytes - 1,
        payload.index_bytes,
    ]


def test_a_slot_that_holds_the_image_costs_its_index_and_no_write() -> None:
    bench = make_bench(IMAGE, old=IMAGE)
    bench.install()
    assert bench.slot.writes() == []
    assert bench.meter.fetched_bytes == bench.installation.payload.index_bytes
    assert bench.meter.written_bytes == 0


def test_what_the_slot_holds_already_is_neither_fetched_nor_written() -> None:
    old = bytearray(IMAGE)
    old[4 * WINDOW + 5] ^= 0xFF
    bench = make_bench(IMAGE, old=bytes(old))
    bench.install()
    touched = {deed.offset // WINDOW for deed in bench.slot.writes()}
    assert touched == {0, 4}
    payload = bench.installation.payload
    assert bench.meter.fetched_bytes == payload.index_bytes + LAST_BYTE + WINDOW
    assert bench.slot.content == IMAGE


def test_the_slot_cannot_start_from_the_first_write_to_the_last() -> None:
    bench = make_bench(IMAGE)
    bench.install()
    first, *_, last = bench.slot.writes()
    assert (first.offset, first.content) == (0, bytes(512))
    assert bench.slot.deeds[bench.slot.deeds.index(first) + 1].verb == "flush"
    assert (last.offset, last.content) == (0, IMAGE[:512])
    assert bench.slot.deeds[-1].verb == "flush"
    sector = bytes(512)
    for deed in bench.slot.writes()[1:-1]:
        assert deed.offset >= 512, "the first sector is written twice: invalid, and valid"
    assert bench.slot.read(0, 512) != sector


@pytest.mark.parametrize("magic", [b"FAT", b"ext4"])
def test_the_sector_that_a_file_system_is_known_by_is_alone_between_two_flushes(
    magic: bytes,
) -> None:
    image = bytearray(noise(5 * 8192))
    if magic == b"ext4":
        image[:1024] = bytes(1024)
        image[1024 + 56 : 1024 + 58] = b"\x53\xef"
    bench = make_bench(bytes(image), window_bytes=8192)
    bench.install()
    rounds = [
        [(deed.offset, len(deed.content)) for deed in group]
        for verb, group in itertools.groupby(bench.slot.deeds, key=lambda deed: deed.verb)
        if verb == "write"
    ]
    assert rounds[:2] == [[(0, 512)], [(1024, 512)]]
    assert rounds[-1] == ([(1024, 512)] if magic == b"ext4" else [(0, 512)])
    assert all(len(group) == 1 for group in rounds[-4:])


def test_the_first_window_becomes_valid_only_after_all_the_rest_was_matched() -> None:
    bench = make_bench(IMAGE)
    bench.slot.spoil = lambda offset, content: (
        content if offset < WINDOW else content[:-1] + bytes([content[-1] ^ 1])
    )
    with pytest.raises(InstallError, match="read back"):
        bench.install()
    assert bench.slot.read(0, WINDOW) == bytes(WINDOW)


def test_a_first_window_that_does_not_read_back_is_refused() -> None:
    bench = make_bench(IMAGE)
    bench.slot.spoil = lambda offset, content: (
        b"\x55" * len(content) if offset == 0 and any(content) else content
    )
    with pytest.raises(InstallError, match="its first window"):
        bench.install()


def test_a_flush_that_fails_is_not_overlooked() -> None:
    bench = make_bench(IMAGE)
    bench.slot.flush_fails = True
    with pytest.raises(InstallError, match="flush"):
        bench.install()
    assert bench.slot.writes() == []


def test_an_image_that_is_larger_than_the_slot_is_refused_before_any_write() -> None:
    bench = make_bench(IMAGE)
    del bench.slot.content[-1]
    with pytest.raises(InstallError, match="do not fit"):
        bench.install()
    assert bench.slot.writes() == []


def test_wherever_the_network_goes_away_the_next_run_fetches_only_what_is_missing() -> None:
    whole = make_bench(IMAGE)
    whole.install()
    total = whole.meter.fetched_bytes
    for left_bytes in range(0, total, 997):
        bench = make_bench(IMAGE)
        bench.mirror.left_bytes = left_bytes
        with pytest.raises(FetchError):
            bench.install()
        assert bench.slot.read(0, 512) != IMAGE[:512]
        written = {deed.offset for deed in bench.slot.writes() if deed.offset >= WINDOW}
        second = bench.again()
        second.mirror.left_bytes = None
        second.install()
        assert second.slot.content == IMAGE
        again = {deed.offset for deed in second.slot.writes() if deed.offset >= WINDOW}
        assert not written & again
        assert second.meter.fetched_bytes <= total - max(0, left_bytes - 3 * WINDOW)


def test_running_it_again_after_it_succeeded_changes_nothing() -> None:
    bench = make_bench(IMAGE)
    bench.install()
    second = bench.again()
    second.install()
    assert second.slot.writes() == []


def test_runs_of_missing_windows_are_joined_into_one_request_each() -> None:
    image = noise(40 * WINDOW)
    old = bytearray(image)
    for window in (0, 5, 6, 7, 20, 21, 39):
        old[window * WINDOW] ^= 0xFF
    bench = make_bench(image, old=bytes(old))
    bench.install()
    assert len(bench.mirror.opened) == 6  # index, last byte, first window, 5 to 7, 20 and 21, 39


def lost_bytes_max(slots: tuple[Slot, ...]) -> int:
    """The most that was fetched for windows and not yet flushed, at any moment."""
    most = 0
    for slot in slots:
        begun: int | None = None
        since: int | None = None
        for deed in slot.deeds:
            match deed.verb:
                case "flush":
                    begun = since = None
                case "flush behind":
                    begun, since = since, None
                case _ if any(deed.content) and deed.offset >= WINDOW:
                    before = deed.fetched_bytes - len(deed.content)
                    since = before if since is None else since
                    most = max(most, deed.fetched_bytes - (since if begun is None else begun))
    return most


@pytest.mark.parametrize("window_bytes", [64 * 1024, 150 * 1024, 256 * 1024])
def test_never_more_than_a_part_of_a_mebibyte_is_fetched_and_not_flushed(window_bytes: int) -> None:
    bench = make_bench(noise(5 * FLUSH_BYTES + 777), window_bytes=window_bytes)
    bench.mirror.part_bytes = window_bytes
    bench.install()
    most = lost_bytes_max((bench.slot,)) + window_bytes  # and the first window, in memory
    assert FLUSH_BYTES // 2 < most <= FLUSH_BYTES + 2 * 64


def test_what_costs_no_fetching_is_made_durable_too() -> None:
    window_bytes = 64 * 1024
    image = noise(window_bytes) + bytes(3 * FLUSH_WRITTEN_BYTES)
    bench = make_bench(image, window_bytes=window_bytes)
    bench.install()
    begun, since, most = 0, 0, 0
    for deed in bench.slot.deeds:
        match deed.verb:
            case "flush":
                begun, since = 0, 0
            case "flush behind":
                begun, since = since, 0
            case _:
                since += len(deed.content)
        most = max(most, begun + since)
    assert FLUSH_WRITTEN_BYTES // 2 < most <= FLUSH_WRITTEN_BYTES


@pytest.mark.parametrize("every", [2, 7, 30, 100])
def test_hardly_a_window_is_written_that_the_slot_holds_here_or_there(every: int) -> None:
    windows, window_bytes, chance = 3000, 512, Random(every)
    image = noise(windows * window_bytes)
    old = bytearray(noise(len(image), 7))
    held = [number for number in range(1, windows) if not chance.randrange(every)]
    for number in held:
        place = number * window_bytes
        old[place : place + window_bytes] = image[place : place + window_bytes]
    bench = make_bench(image, window_bytes=window_bytes, old=bytes(old))
    bench.install()
    changed_bytes = (windows - len(held)) * window_bytes
    assert bench.slot.content == image
    assert bench.meter.written_bytes <= 1.01 * changed_bytes


def test_memory_is_bounded_by_windows_and_not_by_the_image() -> None:
    bench = make_bench(noise(40 * WINDOW))
    bench.install()
    assert bench.slot.read_bytes_max <= FLUSH_BYTES
    assert max(len(deed.content) for deed in bench.slot.writes()) <= WINDOW


def test_progress_is_told_at_every_window_also_while_it_reads() -> None:
    bench = make_bench(IMAGE, old=IMAGE)
    bench.install()
    assert bench.progressed >= len(IMAGE) // WINDOW


def two_parts(images: tuple[bytes, bytes]) -> tuple[Mirror, tuple[Job, ...], tuple[Slot, ...]]:
    mirror = Mirror()
    jobs, slots = [], []
    for part, image in zip(("boot", "root"), images, strict=True):
        installation, blob = make_payload(image, part=part)
        mirror.add(installation, blob)
        slots.append(Slot(bytearray(noise(len(image), 50)), mirror))
        jobs.append(Job(installation, slots[-1]))
    return mirror, tuple(jobs), tuple(slots)


def test_no_part_becomes_able_to_start_before_every_part_was_matched() -> None:
    images = (noise(5 * WINDOW, 1), noise(7 * WINDOW, 2))
    mirror, jobs, slots = two_parts(images)
    slots[1].spoil = lambda offset, content: content if offset != WINDOW else bytes(len(content))
    with pytest.raises(InstallError, match="part root"):
        install(jobs, mirror, Meter(), lambda: None)
    assert [slot.read(0, WINDOW) for slot in slots] == [bytes(WINDOW)] * 2


def test_a_part_that_is_whole_beside_one_that_is_not_is_made_invalid_with_it() -> None:
    images = (noise(5 * WINDOW, 1), noise(7 * WINDOW, 2))
    mirror, jobs, slots = two_parts(images)
    slots[0].content[:] = images[0]
    install(jobs, mirror, Meter(), lambda: None)
    assert [bytes(slot.content) for slot in slots] == list(images)
    assert slots[0].writes()[0].content == bytes(512)
    assert {deed.offset // WINDOW for deed in slots[0].writes()} == {0}


def test_each_part_of_an_installation_takes_as_many_requests_as_one_alone() -> None:
    mirror, jobs, _ = two_parts((noise(5 * WINDOW, 1), noise(7 * WINDOW, 2)))
    install(jobs, mirror, Meter(), lambda: None)
    assert len(mirror.opened) == 2 * 3


def test_a_mirror_without_the_end_of_a_payload_costs_the_standby_slot_nothing() -> None:
    bench = make_bench(IMAGE)
    path = bench.installation.payload.path
    bench.mirror.blobs[path] = bench.mirror.blobs[path][:-1]
    with pytest.raises(FetchError, match="truncated"):
        bench.install()
    assert bench.slot.writes() == []


def test_a_blob_that_is_not_there_is_a_matter_of_time() -> None:
    bench = make_bench(IMAGE)
    bench.mirror.blobs.clear()
    with pytest.raises(FetchError):
        bench.install()
    assert bench.slot.deeds == []


def test_an_index_of_another_image_is_refused_before_any_write() -> None:
    bench = make_bench(IMAGE)
    bench.installation = replace(bench.installation, length_bytes=len(IMAGE) - 1)
    with pytest.raises(PayloadError):
        bench.install()
    assert bench.slot.writes() == []
