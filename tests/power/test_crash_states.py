"""The states that a cut may leave, counted by hand where that can be done."""

from simulator.block_device import PendingWrite
from simulator.explore.crash import (
    ChipFate,
    Extent,
    Picture,
    Unflushed,
    crash_states,
    leave,
    recipes,
)
from simulator.explore.state import ChipState, Fingerprints, essence

OLD, NEW = b"o" * 512, b"n" * 512


def picture(*writes: PendingWrite) -> Picture:
    pending = tuple(Unflushed("disk", write) for write in writes)
    return Picture({"journal.json": b"{}"}, {"disk": OLD * 8}, (), pending)


def contents(taken: Picture) -> set[bytes]:
    return {
        leave(taken, leaving).devices["disk"]
        for leaving in crash_states(taken, Fingerprints()).values()
    }


def test_without_pending_writes_there_is_one_state() -> None:
    assert contents(picture()) == {OLD * 8}


def test_a_write_of_one_sector_is_there_or_not() -> None:
    assert contents(picture(PendingWrite(512, NEW))) == {OLD * 8, OLD + NEW + OLD * 6}


def test_a_write_of_two_sectors_may_be_torn_at_either() -> None:
    assert contents(picture(PendingWrite(0, NEW * 2))) == {
        OLD * 8,
        NEW * 2 + OLD * 6,
        NEW + OLD * 7,
        OLD + NEW + OLD * 6,
    }


def test_writes_apart_survive_in_every_subset() -> None:
    taken = picture(*(PendingWrite(512 * place, NEW) for place in range(6)))
    assert len(contents(taken)) == 64


def test_a_write_that_changes_nothing_makes_no_state() -> None:
    assert contents(picture(PendingWrite(0, OLD))) == {OLD * 8}


def test_what_is_written_later_covers_what_was_written_before() -> None:
    newest = b"2" * 512
    taken = picture(PendingWrite(0, NEW), PendingWrite(0, newest))
    assert contents(taken) == {OLD * 8, NEW + OLD * 7, newest + OLD * 7}


def test_names_are_those_of_the_whole_states() -> None:
    prints = Fingerprints()
    taken = picture(PendingWrite(0, NEW * 2), PendingWrite(2048, NEW), PendingWrite(512, OLD))
    for name, leaving in crash_states(taken, prints).items():
        assert name == prints.state(leave(taken, leaving))


def test_every_fate_of_the_chips_meets_every_subset_of_the_writes() -> None:
    fates = tuple(ChipFate(told.decode(), {"motor": ChipState(told)}) for told in (b"on", b"torn"))
    pending = (Unflushed("disk", PendingWrite(0, NEW)), Unflushed("disk", PendingWrite(512, NEW)))
    taken = Picture({}, {"disk": OLD * 8}, (), pending, fates)
    prints = Fingerprints()
    left = {name: leave(taken, one) for name, one in crash_states(taken, prints).items()}
    assert len(left) == 2 * 4
    assert {state.chips["motor"].flash for state in left.values()} == {b"on", b"torn"}
    assert all(prints.state(state) == name for name, state in left.items())


def test_of_many_writes_each_is_lost_and_each_is_alone_once() -> None:
    subsets = {recipe for recipe in recipes(9) if all(e is Extent.WHOLE for _, e in recipe)}
    everything = tuple((place, Extent.WHOLE) for place in range(9))
    for place in range(9):
        assert everything[:place] in subsets
        assert everything[:place] + everything[place + 1 :] in subsets
        assert (everything[place],) in subsets


def test_no_more_than_one_write_is_torn() -> None:
    assert all(sum(e is not Extent.WHOLE for _, e in recipe) <= 1 for recipe in recipes(6))


def test_dates_and_counts_for_people_make_no_other_state() -> None:
    one = b'{"body":{"reports":[{"at":"2026-11-21T12:00:00Z","code":"ok"}]},"sha256":"1"}'
    two = one.replace(b"12:00:00", b"13:00:00").replace(b'"1"', b'"2"')
    assert essence(one) == essence(two)
    assert essence(one) != essence(one.replace(b'"ok"', b'"unhealthy"'))
