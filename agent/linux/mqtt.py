"""One MQTT connection over paho's client, driven by the caller: no thread, no loop of its own.

MQTT 5 (OASIS, 2019) or 3.1.1. paho's callbacks only note what happened; what that means is decided
by whoever asked.
"""

import math
import select
import ssl
import time
from collections.abc import Callable
from typing import Any, Final

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, LogLevel, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from agent.config import BrokerSettings
from agent.errors import BrokerError
from agent.interfaces import Message
from agent.linux.tls import client_context, load_identity

PACKET_BYTES_MAX: Final = 64 * 1024
RECEIVE_MAX: Final = 20
OUTSTANDING_MAX: Final = 64
GOODBYE_TIMEOUT_S: Final = 2.0
TURN_READS_MAX: Final = 64
UNSUPPORTED_PROTOCOL: Final = 0x84  # MQTT 5, section 3.2.2.2; paho translates 3.1.1's code to it
TAKEN_OVER: Final = 0x8E
# What paho and the struct and enum modules below it raise for bytes that are not MQTT.
MALFORMED: Final = (OSError, ValueError, LookupError, TypeError, ArithmeticError, AssertionError)


class ProtocolRefusedError(BrokerError):
    """The broker does not speak this version of MQTT, as far as one can tell."""


class BrokerSocket(ssl.SSLSocket):
    """Closes on a failed handshake, and reads no packet beyond the size limit.

    paho asks for the rest of a packet in one call, so the size that a packet announces shows here
    before anything of it is kept, whatever version of MQTT the broker speaks.
    """

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """Receive, unless what is announced is too long."""
        if buflen > PACKET_BYTES_MAX:
            raise ConnectionAbortedError(
                f"the broker announced a packet of {buflen} bytes, at most {PACKET_BYTES_MAX} are taken"
            )
        return super().recv(buflen, flags)

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002  # ssl's signature
        """Shake hands."""
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise


class Connection:
    """One connection from its opening to its loss; afterwards `lost` says why.

    `deliver` is called for each publication that arrives while one of the methods runs.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        device_id: str,
        protocol: MQTTProtocolVersion,
        deliver: Callable[[Message], None],
        open_timeout_s: float,
    ) -> None:
        self.lost: str | None = None
        self.refused: str | None = None
        self._settings = settings
        self._device_id = device_id
        self._protocol = protocol
        self._deliver = deliver
        self._open_timeout_s = open_timeout_s
        self._client: Client | None = None
        self._answer: ReasonCode | None = None
        self._granted: list[ReasonCode] | None = None
        self._outstanding: dict[int, str] = {}
        self._paho_error = ""
        self._spoke_s = 0.0

    def open(self, subscriptions: tuple[str, ...], will: Message) -> None:
        """Connect, leave the will and subscribe at QoS 1; return when both are granted.

        Raises `ProtocolRefusedError` when another version may help, else `BrokerError`.
        """
        deadline_s = time.monotonic() + self._open_timeout_s
        client = self._client = self._configured(will)
        try:
            if self._protocol is MQTTProtocolVersion.MQTTv5:
                self._dial(client, clean_start=True, properties=_connect_properties())
            else:
                self._dial(client)
        except OSError as error:
            raise BrokerError(self._explain(error)) from error
        self._wait_until(lambda: self._answer is not None, "its answer to CONNECT", deadline_s)
        self._check_answer()
        if subscriptions:
            client.subscribe([(topic, 1) for topic in subscriptions])
            self._wait_until(lambda: self._granted is not None, "SUBACK", deadline_s)
        self._check_granted(subscriptions)

    def fileno(self) -> int:
        """The descriptor to wait for, -1 when the connection is gone."""
        socket = self._client.socket() if self._client is not None else None
        return -1 if socket is None else socket.fileno()

    @property
    def wants_write(self) -> bool:
        """Whether something waits for room in the socket's buffer."""
        return self._client is not None and self._client.want_write()

    @property
    def has_pending(self) -> bool:
        """Whether bytes wait inside the TLS layer, where waiting on the descriptor misses them."""
        socket = self._client.socket() if self._client is not None else None
        return isinstance(socket, ssl.SSLSocket) and socket.pending() > 0

    def next_ping_s(self) -> float:
        """How many seconds from now `turn` must run to keep the session alive."""
        if self._client is None or self._client.keepalive == 0:
            return math.inf
        return max(0.0, self._spoke_s + self._client.keepalive - time.monotonic())

    def turn(self) -> None:
        """Read, write and ping whatever is due, without waiting."""
        if self._client is None or self.lost is not None:
            return
        try:
            for _ in range(TURN_READS_MAX):
                if not self._is_readable():
                    break
                self._client.loop_read()
            if self._client.want_write():
                self._client.loop_write()
            if self.next_ping_s() == 0.0:
                self._client.loop_misc()
                self._spoke_s = time.monotonic()
        except MALFORMED as error:
            self._lose(f"the broker sent what is not MQTT ({error})")
        if self.lost is None and self._client.socket() is None:
            self._lose("the connection was closed")

    def publish(self, message: Message) -> None:
        """Hand a message to the connection. Raises `BrokerError` when too many wait already."""
        assert self._client is not None, "published before the connection was open"
        try:
            info = self._client.publish(message.topic, message.content, 1, message.retain)
        except ValueError as error:
            raise BrokerError(f"cannot publish to {message.topic}: {error}") from error
        if info.rc is MQTTErrorCode.MQTT_ERR_QUEUE_SIZE:
            raise BrokerError(
                f"{self._place()} has not acknowledged {OUTSTANDING_MAX} messages; "
                f"the next is not sent before it does"
            )
        if self.lost is None and info.rc is not MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._lose(f"a message could not be sent ({info.rc.name})")
        self._outstanding[info.mid] = message.topic
        self._spoke_s = time.monotonic()

    def close(self) -> None:
        """Wait briefly for what is under way, and say goodbye so that the will stays unsaid.

        Closing a socket with unread acknowledgements resets it, and could lose the last messages.
        """
        client = self._client
        if client is None:
            return
        if self.lost is None and self._answer is not None:
            deadline_s = time.monotonic() + GOODBYE_TIMEOUT_S
            while self._outstanding and self.lost is None and self._wait(deadline_s):
                self.turn()
            client.disconnect()
        self._client = None
        self.lost = self.lost or "closed"

    def _configured(self, will: Message) -> Client:
        context = client_context(self._settings.authority, BrokerSocket, BrokerError)
        load_identity(context, self._settings.certificate, self._settings.key, BrokerError)
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._device_id,
            protocol=self._protocol,
            reconnect_on_failure=False,
        )
        client.tls_set_context(context)
        client.will_set(will.topic, will.content, 1, will.retain)
        client.connect_timeout = self._open_timeout_s
        client.max_inflight_messages = RECEIVE_MAX
        client.max_queued_messages = OUTSTANDING_MAX
        client.on_log = self._on_log
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        client.on_disconnect = self._on_disconnect
        return client

    def _dial(self, client: Client, **options: Any) -> None:  # noqa: ANN401  # for one protocol only
        client.connect(
            self._settings.host,
            self._settings.port,
            keepalive=self._settings.keepalive_s,
            **options,
        )
        self._spoke_s = time.monotonic()

    def _check_answer(self) -> None:
        answer = self._answer
        assert answer is not None, "waited for"
        if answer.value == UNSUPPORTED_PROTOCOL:
            raise ProtocolRefusedError(f"{self._place()} speaks another version of MQTT")
        if answer.is_failure:
            raise BrokerError(
                f"{self._place()} refuses this device ({answer}); "
                f"check that {self._device_id} is enrolled and allowed there"
            )

    def _check_granted(self, subscriptions: tuple[str, ...]) -> None:
        for topic, code in zip(subscriptions, self._granted or (), strict=True):
            if code.is_failure:
                raise BrokerError(
                    f"{self._place()} does not let this device subscribe to {topic} ({code}); "
                    f"check the broker's access list"
                )

    def _wait_until(self, done: Callable[[], bool], what: str, deadline_s: float) -> None:
        while not done():
            if self.lost is not None:
                raise self._missing(what, self.lost)
            if not self._wait(deadline_s):
                raise self._missing(what, f"nothing came for {self._open_timeout_s:g} s")
            self.turn()

    def _missing(self, what: str, found: str) -> BrokerError:
        sentence = f"{self._place()}: {what} was expected, but {found}"
        if self._answer is not None:
            return BrokerError(sentence)
        # TLS 1.3 tells of a refused certificate only now; and brokers that do not know a version of
        # MQTT may say so, close, or wait for the rest of what they take for an older packet.
        return ProtocolRefusedError(
            f"{sentence}; check the broker's log, and that {self._settings.certificate} is valid and "
            f"from the authority that the broker was given"
        )

    def _wait(self, deadline_s: float) -> bool:
        """Wait for the socket; False when the deadline is over."""
        left_s = deadline_s - time.monotonic()
        if left_s > 0 and self.fileno() >= 0 and not self.has_pending:
            poller = select.poll()
            poller.register(self.fileno(), events(self))
            poller.poll(math.ceil(left_s * 1000))
        return left_s > 0

    def _is_readable(self) -> bool:
        if self.fileno() < 0:
            return False
        poller = select.poll()
        poller.register(self.fileno(), select.POLLIN)
        return self.has_pending or bool(poller.poll(0))

    def _lose(self, why: str) -> None:
        if self.lost is None:
            self.lost = f"{why}: {self._paho_error}" if self._paho_error else why

    def _place(self) -> str:
        return f"broker {self._settings.host}:{self._settings.port}"

    def _explain(self, error: OSError) -> str:
        if isinstance(error, ssl.SSLCertVerificationError):
            return (
                f"{self._place()}: a certificate for {self._settings.host} from "
                f"{self._settings.authority} was expected, another found "
                f"({error.verify_message}); check [broker] in agent.toml and this device's date"
            )
        if isinstance(error, ssl.SSLError):
            return f"{self._place()} does not speak TLS as expected ({error.reason or error})"
        if isinstance(error, TimeoutError):
            return f"{self._place()} does not answer; check the network and its firewall"
        return (
            f"{self._place()} cannot be reached ({error.strerror or error}); "
            f"check the network and [broker] in agent.toml"
        )

    def _on_log(self, _client: Client, _data: object, level: int, text: str) -> None:
        if level == LogLevel.MQTT_LOG_ERR:
            self._paho_error = text.removeprefix("failed to receive on socket: ")

    def _on_connect(
        self, _client: Client, _data: object, _flags: ConnectFlags, code: ReasonCode, _more: object
    ) -> None:
        self._answer = code

    def _on_subscribe(
        self, _client: Client, _data: object, _mid: int, codes: list[ReasonCode], _more: object
    ) -> None:
        self._granted = codes

    def _on_publish(
        self, _client: Client, _data: object, mid: int, code: ReasonCode, _more: object
    ) -> None:
        topic = self._outstanding.pop(mid, "a topic")
        if code.is_failure:
            self.refused = (
                f"{self._place()} does not let this device publish to {topic} ({code}); "
                f"check the broker's access list"
            )

    def _on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        if message.qos > 0:
            self._spoke_s = time.monotonic()  # paho acknowledges it
        self._deliver(Message(message.topic, bytes(message.payload), bool(message.retain)))

    def _on_disconnect(
        self,
        _client: Client,
        _data: object,
        flags: DisconnectFlags,
        code: ReasonCode,
        _more: object,
    ) -> None:
        if flags.is_disconnect_packet_from_server and code.value == TAKEN_OVER:
            self._lose(
                "another connection with this device's id took over: is the id in use twice?"
            )
        elif flags.is_disconnect_packet_from_server:
            self._lose(f"the broker ended the session ({code})")
        else:
            self._lose("the connection was lost")


def events(connection: Connection) -> int:
    """What to wait for on its descriptor."""
    return select.POLLIN | (select.POLLOUT if connection.wants_write else 0)


def _connect_properties() -> Properties:
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho's gap
    properties.SessionExpiryInterval = 0
    properties.MaximumPacketSize = PACKET_BYTES_MAX
    properties.ReceiveMaximum = RECEIVE_MAX
    return properties
