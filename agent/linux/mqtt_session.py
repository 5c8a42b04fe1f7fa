"""One MQTT session at a time, of either version, and the messages that nobody has asked for yet.

Loaded in the process that waits for notices; see `mqtt_packets` for what that means.
"""

from typing import Final

from agent.errors import BrokerError
from agent.linux.mqtt import Connection, ProtocolRefusedError
from agent.linux.mqtt_packets import MQTT_3_1_1, MQTT_5, Publication
from agent.linux.tls import Address, place

TOPIC_MESSAGES_MAX: Final = 8
OPEN_TIMEOUT_S: Final = 10.0  # to connect, and again until everything is granted
LEVELS: Final = (MQTT_5, MQTT_3_1_1)


class Inbox:
    """Messages that nobody has asked for yet: a few of each subscribed topic, however many come.

    Dropping the oldest is safe: a notice is a hint, and a report is sent again until its receipt.
    """

    def __init__(self, topics: tuple[str, ...]) -> None:
        self._topics = frozenset(topics)
        self._messages: list[Publication] = []

    def __len__(self) -> int:
        return len(self._messages)

    def put(self, message: Publication) -> None:
        """Keep a message; duplicates, and what a retained one replaces, count as one."""
        message = message._replace(identifier=0)
        if message.topic not in self._topics or message in self._messages:
            return
        same = [other for other in self._messages if other.topic == message.topic]
        if message.retain:
            self._messages = [other for other in self._messages if other.topic != message.topic]
        elif len(same) >= TOPIC_MESSAGES_MAX:
            self._messages.remove(same[0])
        self._messages.append(message)

    def take(self) -> Publication | None:
        """The oldest message."""
        return self._messages.pop(0) if self._messages else None


class MqttSession:
    """The fleet's broker over mutual TLS: MQTT 5, or 3.1.1 for brokers that do not know it."""

    def __init__(
        self, address: Address, device_id: str, *, open_timeout_s: float = OPEN_TIMEOUT_S
    ) -> None:
        self.connection: Connection | None = None
        self.inbox = Inbox(())
        self._address = address
        self._device_id = device_id
        self._open_timeout_s = open_timeout_s
        self._levels: tuple[int, ...] = LEVELS

    @property
    def connected(self) -> bool:
        """Whether there is a session that has not been found lost."""
        return self.connection is not None and self.connection.lost is None

    def connect(self, subscriptions: tuple[str, ...], will: Publication) -> None:
        """Open a session; the version of MQTT that worked is tried alone from then on."""
        self.close()
        self.inbox = Inbox(subscriptions)
        failures: list[BrokerError] = []
        for level in self._levels:
            connection = Connection(
                self._address, self._device_id, level, self.inbox.put, self._open_timeout_s
            )
            try:
                connection.open(subscriptions, will)
            except ProtocolRefusedError as error:
                connection.close()
                failures.append(error)
            except BrokerError:
                connection.close()
                raise
            else:
                self._levels = (level,)
                self.connection = connection
                return
        self._levels = LEVELS  # a broker that was replaced may speak the other one
        raise failures[0]

    def publish(self, message: Publication) -> None:
        """Send a message at QoS 1; also answers pings, so that a long install keeps the session."""
        if self.connection is None:
            raise BrokerError("no session with the broker; nothing was published")
        self.connection.turn()
        self.check()
        self.connection.publish(message)
        self.check()

    def turn(self) -> None:
        """Read, write and ping whatever is due, without waiting."""
        if self.connection is not None:
            self.connection.turn()

    def check(self) -> None:
        """Tell of a loss once, as `BrokerError`; without a session there is nothing to lose."""
        connection = self.connection
        if connection is None:
            return
        if connection.lost is not None:
            self.close()
            raise BrokerError(
                f"the session with {place(self._address)} is over: "
                f"{connection.lost}; it will be opened again"
            )
        if connection.refused is not None:
            sentence, connection.refused = connection.refused, None
            raise BrokerError(sentence)

    def close(self) -> None:
        """End the session in good order; the will is not published."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None
