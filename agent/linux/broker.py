"""`Broker` on Linux: one session at a time, and one wait for the broker and for local requests.

While nothing happens the process sleeps in poll(2); it wakes for a ping and its answer, once each in
every keepalive interval.
"""

import math
import select
import time
from typing import Final

from agent.config import BrokerSettings
from agent.errors import BrokerError
from agent.interfaces import Message
from agent.linux.mqtt import Connection, ProtocolRefusedError, events
from agent.linux.mqtt_packets import MQTT_3_1_1, MQTT_5, Publication
from agent.linux.wake import Waker

TOPIC_MESSAGES_MAX: Final = 8
OPEN_TIMEOUT_S: Final = 10.0  # to connect, and again until everything is granted
WAIT_S_MAX: Final = 86_400.0  # poll(2) counts milliseconds in 31 bits
VERSIONS: Final = (MQTT_5, MQTT_3_1_1)


class Inbox:
    """Messages that nobody has asked for yet: a few of each subscribed topic, however many come.

    Dropping the oldest is safe: a notice is a hint, and a report is sent again until its receipt.
    """

    def __init__(self, topics: tuple[str, ...]) -> None:
        self._topics = frozenset(topics)
        self._messages: list[Message] = []

    def put(self, message: Message) -> None:
        """Keep a message; duplicates, and what a retained one replaces, count as one."""
        if message.topic not in self._topics or message in self._messages:
            return
        same = [other for other in self._messages if other.topic == message.topic]
        if message.retain:
            self._messages = [other for other in self._messages if other.topic != message.topic]
        elif len(same) >= TOPIC_MESSAGES_MAX:
            self._messages.remove(same[0])
        self._messages.append(message)

    def take(self) -> Message | None:
        """The oldest message."""
        return self._messages.pop(0) if self._messages else None


class MqttBroker:
    """The fleet's broker over mutual TLS: MQTT 5, or 3.1.1 for brokers that do not know it.

    Raises `BrokerError`, and `StateError` when the waker cannot listen.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        device_id: str,
        waker: Waker | None = None,
        *,
        open_timeout_s: float = OPEN_TIMEOUT_S,
    ) -> None:
        self._settings = settings
        self._device_id = device_id
        self._waker = waker
        self._open_timeout_s = open_timeout_s
        self._versions: tuple[int, ...] = VERSIONS
        self._connection: Connection | None = None
        self._inbox = Inbox(())

    @property
    def connected(self) -> bool:
        """Whether there is a session that has not been found lost."""
        return self._connection is not None and self._connection.lost is None

    def connect(self, subscriptions: tuple[str, ...], will: Message) -> None:
        """Open a session; the version of MQTT that worked is tried alone from then on."""
        self.close()
        self._inbox = Inbox(subscriptions)
        failures: list[BrokerError] = []
        for version in self._versions:
            connection = self._new_connection(version)
            try:
                connection.open(subscriptions, _publication(will))
            except ProtocolRefusedError as error:
                connection.close()
                failures.append(error)
            except BrokerError:
                connection.close()
                raise
            else:
                self._versions = (version,)
                self._connection = connection
                return
        self._versions = VERSIONS  # a broker that was replaced may speak the other one
        raise failures[0]

    def next_message(self, timeout_s: float) -> Message | None:
        """The next message; what was received before a loss is handed out before the loss is told."""
        deadline_s = time.monotonic() + timeout_s
        if self._connection is not None:
            self._connection.turn()
        while (message := self._inbox.take()) is None:
            self._check()
            left_s = deadline_s - time.monotonic()
            if left_s <= 0 or self._wait(left_s):
                return None
        return message

    def publish(self, message: Message) -> None:
        """Send a message at QoS 1; also answers pings, so that a long install keeps the session."""
        if self._connection is None:
            raise BrokerError("no session with the broker; nothing was published")
        self._connection.turn()
        self._check()
        self._connection.publish(_publication(message))
        self._check()

    def close(self) -> None:
        """End the session in good order; the will is not published."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _new_connection(self, version: int) -> Connection:
        return Connection(
            self._settings, self._device_id, version, self._take, self._open_timeout_s
        )

    def _take(self, message: Publication) -> None:
        self._inbox.put(Message(message.topic, message.content, message.retain))

    def _check(self) -> None:
        """Tell of a loss once; without a session there is nothing to lose."""
        connection = self._connection
        if connection is None:
            return
        if connection.lost is not None:
            self.close()
            raise BrokerError(
                f"the session with broker {self._settings.host}:{self._settings.port} is over: "
                f"{connection.lost}; it will be opened again"
            )
        if connection.refused is not None:
            sentence, connection.refused = connection.refused, None
            raise BrokerError(sentence)

    def _wait(self, left_s: float) -> bool:
        """Sleep until something happens; True when a local request did."""
        poller = select.poll()
        connection = self._connection
        if connection is not None:
            poller.register(connection.fileno(), events(connection))
            left_s = 0.0 if connection.has_pending else min(left_s, connection.next_ping_s())
        left_s = min(left_s, WAIT_S_MAX)
        if self._waker is not None:
            poller.register(self._waker.fileno(), select.POLLIN)
        poller.poll(math.ceil(left_s * 1000))  # rounded up: waking early would be for nothing
        if connection is not None:
            connection.turn()
        return self._waker is not None and self._waker.drain()


def _publication(message: Message) -> Publication:
    return Publication(message.topic, message.content, message.retain)
