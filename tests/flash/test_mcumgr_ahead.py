"""Requests on their way before the first is answered: only what the server has room for, and never a loss."""

import dataclasses

import pytest

from agent.flash.mcumgr import McumgrFlasher, Way
from agent.flash.smp import SmpClient, SmpSettings
from agent.flash.smp_images import Upload
from simulator.mcu.mcuboot_chip import ChipFaults
from simulator.mcu.smp_queue import NRF52, FlashTimes, SmpQueue, Work
from tests.flash.mcumgr_bench import LARGE, Bench, images

ADAPTER_S = 0.016
SLOW = FlashTimes(byte_write_s=2e-4)
"""So slow that requests meet in the chip."""
PROGRAM_BYTES = 20_000


def _bench(
    under_way: int,
    *,
    latency_s: float = 0.0,
    times: FlashTimes = SLOW,
    way: Way = Way.APPLICATION,
    buffer_count: int = 4,
) -> Bench:
    bench = Bench(LARGE, made=images(PROGRAM_BYTES), way=way)
    bench.chip.times, bench.line.latency_s = times, latency_s
    bench.server.buffer_count = buffer_count
    bench.settings = dataclasses.replace(bench.settings, requests_under_way=under_way)
    bench.flasher = McumgrFlasher(bench.line, bench.settings)
    bench.chip.recovery_next = way is Way.RECOVERY
    bench.power_on()
    return bench


def _upload_s(bench: Bench) -> float:
    """How long the upload takes, which must end in the right bytes."""
    bench.flasher.identify()
    began_s = bench.clock.now_s
    bench.flasher.write(bench.flasher.plan(bench.new, lambda _: None), lambda _: None)
    took_s = bench.clock.now_s - began_s
    bench.flasher.verify(bench.new, lambda _: None)
    slot = 0 if bench.settings.way is Way.RECOVERY else 1
    assert bench.server.mcuboot.content(slot, len(bench.images.new)) == bench.images.new
    return took_s


@pytest.mark.parametrize("latency_s", [0.0, ADAPTER_S])
def test_an_adapter_and_a_flash_are_not_waited_for(latency_s: float) -> None:
    times = FlashTimes(byte_write_s=1e-5)
    one_s = _upload_s(_bench(1, latency_s=latency_s, times=times))
    bench = _bench(2, latency_s=latency_s, times=times)
    two_s = _upload_s(bench)
    assert bench.flasher.traffic.fallbacks == bench.chip.queue.lost_lines == 0
    assert two_s < one_s - 0.9 * (bench.flasher.traffic.round_trips - 5) * latency_s
    slow_s = _upload_s(_bench(2, latency_s=2 * ADAPTER_S, times=times))
    assert slow_s < two_s + 0.3


@pytest.mark.parametrize("buffer_count", [1, 2, 3, 4, 8, 20])
@pytest.mark.parametrize("under_way", [1, 2, 3, 8])
def test_no_more_are_on_their_way_than_the_server_has_room_for(
    under_way: int, buffer_count: int
) -> None:
    bench = _bench(under_way, buffer_count=buffer_count)
    _upload_s(bench)
    assert bench.chip.queue.most_at_once == max(1, min(under_way, buffer_count - 1))
    assert bench.chip.queue.lost_lines == bench.flasher.traffic.resends == 0


def test_more_than_the_server_has_room_for_are_lost_and_sent_again() -> None:
    bench = _bench(1)
    content = bench.images.new
    client = SmpClient(bench.line, SmpSettings())
    bench.flasher.identify()
    Upload(content, 0, 384, erase_s=5.0, answer_s=5.0, under_way=4).run(client, lambda _: None)
    assert bench.chip.queue.lost_lines > 0
    assert 1 <= client.traffic.fallbacks <= 4
    assert bench.server.mcuboot.content(1, len(content)) == content


def test_a_processor_that_stands_still_for_its_flash_costs_little() -> None:
    one_s = _upload_s(_bench(1, times=NRF52))
    bench = _bench(2, times=NRF52)
    assert _upload_s(bench) < one_s + 0.2
    assert bench.chip.queue.lost_lines > 0
    assert 1 <= bench.flasher.traffic.fallbacks <= 3
    assert bench.flasher.traffic.resends == 0


def test_one_lost_request_ends_it_for_a_while_only() -> None:
    one_s = _upload_s(_bench(1))
    bench = _bench(2)
    bench.chip.faults = ChipFaults(lost_requests=frozenset({10}))
    assert _upload_s(bench) < 0.8 * one_s
    assert bench.flasher.traffic.fallbacks == 1


def test_serial_recovery_gets_one_request_at_a_time() -> None:
    bench = _bench(8, way=Way.RECOVERY)
    _upload_s(bench)
    assert bench.chip.queue.most_at_once == 1


def test_a_server_that_tells_nothing_gets_one_request_at_a_time() -> None:
    bench = _bench(8)
    bench.server.tells_parameters = False
    _upload_s(bench)
    assert bench.chip.queue.most_at_once == 1


@pytest.mark.parametrize("number", range(3, 62, 2))
@pytest.mark.parametrize("under_way", [2, 3])
def test_whatever_is_lost_is_sent_again(number: int, under_way: int) -> None:
    for faults in (
        ChipFaults(lost_requests=frozenset({number})),
        ChipFaults(lost_answers=frozenset({number})),
        ChipFaults(lost_answers=frozenset({number, number + 1})),
    ):
        bench = _bench(under_way, times=FlashTimes())
        bench.chip.faults = faults
        _upload_s(bench)
        assert bench.flasher.traffic.fallbacks <= 1


@pytest.mark.parametrize("late_s", [1.0, 3.0, 8.0])
def test_late_answers_are_not_taken_for_others(late_s: float) -> None:
    bench = _bench(3, times=FlashTimes())
    bench.chip.faults = ChipFaults(late_s=dict.fromkeys(range(8, 60, 5), late_s))
    _upload_s(bench)


@pytest.mark.parametrize("seed", range(6))
def test_a_noisy_line_only_costs_time(seed: int) -> None:
    bench = _bench(3)
    faults = bench.line.faults
    faults.seed, faults.both_ways = seed, True
    faults.flip, faults.drop, faults.double = 2e-4, 2e-4, 2e-4
    _upload_s(bench)


def test_a_server_short_of_memory_is_given_one_request_at_a_time() -> None:
    bench = _bench(3)
    bench.server.faults.no_memory_at = frozenset({4000})
    _upload_s(bench)
    assert bench.flasher.traffic.fallbacks == 1


def test_a_server_that_takes_less_than_it_was_sent_gets_the_rest_again() -> None:
    bench = _bench(2)
    bench.server.unit_bytes = 16
    _upload_s(bench)
    assert 1 <= bench.flasher.traffic.fallbacks <= 4


def test_lines_wait_for_a_server_that_puts_them_together_itself() -> None:
    queue = SmpQueue(4, FlashTimes(page_erase_s=1.0), lines_kept=2)
    assert queue.take(0.0, Work(erased_pages=1, written_bytes=0)) == 1.0
    heard = [queue.hears(at / 10, at / 10 + 0.05, first=False) for at in range(1, 12)]
    assert heard == [True, True] + [False] * 7 + [True] * 2
