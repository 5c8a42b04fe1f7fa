"""`Broker` on Linux: one session at a time, and one wait for the broker and for local requests.

While nothing happens the process sleeps in poll(2); it wakes for a ping and its answer, once each in
every keepalive interval.
"""

import math
import select
import time
from typing import Final

from agent.interfaces import Message
from agent.linux.mqtt import events
from agent.linux.mqtt_packets import Publication
from agent.linux.mqtt_session import OPEN_TIMEOUT_S, MqttSession
from agent.linux.tls import Address
from agent.linux.wake import Waker

WAIT_S_MAX: Final = 86_400.0  # poll(2) counts milliseconds in 31 bits


class MqttBroker:
    """The fleet's broker, in the process that installs. `BrokerSettings` are an `Address`.

    Raises `BrokerError`, and `StateError` when the waker cannot listen.
    """

    def __init__(
        self,
        settings: Address,
        device_id: str,
        waker: Waker | None = None,
        *,
        open_timeout_s: float = OPEN_TIMEOUT_S,
    ) -> None:
        self._session = MqttSession(settings, device_id, open_timeout_s=open_timeout_s)
        self._waker = waker

    @property
    def connected(self) -> bool:
        """Whether there is a session that has not been found lost."""
        return self._session.connected

    def connect(self, subscriptions: tuple[str, ...], will: Message) -> None:
        """Open a session; the version of MQTT that worked is tried alone from then on."""
        self._session.connect(subscriptions, publication(will))

    def next_message(self, timeout_s: float) -> Message | None:
        """The next message; what was received before a loss is handed out before the loss is told."""
        deadline_s = time.monotonic() + timeout_s
        self._session.turn()
        while (taken := self._session.inbox.take()) is None:
            self._session.check()
            left_s = deadline_s - time.monotonic()
            if left_s <= 0 or self._wait(left_s):
                return None
        return Message(taken.topic, taken.content, taken.retain)

    def publish(self, message: Message) -> None:
        """Send a message at QoS 1; also answers pings, so that a long install keeps the session."""
        self._session.publish(publication(message))

    def close(self) -> None:
        """End the session in good order; the will is not published."""
        self._session.close()

    def _wait(self, left_s: float) -> bool:
        """Sleep until something happens; True when a local request did."""
        poller = select.poll()
        connection = self._session.connection
        if connection is not None:
            poller.register(connection.fileno(), events(connection))
            left_s = 0.0 if connection.has_pending else min(left_s, connection.next_ping_s())
        left_s = min(left_s, WAIT_S_MAX)
        if self._waker is not None:
            poller.register(self._waker.fileno(), select.POLLIN)
        poller.poll(math.ceil(left_s * 1000))  # rounded up: waking early would be for nothing
        self._session.turn()
        return self._waker is not None and self._waker.drain()


def publication(message: Message) -> Publication:
    """A message as the session sends it."""
    return Publication(message.topic, message.content, message.retain)
