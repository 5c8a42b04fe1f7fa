"""The store: exactly once, bounded, in order, and whole after a cut."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from agent.errors import ConfigError, StateError
from agent.report import Outcome, Presence
from fleet.store import REPORTS_PER_DEVICE_MAX, Batch, FailureCount, OutcomeCount, Store
from tests.fleet.running.parts import NOW, STATUS, a_report


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "store.sqlite")
    store.open()
    with closing(store):
        yield store


def test_a_report_is_kept_as_it_arrived_first(store: Store) -> None:
    report = a_report("heron")
    assert store.keep(Batch(reports=(report, report)), NOW) == (1, 2)
    assert store.keep(Batch(reports=(replace(report, detail="changed"),)), NOW) == (3,)
    (kept,) = store.reports("heron")
    assert kept.report == report
    assert (kept.first_received, kept.times_received) == (NOW, 3)


def test_a_device_cannot_take_the_id_of_anothers_report(store: Store) -> None:
    stolen = replace(a_report("thief"), id=a_report("heron").id)
    assert store.keep(Batch(reports=(stolen,)), NOW) == (1,)
    assert store.keep(Batch(reports=(a_report("heron"),)), NOW) == (1,)
    assert len(store.reports("heron")) == 1


def test_one_device_cannot_fill_the_store(store: Store) -> None:
    reports = tuple(a_report("noisy", str(n)) for n in range(REPORTS_PER_DEVICE_MAX + 50))
    store.keep(Batch(reports=(a_report("quiet"), *reports)), NOW)
    kept = store.reports("noisy")
    assert len(kept) == REPORTS_PER_DEVICE_MAX
    assert kept[-1].report == reports[-1]
    assert len(store.reports("quiet")) == 1


def test_the_last_status_counts(store: Store) -> None:
    later = replace(STATUS, phase="trial", done_bytes=200)
    store.keep(Batch(statuses=(STATUS, later)), NOW)
    (row,) = store.devices()
    assert (row.phase, row.done_bytes, row.online, row.last_outcome) == ("trial", 200, None, "")


def test_the_will_of_an_old_session_does_not_hide_the_new_one(store: Store) -> None:
    def online_after(*messages: Presence) -> bool | None:
        store.keep(Batch(presences=tuple(("heron", message) for message in messages)), NOW)
        return store.devices()[0].online

    assert online_after(Presence(online=True, session="one")) is True
    assert online_after(Presence(online=False, session="one")) is False
    assert online_after(Presence(online=True, session="two")) is True
    assert online_after(Presence(online=False, session="one")) is True
    assert online_after(Presence(online=False, session="two")) is False


def test_devices_are_counted_once_per_outcome_and_issue(store: Store) -> None:
    failed, reverted = Outcome.FAILED, Outcome.REVERTED
    store.keep(
        Batch(
            reports=(
                a_report("one", "1", outcome=failed, code="install"),
                a_report("one", "2", outcome=failed, code="install"),
                a_report("one", "3", outcome=reverted, code="refused"),
                a_report("two", "1", outcome=reverted, code="refused"),
                a_report("two", "2", reissue=1, outcome=reverted, code="refused"),
                a_report("three", "1"),
            )
        ),
        NOW,
    )
    assert set(store.failures()) == {FailureCount("summer", 0, 2), FailureCount("summer", 1, 1)}
    assert set(store.outcomes()) == {
        OutcomeCount("summer", 0, "confirmed", 1),
        OutcomeCount("summer", 0, "failed", 1),
        OutcomeCount("summer", 0, "reverted", 2),
        OutcomeCount("summer", 1, "reverted", 1),
    }


def test_the_table_of_devices_shows_the_last_report(store: Store) -> None:
    store.keep(Batch(reports=(a_report("heron", "1"),)), NOW)
    newer = a_report("heron", "2", outcome=Outcome.REVERTED, release="os-8")
    store.keep(Batch(reports=(newer,)), NOW + timedelta(hours=1))
    (row,) = store.devices()
    assert (row.last_outcome, row.last_release) == ("reverted", "os-8")
    assert row.last_received == "2026-11-21T13:00:00Z"


def test_what_was_stored_is_there_for_other_readers_at_once(store: Store, tmp_path: Path) -> None:
    store.keep(Batch(reports=(a_report("heron"),)), NOW)
    reader = Store(tmp_path / "store.sqlite")
    reader.open()
    with closing(reader):
        assert len(reader.reports("heron")) == 1


def test_a_batch_is_stored_whole_or_not_at_all(store: Store, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "store.sqlite")) as connection, connection:
        connection.execute("DROP TABLE presences")
    batch = Batch(
        reports=(a_report("heron"),),
        presences=(("heron", Presence(online=True, session="one")),),
    )
    with pytest.raises(StateError, match="cannot be used"):
        store.keep(batch, NOW)
    assert store.reports("heron") == ()


def test_a_store_of_another_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    first = Store(path)
    first.open()
    first.close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE schema_version SET version = 99")
    with pytest.raises(ConfigError, match="99 found"):
        Store(path).open()


def test_a_file_that_is_no_store_is_named(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    path.write_bytes(b"hello, world" * 200)
    with pytest.raises(StateError, match=r"store\.sqlite"):
        Store(path).open()
