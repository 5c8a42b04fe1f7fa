"""One MQTT session of the operator's side: mutual TLS, QoS 1, MQTT 5 or else 3.1.1; one thread.

paho-mqtt is driven from outside, with `poll`, so that nothing runs behind the caller's back and a
process with thousands of open files works too. A session that ended is not revived: make a new one,
after `backoff_s`.
"""

import select
import ssl
import time
from collections import deque
from dataclasses import dataclass
from typing import Final

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from agent.errors import BrokerError
from fleet.certificates import Identity, client_context

QOS: Final = 1
IN_FLIGHT_MAX: Final = 50  # below the broker's limit, which ends the session when it is passed
KEEPALIVE_S: Final = 30
CONNECT_TIMEOUT_S: Final = 10.0
PROTOCOLS: Final = (MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311)
UNKNOWN_PROTOCOL: Final = "Unsupported protocol version"


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where the broker listens."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Received:
    """One message from the broker."""

    topic: str
    content: bytes
    retained: bool


class ClosingSocket(ssl.SSLSocket):
    """A connection that is closed when its handshake fails; paho-mqtt would leave it open."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002  # the base's signature
        """Shake hands, or close."""
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise


class Session:
    """Connect, subscribe, publish, receive. Each method raises `BrokerError` when the session is over."""

    def __init__(self, address: BrokerAddress, identity: Identity, client_id: str) -> None:
        self._address = address
        self._identity = identity
        self._client_id = client_id
        self._client: Client | None = None
        self._protocol = MQTTProtocolVersion.MQTTv5
        self._received: deque[Received] = deque()
        self._unacknowledged: set[int] = set()
        self._answer: ReasonCode | None = None
        self._ended = ""

    @property
    def protocol(self) -> str:
        """The protocol that was agreed on."""
        return "MQTT 5" if self._protocol is MQTTProtocolVersion.MQTTv5 else "MQTT 3.1.1"

    def connect(self, timeout_s: float = CONNECT_TIMEOUT_S) -> None:
        """Open a clean session: MQTT 5, and 3.1.1 when the broker does not know it."""
        for protocol in PROTOCOLS:
            self._protocol = protocol
            self._open(timeout_s)
            if self._answer is not None and not self._answer.is_failure:
                return
            # A broker that does not know MQTT 5 says so, or just closes; both are worth one more try.
            if self._answer is not None and self._answer.getName() != UNKNOWN_PROTOCOL:
                break
        found = (
            f"it answered {self._answer}" if self._answer else self._ended or "it did not answer"
        )
        raise BrokerError(
            f"broker {self._address.host}:{self._address.port}: a session was expected, {found}; "
            f"check that {self._identity.certificate} is from the authority that the broker was given"
        )

    def subscribe(self, *topics: str, timeout_s: float = CONNECT_TIMEOUT_S) -> None:
        """Ask for these topics; return when the broker has answered for each of them."""
        code, identifier = self._live().subscribe([(topic, QOS) for topic in topics])
        self._check(code)
        assert identifier is not None  # only a failed call has none
        self._unacknowledged.add(identifier)
        self.flush(timeout_s)

    def publish(self, topic: str, content: bytes, *, retain: bool = False) -> None:
        """Hand over a message; `flush` waits for the broker's acknowledgement."""
        info = self._live().publish(topic, content, QOS, retain)
        self._check(info.rc)
        self._unacknowledged.add(info.mid)

    def flush(self, timeout_s: float = CONNECT_TIMEOUT_S) -> None:
        """Return when the broker has acknowledged all that was handed over."""
        deadline = time.monotonic() + timeout_s
        while self._unacknowledged:
            remaining_s = deadline - time.monotonic()
            if remaining_s <= 0:
                raise BrokerError(
                    f"broker {self._address.host}: an acknowledgement within {timeout_s:.0f} s was "
                    f"expected, {len(self._unacknowledged)} are missing; try again"
                )
            self._turn(remaining_s)

    def receive(self, timeout_s: float, count_max: int = 1) -> tuple[Received, ...]:
        """The next messages, at most `count_max`; empty when none came in time.

        Waits for the first only: the others are those that are already here.
        """
        deadline = time.monotonic() + timeout_s
        while not self._received and (remaining_s := deadline - time.monotonic()) > 0:
            self._turn(remaining_s)
        for _ in range(count_max):
            if len(self._received) >= count_max or not self._pump(0):
                break
        count = min(count_max, len(self._received))
        return tuple(self._received.popleft() for _ in range(count))

    def close(self) -> None:
        """Say goodbye. A second call does nothing."""
        if self._client is not None:
            self._client.disconnect()
            self._client.loop_write()
            self._drop()

    def _open(self, timeout_s: float) -> None:
        self._drop()
        client = Client(
            CallbackAPIVersion.VERSION2,
            self._client_id,
            protocol=self._protocol,
            clean_session=True if self._protocol is MQTTProtocolVersion.MQTTv311 else None,
            reconnect_on_failure=False,
        )
        context = client_context(self._identity)
        context.sslsocket_class = ClosingSocket
        client.tls_set_context(context)
        client.connect_timeout = timeout_s
        client.max_inflight_messages = IN_FLIGHT_MAX
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        self._client, self._answer, self._ended = client, None, ""
        try:
            client.connect(self._address.host, self._address.port, KEEPALIVE_S)
        except (OSError, ValueError) as error:
            raise self._unreachable(error) from error
        deadline = time.monotonic() + timeout_s
        while self._answer is None and not self._ended and time.monotonic() < deadline:
            self._pump(max(0.0, deadline - time.monotonic()))

    def _unreachable(self, error: OSError | ValueError) -> BrokerError:
        place = f"broker {self._address.host}:{self._address.port}"
        if isinstance(error, ssl.SSLCertVerificationError):
            return BrokerError(
                f"{place}: a certificate from {self._identity.authority} for this host was expected: "
                f"{error.verify_message}; check the address, or renew the broker's certificate"
            )
        return BrokerError(f"{place}: cannot be reached: {error}; is it running, on this port?")

    def _turn(self, timeout_s: float) -> bool:
        """Let paho work once; whether anything happened."""
        self._live()
        worked = self._pump(timeout_s)
        self._live()
        return worked

    def _live(self) -> Client:
        if self._client is None or self._ended:
            raise BrokerError(
                f"broker {self._address.host}: the session is over: {self._ended or 'not connected'}; "
                "connect again"
            )
        return self._client

    def _pump(self, timeout_s: float) -> bool:
        client = self._client
        assert client is not None  # only called on an open session
        connection = client.socket()
        if connection is None:
            self._ended = self._ended or "the connection was closed"
            return False
        client.loop_misc()  # pings; may find that the broker is silent
        waiting = isinstance(connection, ssl.SSLSocket) and connection.pending() > 0
        readable, writable = (True, False) if waiting else self._poll(connection, timeout_s)
        if readable:
            client.loop_read()
        if (writable or client.want_write()) and client.socket() is not None:
            client.loop_write()
        return readable or writable

    def _poll(self, connection: object, timeout_s: float) -> tuple[bool, bool]:
        assert self._client is not None
        assert hasattr(connection, "fileno")
        poller = select.poll()
        wanted = select.POLLIN | (select.POLLOUT if self._client.want_write() else 0)
        poller.register(connection.fileno(), wanted)
        # At most a second at a time: `loop_misc` must get its turn for keepalive.
        events = poller.poll(min(timeout_s, 1.0) * 1000)
        happened = events[0][1] if events else 0
        return bool(happened & ~select.POLLOUT), bool(happened & select.POLLOUT)

    def _check(self, code: MQTTErrorCode) -> None:
        if code not in (MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_QUEUE_SIZE):
            self._ended = self._ended or f"the client answered {code.name}"
            self._live()

    def _drop(self) -> None:
        if self._client is not None:
            connection = self._client.socket()
            if connection is not None:
                connection.close()
            self._client = None
        self._unacknowledged.clear()
        self._received.clear()

    def _on_connect(
        self,
        _client: Client,
        _data: object,
        _flags: ConnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        self._answer = reason

    def _on_disconnect(
        self,
        _client: Client,
        _data: object,
        _flags: DisconnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        self._ended = f"the broker closed it ({reason})"

    def _on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        self._received.append(Received(message.topic, bytes(message.payload), message.retain))

    def _on_publish(
        self,
        _client: Client,
        _data: object,
        identifier: int,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        self._acknowledge(identifier, [reason])

    def _on_subscribe(
        self,
        _client: Client,
        _data: object,
        identifier: int,
        reasons: list[ReasonCode],
        _properties: Properties | None,
    ) -> None:
        self._acknowledge(identifier, reasons)

    def _acknowledge(self, identifier: int, reasons: list[ReasonCode]) -> None:
        self._unacknowledged.discard(identifier)
        refused = [str(reason) for reason in reasons if reason.is_failure]
        if refused:
            self._ended = (
                f"the broker refused a topic ({', '.join(refused)}): check its access rules"
            )


def backoff_s(attempt: int, chance: float, *, base_s: float = 1.0, max_s: float = 30.0) -> float:
    """How long to wait before attempt N + 1: full jitter, where `chance` is from 0 to 1."""
    return chance * min(max_s, base_s * 2.0 ** min(attempt, 30))
