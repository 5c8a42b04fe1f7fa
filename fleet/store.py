"""What the devices said, in one SQLite file: plain SQL, one writer, many readers.

A report is kept once per (device, id) however often it arrives. The device is part of the key because
ids can be computed by anyone: another device must not be able to take an id first. A call that
returned is durable (write-ahead log, `synchronous = FULL`), which is what a receipt promises.

At most `REPORTS_PER_DEVICE_MAX` reports are kept of one device, so that none can fill the disk.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from agent.errors import ConfigError, StateError
from agent.report import Outcome, Presence, Report, Status
from agent.strict import TIME_FORMAT, format_time

VERSION: Final = 1
REPORTS_PER_DEVICE_MAX: Final = 1000
BUSY_S: Final = 10.0

SCHEMA: Final = """
CREATE TABLE schema_version (version INTEGER NOT NULL);
CREATE TABLE reports (
    device TEXT NOT NULL, id TEXT NOT NULL, fleet TEXT NOT NULL, outcome TEXT NOT NULL,
    code TEXT NOT NULL, detail TEXT NOT NULL, "update" TEXT NOT NULL, rollout TEXT NOT NULL,
    reissue INTEGER NOT NULL, "release" TEXT NOT NULL, counter INTEGER NOT NULL, slot TEXT NOT NULL,
    attempts INTEGER NOT NULL, fetched_bytes INTEGER NOT NULL, written_bytes INTEGER NOT NULL,
    at TEXT NOT NULL, time TEXT NOT NULL, agent TEXT NOT NULL,
    arrival INTEGER NOT NULL, first_received TEXT NOT NULL, times_received INTEGER NOT NULL,
    PRIMARY KEY (device, id)
);
CREATE INDEX reports_by_rollout ON reports (rollout, reissue, outcome, device);
CREATE INDEX reports_by_arrival ON reports (device, arrival);
CREATE TABLE statuses (
    device TEXT PRIMARY KEY, fleet TEXT NOT NULL, at TEXT NOT NULL, boot_id TEXT NOT NULL,
    slot TEXT NOT NULL, "release" TEXT NOT NULL, counter INTEGER NOT NULL, phase TEXT NOT NULL,
    "update" TEXT NOT NULL, target TEXT NOT NULL, done_bytes INTEGER NOT NULL,
    total_bytes INTEGER NOT NULL, detail TEXT NOT NULL, reports_waiting INTEGER NOT NULL,
    agent TEXT NOT NULL, received TEXT NOT NULL
);
CREATE TABLE presences (
    device TEXT PRIMARY KEY, online INTEGER NOT NULL, session TEXT NOT NULL, received TEXT NOT NULL
);
"""

FIND_SCHEMA: Final = "SELECT 1 FROM sqlite_master WHERE name = 'schema_version'"
REPORT_COLUMNS: Final = tuple(field.name for field in fields(Report))
STATUS_COLUMNS: Final = tuple(field.name for field in fields(Status))


def _insert(table: str, columns: Sequence[str]) -> str:
    names = ", ".join(f'"{column}"' for column in columns)
    marks = ", ".join("?" for _ in columns)
    return f"INSERT INTO {table} ({names}) VALUES ({marks})"  # noqa: S608  # our own column names


KEEP_REPORT: Final = (
    _insert("reports", (*REPORT_COLUMNS, "first_received", "arrival", "times_received"))
    + " ON CONFLICT (device, id) DO UPDATE SET times_received = times_received + 1"
    + " RETURNING times_received"
)
KEEP_STATUS: Final = (
    _insert("statuses", (*STATUS_COLUMNS, "received"))
    + " ON CONFLICT (device) DO UPDATE SET "
    + ", ".join(f'"{column}" = excluded."{column}"' for column in (*STATUS_COLUMNS, "received"))
)
# The last will of an old session may arrive after the new session has said that it is online.
KEEP_PRESENCE: Final = """
INSERT INTO presences (device, online, session, received) VALUES (?, ?, ?, ?)
ON CONFLICT (device) DO UPDATE
    SET online = excluded.online, session = excluded.session, received = excluded.received
    WHERE excluded.online = 1 OR presences.online = 0 OR presences.session = excluded.session
"""
NEXT_ARRIVAL: Final = "SELECT COALESCE(MAX(arrival), 0) + 1 FROM reports WHERE device = ?"
FORGET_OLDEST: Final = "DELETE FROM reports WHERE device = ? AND arrival <= ?"
OUTCOMES: Final = """
SELECT rollout, reissue, outcome, COUNT(DISTINCT device) FROM reports
GROUP BY rollout, reissue, outcome ORDER BY rollout, reissue, outcome
"""
FAILURES: Final = """
SELECT rollout, reissue, COUNT(DISTINCT device) FROM reports
WHERE outcome IN (?, ?) GROUP BY rollout, reissue
"""
DEVICES: Final = """
WITH names AS (SELECT device FROM statuses UNION SELECT device FROM presences
               UNION SELECT device FROM reports)
SELECT names.device, presences.online, statuses.slot, statuses."release", statuses.counter,
       statuses.phase, statuses.target, statuses.done_bytes, statuses.total_bytes,
       statuses.reports_waiting, statuses.received, last.outcome, last.code, last."release",
       last.first_received
FROM names
LEFT JOIN presences USING (device)
LEFT JOIN statuses USING (device)
LEFT JOIN reports AS last ON last.device = names.device AND last.arrival =
    (SELECT MAX(arrival) FROM reports WHERE reports.device = names.device)
ORDER BY names.device
"""


@dataclass(frozen=True, slots=True)
class StoredReport:
    """A report, when it was first stored, and how often it has arrived."""

    report: Report
    first_received: datetime
    times_received: int


@dataclass(frozen=True, slots=True)
class OutcomeCount:
    """How many devices reported this outcome for one issue of a rollout."""

    rollout: str
    reissue: int
    outcome: str
    devices: int


@dataclass(frozen=True, slots=True)
class FailureCount:
    """How many different devices failed or reverted in one issue of a rollout."""

    rollout: str
    reissue: int
    devices: int


@dataclass(frozen=True, slots=True)
class DeviceRow:
    """One line of the table of devices; None and empty where the device has not said it yet."""

    device: str
    online: bool | None
    slot: str
    release: str
    counter: int | None
    phase: str
    target: str
    done_bytes: int
    total_bytes: int
    reports_waiting: int
    status_received: str
    last_outcome: str
    last_code: str
    last_release: str
    last_received: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Messages to store together, each with the device that its topic names."""

    reports: tuple[Report, ...] = ()
    statuses: tuple[Status, ...] = ()
    presences: tuple[tuple[str, Presence], ...] = ()


class Store:
    """The SQLite file; use it in one thread, between `open` and `close`. Raises `StateError`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None

    def open(self) -> None:
        """Open the file, or make it. Raises `ConfigError` when it is from a newer version."""
        with self._translated():
            connection = sqlite3.connect(self._path, timeout=BUSY_S, isolation_level=None)
            self._connection = connection
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
        with self._transaction() as connection:
            if not connection.execute(FIND_SCHEMA).fetchone():
                for statement in SCHEMA.split(";"):
                    connection.execute(statement)
                connection.execute("INSERT INTO schema_version VALUES (?)", (VERSION,))
            version = connection.execute("SELECT version FROM schema_version").fetchone()[0]
        if version != VERSION:
            self.close()
            raise ConfigError(
                f"{self._path}: a store of version {VERSION} was expected, {version} found; "
                "use the lockgate-fleet that wrote it, or move the file away and start a new one"
            )

    def close(self) -> None:
        """Close the file. A second call does nothing."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def keep(self, batch: Batch, now: datetime) -> tuple[int, ...]:
        """Store a batch, durable on return; how often each of its reports has arrived by now.

        A power cut inside leaves all of the batch or nothing of it.
        """
        received = format_time(now)
        with self._transaction() as connection:
            times = tuple(_keep_report(connection, report, received) for report in batch.reports)
            connection.executemany(
                KEEP_STATUS,
                [(*_values(status, STATUS_COLUMNS), received) for status in batch.statuses],
            )
            connection.executemany(
                KEEP_PRESENCE,
                [
                    (device, presence.online, presence.session, received)
                    for device, presence in batch.presences
                ],
            )
        return times

    def devices(self) -> tuple[DeviceRow, ...]:
        """Every device that ever said anything, by name."""
        return tuple(_device_row(row) for row in self._rows(DEVICES))

    def reports(self, device: str) -> tuple[StoredReport, ...]:
        """The reports of one device, oldest first."""
        columns = ", ".join(f'"{column}"' for column in REPORT_COLUMNS)
        query = (
            f"SELECT {columns}, first_received, times_received FROM reports "  # noqa: S608  # our own names
            "WHERE device = ? ORDER BY arrival"
        )
        return tuple(_stored_report(row) for row in self._rows(query, device))

    def outcomes(self) -> tuple[OutcomeCount, ...]:
        """For every issue of every rollout, how many devices reported which outcome."""
        return tuple(OutcomeCount(*row) for row in self._rows(OUTCOMES))

    def failures(self) -> tuple[FailureCount, ...]:
        """For every issue of every rollout with any, how many devices failed or reverted."""
        rows = self._rows(FAILURES, Outcome.FAILED, Outcome.REVERTED)
        return tuple(FailureCount(*row) for row in rows)

    def _rows(self, query: str, *values: str) -> Iterable[tuple[Any, ...]]:
        with self._translated():
            rows: list[tuple[Any, ...]] = self._opened().execute(query, values).fetchall()
        return rows

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._opened()
        with self._translated():
            connection.execute("BEGIN IMMEDIATE")
            with connection:
                yield connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StateError(
                f"{self._path}: the store cannot be used: {error}; "
                "is the disk full, or the folder not writable?"
            ) from error

    def _opened(self) -> sqlite3.Connection:
        assert self._connection is not None, "the store is not open"
        return self._connection


def _keep_report(connection: sqlite3.Connection, report: Report, received: str) -> int:
    arrival: int = connection.execute(NEXT_ARRIVAL, (report.device,)).fetchone()[0]
    values = (*_values(report, REPORT_COLUMNS), received, arrival, 1)
    times: int = connection.execute(KEEP_REPORT, values).fetchone()[0]
    if times == 1 and arrival > REPORTS_PER_DEVICE_MAX:
        connection.execute(FORGET_OLDEST, (report.device, arrival - REPORTS_PER_DEVICE_MAX))
    return times


def _values(message: Report | Status, columns: Sequence[str]) -> tuple[str | int, ...]:
    values = (getattr(message, column) for column in columns)
    return tuple(format_time(value) if isinstance(value, datetime) else value for value in values)


def _time(text: str) -> datetime:
    return datetime.strptime(text, TIME_FORMAT).replace(tzinfo=UTC)


def _stored_report(row: tuple[Any, ...]) -> StoredReport:
    values = dict(zip(REPORT_COLUMNS, row, strict=False))
    values["outcome"] = Outcome(values["outcome"])
    values["at"] = _time(values["at"])
    return StoredReport(Report(**values), _time(row[-2]), row[-1])


def _device_row(row: tuple[Any, ...]) -> DeviceRow:
    values = dict(zip((field.name for field in fields(DeviceRow)), row, strict=True))
    for name, value in values.items():
        if value is None and name not in ("online", "counter"):
            values[name] = 0 if name.endswith(("_bytes", "_waiting")) else ""
    values["online"] = None if values["online"] is None else bool(values["online"])
    return DeviceRow(**values)
