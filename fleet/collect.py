"""The collector: stores what devices report, and only then says that it is stored.

A receipt leaves after the transaction is durable. A cut between the two leaves a stored report without
a receipt: the device sends it again, it is counted again, stored once, and receipted.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, Protocol

from agent.errors import BrokerError, StateError, UpdateError
from agent.notice import Notice, encode_notice
from agent.report import IDS_MAX, Outcome, Receipt, Report, encode_receipt
from agent.rollout import Halts, Rollouts
from agent.topics import Topics
from fleet import files
from fleet.certificates import COLLECTOR_NAME, Holder, identity
from fleet.guard import HaltWish, verdicts
from fleet.incoming import sort
from fleet.notify import EVERY_DEVICE, last_notice
from fleet.session import BrokerAddress, Received, Session, backoff_s
from fleet.store import Store
from fleet.workspace import Workspace

BATCH_MAX: Final = 500
WAIT_S: Final = 0.25
STABLE_S: Final = 60.0
RESTORE_AFTER_S: Final = 1.0
GUARD_RETRY_S: Final = 10.0
HALT_SPREAD_S: Final = 0  # a halt is worth a burst
FAILURES: Final = (Outcome.FAILED, Outcome.REVERTED)


class EventKind(StrEnum):
    """What the collector tells of."""

    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    STORED = "stored"
    REPEATED = "repeated"
    STATUS = "status"
    PRESENCE = "presence"
    IGNORED = "ignored"
    HALTED = "halted"
    NOT_HALTED = "not-halted"
    RESTORED = "notice-restored"


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the collector's account."""

    kind: EventKind
    device: str
    detail: str


class Rail(Protocol):
    """What the guard reads, and how it halts. Raises `UpdateError`."""

    def documents(self) -> tuple[Rollouts, Halts]:
        """The rollouts and halts that are in force."""
        ...

    def halt(self, wish: HaltWish) -> None:
        """Sign the halt with the one online key and publish it; the collector notifies the fleet."""
        ...


class Collector:
    """Collects until it is stopped, or until nothing came for `idle_s`; runs in any one thread.

    `tell` hears of everything but statuses and presences, which are only counted.
    """

    def __init__(
        self,
        workspace: Workspace,
        *,
        tell: Callable[[Event], None],
        address: BrokerAddress | None = None,
        rail: Rail | None = None,
        idle_s: float | None = None,
    ) -> None:
        self._workspace = workspace
        self._tell = tell
        self._address = address
        self._rail = rail
        self._idle_s = idle_s
        self._fleet = ""
        self._store = Store(workspace.store)
        self._stop = threading.Event()
        self._connected = threading.Event()
        self._counts: Counter[EventKind] = Counter()
        self._last_message_s = 0.0
        self._guard_at_s: float | None = 0.0
        self._notice_seen = False
        self._notice_due = False

    @property
    def counts(self) -> Counter[EventKind]:
        """How often each thing happened so far."""
        return self._counts.copy()

    def stop(self) -> None:
        """Ask `run` to return, from any thread."""
        self._stop.set()

    def wait_connected(self, timeout_s: float) -> bool:
        """Whether it subscribed within this time; from any thread."""
        return self._connected.wait(timeout_s)

    def run(self) -> None:
        """Connect, collect, and connect again, with full jitter, when the session or the disk fails.

        Raises `ConfigError`, and `BrokerError` when it became idle without having been connected.
        """
        self._fleet = self._workspace.settings().name
        self._store.open()
        self._last_message_s = time.monotonic()
        failures = 0
        last_error: BrokerError | StateError | None = None
        try:
            while not self._over():
                started_s = time.monotonic()
                try:
                    self._collect()
                except (BrokerError, StateError) as error:
                    stable = time.monotonic() - started_s > STABLE_S
                    failures = 0 if stable else failures
                    last_error = error
                    self._count(EventKind.DISCONNECTED, "", str(error))
                    self._stop.wait(backoff_s(failures, random.SystemRandom().random()))
                    failures += 1
        finally:
            self._store.close()
        if last_error is not None and not self._connected.is_set() and not self._stop.is_set():
            raise last_error

    def _over(self) -> bool:
        idle_s = time.monotonic() - self._last_message_s
        return self._stop.is_set() or (self._idle_s is not None and idle_s >= self._idle_s)

    def _collect(self) -> None:
        settings = self._workspace.settings()
        address = self._address or BrokerAddress(settings.broker_host, settings.broker_port)
        session = Session(address, identity(self._workspace, Holder.COLLECTOR), COLLECTOR_NAME)
        topics = Topics(fleet=self._fleet, device="+")
        try:
            session.connect()
            session.subscribe(topics.report, topics.state, topics.presence, topics.fleet_notice)
            self._count(EventKind.CONNECTED, "", session.protocol)
            self._connected.set()
            self._notice_seen = False
            connected_s = time.monotonic()
            while not self._over():
                self._store_messages(session, session.receive(WAIT_S, BATCH_MAX))
                if not self._notice_seen and time.monotonic() - connected_s > RESTORE_AFTER_S:
                    self._restore_notice(session, topics.fleet_notice)
                self._guard()
                if self._notice_due:
                    self._send_notice(session, topics.fleet_notice)
        finally:
            session.close()

    def _store_messages(self, session: Session, messages: tuple[Received, ...]) -> None:
        if not messages:
            return
        self._last_message_s = time.monotonic()
        notice = Topics(fleet=self._fleet, device=EVERY_DEVICE).fleet_notice
        self._notice_seen |= any(message.topic == notice for message in messages)
        sorted_ = sort((message for message in messages if message.topic != notice), self._fleet)
        batch = sorted_.batch
        times = self._store.keep(batch, datetime.now(UTC))
        for ignored in sorted_.ignored:
            self._count(EventKind.IGNORED, ignored.device, ignored.reason)
        for report, count in zip(batch.reports, times, strict=True):
            self._account(report, count)
        self._counts[EventKind.STATUS] += len(batch.statuses)
        self._counts[EventKind.PRESENCE] += len(batch.presences)
        for device, ids in receipts(batch.reports):
            topic = Topics(fleet=self._fleet, device=device).receipt
            session.publish(topic, encode_receipt(Receipt(ids=ids)))
        session.flush()

    def _account(self, report: Report, count: int) -> None:
        kind = EventKind.STORED if count == 1 else EventKind.REPEATED
        again = f", received {count} times" if count > 1 else ""
        sentence = f"{report.outcome} {report.release} ({report.code}{again})"
        self._count(kind, report.device, sentence)
        if count == 1 and report.outcome in FAILURES and self._guard_at_s is None:
            self._guard_at_s = 0.0

    def _restore_notice(self, session: Session, topic: str) -> None:
        self._notice_seen = True
        path = last_notice(self._workspace)
        if path.is_file():
            session.publish(topic, path.read_bytes(), retain=True)
            session.flush()
            self._count(EventKind.RESTORED, "", "the broker had lost the fleet's notice")

    def _send_notice(self, session: Session, topic: str) -> None:
        """Tell the fleet of a halt; tried again in the next session when this one fails."""
        content = encode_notice(Notice(spread_s=HALT_SPREAD_S))
        files.replace(last_notice(self._workspace), content)
        session.publish(topic, content, retain=True)
        session.flush()
        self._notice_due = False

    def _guard(self) -> None:
        if self._rail is None or self._guard_at_s is None or time.monotonic() < self._guard_at_s:
            return
        self._guard_at_s = None
        try:
            for wish in verdicts(*self._rail.documents(), self._store.failures()):
                self._rail.halt(wish)
                self._notice_due = True
                self._count(EventKind.HALTED, "", f"rollout {wish.rollout}: {wish.reason}")
        except UpdateError as error:
            self._guard_at_s = time.monotonic() + GUARD_RETRY_S
            self._count(EventKind.NOT_HALTED, "", f"{error}; trying again")

    def _count(self, kind: EventKind, device: str, detail: str) -> None:
        self._counts[kind] += 1
        self._tell(Event(kind, device, detail))


def receipts(reports: tuple[Report, ...]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """For each device the ids to acknowledge, none twice, and not more than fit into one receipt."""
    by_device: dict[str, dict[str, None]] = {}
    for report in reports:
        by_device.setdefault(report.device, {})[report.id] = None
    return tuple(
        (device, tuple(ids)[start : start + IDS_MAX])
        for device, ids in by_device.items()
        for start in range(0, len(ids), IDS_MAX)
    )
