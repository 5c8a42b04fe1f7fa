"""A broker in memory: one hub that the operator's side and any number of devices share.

A message is delivered at the moment it is published; what a device has not read yet waits in its
session. Retained messages, wills and exact or wildcard subscriptions are as in MQTT 5, section 3 and 4.7.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from agent.errors import BrokerError
from agent.interfaces import Message
from simulator.clock import SimulatedClock
from simulator.faults import Delivery, Faults
from simulator.trace import Note, silent

SPINS_MAX: Final = 10_000
HISTORY_MAX: Final = 1000
SENT: Final = (
    Delivery.DUPLICATED,
    Delivery.DISCONNECTED,
    Delivery.ACCEPTED_AND_LOST,
    Delivery.REPLAYED,
)
RECEIVED: Final = (
    Delivery.DUPLICATED,
    Delivery.REPLAYED,
    Delivery.DROPPED,
    Delivery.DISCONNECTED,
)

Listener = Callable[[Message], None]


def topic_matches(pattern: str, topic: str) -> bool:
    """Whether a subscription takes a topic: `+` is one level, `#` all the rest."""
    wanted, found = pattern.split("/"), topic.split("/")
    for position, level in enumerate(wanted):
        if level == "#":
            return True
        if position >= len(found) or level not in ("+", found[position]):
            return False
    return len(wanted) == len(found)


@dataclass(slots=True)
class Session:
    """One device's session: what it subscribed to, what waits for it, and its will."""

    subscriptions: tuple[str, ...]
    will: Message
    waiting: deque[Message] = field(default_factory=deque)
    last: dict[str, Message] = field(default_factory=dict)


@dataclass(slots=True)
class Hub:
    """The broker itself. `up` is whether anyone can reach it."""

    up: bool = True
    retained: dict[str, Message] = field(default_factory=dict)
    history: list[Message] = field(default_factory=list)
    _sessions: list[Session] = field(default_factory=list)
    _listeners: list[tuple[str, Listener]] = field(default_factory=list)

    def listen(self, pattern: str, listener: Listener) -> None:
        """Call this for each message on such topics: the operator's side."""
        self._listeners.append((pattern, listener))

    def publish(self, message: Message) -> None:
        """Deliver to everyone who subscribed, and keep it when it is to be retained."""
        self.history.append(message)
        del self.history[:-HISTORY_MAX]
        if message.retain:
            self.retained[message.topic] = message
        for session in self._sessions:
            if any(topic_matches(pattern, message.topic) for pattern in session.subscriptions):
                session.waiting.append(message)
        for pattern, listener in list(self._listeners):
            if topic_matches(pattern, message.topic):
                listener(message)

    def join(self, session: Session) -> None:
        """A session begins: it gets what is retained for its subscriptions."""
        self._sessions.append(session)
        for topic, message in sorted(self.retained.items()):
            if any(topic_matches(pattern, topic) for pattern in session.subscriptions):
                session.waiting.append(message)

    def leave(self, session: Session, *, with_will: bool) -> None:
        """A session ends; without a goodbye its will is published."""
        if session in self._sessions:
            self._sessions.remove(session)
            if with_will:
                self.publish(session.will)

    def has(self, session: Session) -> bool:
        """Whether the session is alive."""
        return self.up and any(one is session for one in self._sessions)

    def stop(self) -> None:
        """The broker goes away, and with it every session."""
        self.up = False
        for session in list(self._sessions):
            self.leave(session, with_will=True)

    def start(self) -> None:
        """The broker is back, with what it had retained."""
        self.up = True


@dataclass(slots=True)
class SimulatedBroker:
    """The `Broker` of one simulated device, connected to a hub."""

    hub: Hub
    clock: SimulatedClock
    faults: Faults = field(default_factory=Faults)
    note: Note = silent
    _session: Session | None = None
    _sent: dict[str, Message] = field(default_factory=dict)
    _spins: int = 0

    @property
    def connected(self) -> bool:
        """Whether the session is alive."""
        return self._session is not None and self.hub.has(self._session)

    def connect(self, subscriptions: tuple[str, ...], will: Message) -> None:
        """Open a session with the hub."""
        self.power_lost()
        if not self.hub.up:
            raise BrokerError("the simulated broker is down; will try again")
        self._session = Session(subscriptions=subscriptions, will=will)
        self.hub.join(self._session)
        self.note("connect", f"{len(subscriptions)} topics")

    def next_message(self, timeout_s: float) -> Message | None:
        """The next message; virtual time passes up to the deadline when nothing comes."""
        began_s = self.clock.now_s
        was_connected = self.connected
        self.clock.wait_until(
            began_s + max(0.0, timeout_s),
            lambda: self._has_waiting() or (was_connected and not self.connected),
        )
        self._watch_for_spinning(began_s)
        session = self._session
        if session is None or not session.waiting or not self.connected:
            return None
        message = session.waiting.popleft()
        return self._received(session, message)

    def publish(self, message: Message) -> None:
        """Hand a message to the hub, unless a fault has it otherwise."""
        if not self.connected:
            raise BrokerError(f"no session to publish on {message.topic}; connect first")
        fault = self.faults.strike(SENT, message.topic)
        if fault is Delivery.DISCONNECTED:
            self._lose_session()
            raise BrokerError(f"the session was lost while publishing on {message.topic}")
        leaf = message.topic.rsplit("/", 1)[-1]
        if fault is Delivery.ACCEPTED_AND_LOST:
            self.note("! accepted and lost", leaf)
            return
        self.note("publish", leaf)
        older = self._sent.get(message.topic)
        if fault is Delivery.REPLAYED and older is not None:
            self.note("! replayed", leaf)
            self.hub.publish(older)
        self._sent[message.topic] = message
        self.hub.publish(message)
        if fault is Delivery.DUPLICATED:
            self.note("! duplicated", leaf)
            self.hub.publish(message)

    def close(self) -> None:
        """Say goodbye: the will is not published."""
        if self._session is not None:
            self.hub.leave(self._session, with_will=False)
            self._session = None

    def power_lost(self) -> None:
        """The device is gone without a goodbye: the will is published."""
        if self._session is not None:
            self.hub.leave(self._session, with_will=True)
            self._session = None

    def _has_waiting(self) -> bool:
        return self.connected and self._session is not None and bool(self._session.waiting)

    def _lose_session(self) -> None:
        self.note("! disconnected", "")
        self.power_lost()

    def _received(self, session: Session, message: Message) -> Message | None:
        leaf = message.topic.rsplit("/", 1)[-1]
        fault = self.faults.strike(RECEIVED, message.topic)
        if fault is Delivery.DROPPED:
            self.note("! dropped", leaf)
            return None
        if fault is Delivery.DISCONNECTED:
            self._lose_session()
            return None
        if fault is Delivery.DUPLICATED:
            session.waiting.appendleft(message)
        if fault is Delivery.REPLAYED and message.topic in session.last:
            session.waiting.append(session.last[message.topic])
        session.last[message.topic] = message
        self.note("message", leaf)
        return message

    def _watch_for_spinning(self, began_s: float) -> None:
        self._spins = self._spins + 1 if self.clock.now_s == began_s else 0
        assert self._spins < SPINS_MAX, "the agent asks for messages and lets no time pass"
