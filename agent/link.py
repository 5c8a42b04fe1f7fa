"""The link to the broker: keeps a session when it can, collects what comes, sends what must be said.

Nothing here is believed. A notice becomes "look again, this much later"; a receipt takes a report out of
the outbox; everything else is counted and dropped.
"""

from typing import Final

from agent.backoff import full_jitter
from agent.errors import BrokerError, NoticeError
from agent.interfaces import Broker, Clock, Message, Random
from agent.notice import parse_notice
from agent.report import (
    Presence,
    Report,
    Status,
    encode_presence,
    encode_report,
    encode_status,
    parse_receipt,
)
from agent.topics import Topics

STABLE_S: Final = 60.0
"""A session that held this long was a good one: the next failure starts from the shortest wait."""
STATUS_INTERVAL_S: Final = 1.0
MESSAGES_MAX: Final = 256
"""How many messages are taken before the device goes back to its own work: a flood must not stop it."""
REPORT_INTERVAL_S: Final = 30.0
"""How often an unanswered report is said again."""
REPORTS_AT_ONCE: Final = 16
"""Of a full outbox so many are said before the next ones: a session takes only so much at once."""
RECEIPT_S: Final = 5.0
"""How soon a receipt comes when all is well: for so long it is worth waiting for."""


class Link:
    """One device's side of its MQTT session."""

    def __init__(
        self, broker: Broker, clock: Clock, random: Random, topics: Topics, retry_max_s: float
    ) -> None:
        self._broker = broker
        self._clock = clock
        self._random = random
        self._topics = topics
        self._retry_max_s = retry_max_s
        self._failures = 0
        self._next_connect_s = 0.0
        self._connected_at_s: float | None = None
        self._session = ""
        self._status: Status | None = None
        self._status_sent: Status | None = None
        self._status_due_s = 0.0
        self._reports_due_s = 0.0
        self._reports_said: frozenset[str] = frozenset()
        self._notices: list[int] = []
        self._receipts: set[str] = set()
        self.ignored = 0
        self.last_error = ""

    @property
    def connected(self) -> bool:
        """Whether there is a session."""
        return self._broker.connected

    def tend(self, timeout_s: float, reports: tuple[Report, ...]) -> None:
        """Connect if it is time to, say what is due, and take messages for at most this long.

        Returns early when a message came or someone at the device woke the agent.
        """
        if self._connected_at_s is not None and not self._broker.connected:
            self._lost(BrokerError("the session with the broker ended without a word"))
        try:
            self._connect_when_due()
            self._say_what_is_due(reports)
            message = self._broker.next_message(max(0.0, min(timeout_s, self._patience_s(reports))))
            for _ in range(MESSAGES_MAX):  # what has already arrived, without waiting
                if message is None:
                    break
                self._take(message)
                message = self._broker.next_message(0.0)
        except BrokerError as error:
            self._lost(error)

    def show(self, status: Status) -> None:
        """What the device's state is now; sent when it may be, and again in a new session."""
        self._status = status

    def take_notices(self) -> tuple[int, ...]:
        """The spreads of the notices that came since the last call."""
        notices, self._notices = tuple(self._notices), []
        return notices

    def take_receipts(self) -> tuple[str, ...]:
        """The ids of the reports that the fleet has stored since the last call."""
        receipts, self._receipts = tuple(sorted(self._receipts)), set()
        return receipts

    def has_more_to_say(self, reports: tuple[Report, ...]) -> bool:
        """Whether a new session would hear something that this one, or none, has not taken."""
        return bool(reports) or self._status != self._status_sent

    def is_quiet(self, reports: tuple[Report, ...]) -> bool:
        """Whether nothing is under way in this session, not even an answer that comes soon."""
        if not self._broker.connected:
            return True
        if self._status != self._status_sent:
            return False
        said_s = self._reports_due_s - REPORT_INTERVAL_S
        waits = bool(self._reports_said) or self._clock.monotonic_s() < said_s + RECEIPT_S
        due = self._clock.monotonic_s() >= self._reports_due_s
        return not reports or not (waits or due)

    def close(self) -> None:
        """Say that the device goes offline, and why not: it does so on purpose.

        A session that was taken over from an earlier run has a will that says the same.
        """
        try:
            if self._broker.connected and self._session:
                self._publish(self._topics.presence, encode_presence(self._presence(online=False)))
        except BrokerError as error:
            self.last_error = str(error)
        self._connected_at_s = None
        self._broker.close()

    def _connect_when_due(self) -> None:
        now = self._clock.monotonic_s()
        if self._broker.connected or now < self._next_connect_s:
            return
        self._session = self._random.token()
        will = Message(
            self._topics.presence, encode_presence(self._presence(online=False)), retain=True
        )
        subscriptions = (self._topics.fleet_notice, self._topics.notice, self._topics.receipt)
        self._broker.connect(subscriptions, will)
        self._connected_at_s = now
        self._status_sent, self._status_due_s = None, 0.0
        self.speak_again()
        self._publish(self._topics.presence, encode_presence(self._presence(online=True)))

    def _say_what_is_due(self, reports: tuple[Report, ...]) -> None:
        if not self._broker.connected:
            return
        now = self._clock.monotonic_s()
        changed = self._status is not None and self._status != self._status_sent
        if self._status is not None and changed and now >= self._status_due_s:
            self._publish(self._topics.state, encode_status(self._status))
            self._status_sent, self._status_due_s = self._status, now + STATUS_INTERVAL_S
        if reports and now >= self._reports_due_s:
            self._say_reports(reports, now)

    def _say_reports(self, reports: tuple[Report, ...], now: float) -> None:
        """The next ones of this round; after the last ones comes a pause."""
        left = [report for report in reports if report.id not in self._reports_said]
        for report in left[:REPORTS_AT_ONCE]:
            self._broker.publish(Message(self._topics.report, encode_report(report)))
        if len(left) > REPORTS_AT_ONCE:
            self._reports_said |= {report.id for report in left[:REPORTS_AT_ONCE]}
            self._reports_due_s = now + RECEIPT_S
        else:
            self._reports_said = frozenset()
            self._reports_due_s = now + REPORT_INTERVAL_S

    def speak_again(self) -> None:
        """Send the waiting reports at the next chance, from the first one on: there is a new one."""
        self._reports_said, self._reports_due_s = frozenset(), 0.0

    def _patience_s(self, reports: tuple[Report, ...]) -> float:
        """How long to wait for a message before something of our own is due."""
        now = self._clock.monotonic_s()
        if not self._broker.connected:
            return self._next_connect_s - now
        due = [self._reports_due_s - now] if reports else []
        if self._status != self._status_sent:
            due.append(self._status_due_s - now)
        return min(due, default=float("inf"))

    def _take(self, message: Message) -> None:
        try:
            if message.topic in (self._topics.fleet_notice, self._topics.notice):
                self._notices = [*self._notices, parse_notice(message.content).spread_s][-8:]
            elif message.topic == self._topics.receipt:
                self._receipts.update(parse_receipt(message.content).ids)
            else:
                self.ignored += 1
        except NoticeError as error:
            self.ignored += 1
            self.last_error = str(error)

    def _lost(self, error: BrokerError) -> None:
        now = self._clock.monotonic_s()
        if self._connected_at_s is not None and now - self._connected_at_s >= STABLE_S:
            self._failures = 0
        self._connected_at_s = None
        self._broker.close()
        self._next_connect_s = now + full_jitter(self._random, self._failures, self._retry_max_s)
        self._failures += 1
        self.last_error = str(error)

    def _presence(self, *, online: bool) -> Presence:
        return Presence(online=online, session=self._session)

    def _publish(self, topic: str, content: bytes) -> None:
        self._broker.publish(Message(topic, content, retain=True))
