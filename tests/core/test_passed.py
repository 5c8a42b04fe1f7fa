from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from agent.passed import FILE, PASSED_MAX, Reading, date_of, load, noted, store
from simulator.files import SimulatedFiles
from simulator.power import Power
from tests.core.samples import NOON

DAY = timedelta(days=1)
DAY_S = 86_400.0
READING = Reading("boot-1", 100, NOON, NOON)


def test_the_time_since_the_date_was_read_is_added() -> None:
    assert date_of(READING, NOON, "boot-1", 100 + DAY_S) == NOON + DAY


def test_a_newer_signed_date_counts_when_it_is_later_than_what_has_passed() -> None:
    assert date_of(READING, NOON + 2 * DAY, "boot-1", 100 + DAY_S) == NOON + 2 * DAY
    assert date_of(READING, NOON + DAY, "boot-1", 100 + 2 * DAY_S) == NOON + 2 * DAY


def test_another_boot_s_reading_says_nothing_of_the_time_in_between() -> None:
    assert date_of(READING, NOON, "boot-2", 100 + DAY_S) == NOON
    assert noted(READING, NOON, "boot-2", 7.5) == Reading("boot-2", 8, NOON, NOON)


def test_a_date_whose_keys_were_replaced_is_forgotten_with_all_that_was_added() -> None:
    assert date_of(READING, NOON - DAY, "boot-1", 100 + 5 * DAY_S) == NOON - DAY
    assert noted(READING, NOON - DAY, "boot-1", 100 + 5 * DAY_S).past == NOON - DAY


def test_without_a_newer_signed_date_it_stops_after_a_month() -> None:
    assert date_of(READING, NOON, "boot-1", 100 + 400 * DAY_S) == NOON + PASSED_MAX


def test_a_newer_signed_date_keeps_what_has_passed_and_begins_the_month_anew() -> None:
    found = noted(READING, NOON + DAY, "boot-1", 100 + 2 * DAY_S)
    assert found.past == NOON + 2 * DAY
    assert date_of(found, NOON + DAY, "boot-1", 100 + 33 * DAY_S) == NOON + 2 * DAY + PASSED_MAX


def test_there_is_no_date_after_the_last_one() -> None:
    last = datetime.max.replace(microsecond=0, tzinfo=UTC)
    reading = Reading("boot-1", 100, last - DAY, last - DAY)
    assert date_of(reading, last - DAY, "boot-1", 100 + 2 * DAY_S) == last
    assert noted(reading, last, "boot-1", 100 + 2 * DAY_S).past == last


def test_nothing_is_written_while_the_date_stands() -> None:
    assert noted(READING, NOON, "boot-1", 5000.0) is READING


def test_a_reading_is_stored_and_one_that_rotted_is_none() -> None:
    files = SimulatedFiles(Power())
    assert load(files) is None
    store(files, READING)
    assert load(files) == READING
    rotten = bytearray(files.content[FILE])
    rotten[rotten.index(b"100")] ^= 1
    files.content[FILE] = bytes(rotten)
    assert load(files) is None


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6), st.booleans()), max_size=8))
def test_the_date_never_goes_back_in_one_boot_while_the_keys_are_the_same(
    steps: list[tuple[int, int, bool]],
) -> None:
    reading, monotonic_s, signed = READING, 100.0, NOON
    before = NOON
    for waited_s, newer_s, look in steps:
        monotonic_s += waited_s
        signed += timedelta(seconds=newer_s)
        if look:
            reading = noted(reading, signed, "boot-1", monotonic_s)
        found = date_of(reading, signed, "boot-1", monotonic_s)
        assert found >= before - timedelta(seconds=1)  # the reading is rounded up
        before = found
