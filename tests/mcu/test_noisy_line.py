"""Lines that lose or flip one byte in a thousand, both ways: every image ends right or is reported."""

from random import Random
from typing import Final

import pytest

from agent.flash.entry import EntrySettings, NoEntry
from simulator.clock import SimulatedClock
from simulator.mcu.noisy_line import NOISE, NOISY, Tally, Verdict, make_bench, one_round
from simulator.mcu.wire import LineFaults
from simulator.serial_line import SimulatedSerialLine
from tests.flash.chips import BY_DTR, BY_LINES

ROUNDS = 12
HOUR_S = 3600.0
ENTRIES: Final[dict[str, EntrySettings]] = {
    "stm32": BY_LINES,
    "stm32-checksum": BY_LINES,
    "avr": BY_DTR,
    "mcumgr": NoEntry(),
}


def _rounds(kind: str, noise: float) -> Tally:
    """Some images one after the other over the same line to the same chip, in virtual time."""
    bench, tally, chance = make_bench(kind, ENTRIES[kind]), Tally(kind), Random(kind)
    faults = LineFaults(seed=3, flip=noise / 2, drop=noise / 2, both_ways=True)
    line = SimulatedSerialLine(SimulatedClock(), bench.chip, faults=faults)
    line.wire.reset(0.0)
    line.wait(1.0)
    for _ in range(ROUNDS):
        began_s = line.clock.now_s
        one_round(bench, line, bench.content(chance), tally)
        assert line.clock.now_s - began_s < HOUR_S
    assert line.wire.disturbed > ROUNDS
    return tally


@pytest.mark.parametrize("kind", NOISY)
def test_one_byte_in_a_thousand_costs_time_and_nothing_else(kind: str) -> None:
    tally = _rounds(kind, NOISE)
    assert tally.ends[Verdict.WRONG] == 0
    assert tally.ends[Verdict.RIGHT] >= ROUNDS - 1, tally.ends


@pytest.mark.parametrize("kind", NOISY)
def test_one_byte_in_thirty_is_reported_and_never_called_done(kind: str) -> None:
    tally = _rounds(kind, 1 / 30)
    assert tally.ends.total() == ROUNDS
    assert tally.ends[Verdict.WRONG] == 0
    assert tally.ends[Verdict.RIGHT] < ROUNDS
