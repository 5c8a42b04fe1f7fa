"""One MQTT connection over TLS, driven by the caller: no thread, no loop of its own.

What a packet means for the session is here, what it looks like in `mqtt_packets`. Whatever is wrong with
the broker or the way to it ends the connection, and `lost` says why.
"""

import math
import select
import ssl
import time
from collections.abc import Callable
from typing import Final

from agent.errors import BrokerError
from agent.linux import mqtt_packets as packets
from agent.linux.mqtt_packets import FAILURE, Packet, Publication, Welcome
from agent.linux.tls import Address, dial, place, short

OUTSTANDING_MAX: Final = 64
GOODBYE_TIMEOUT_S: Final = 2.0
TURN_READS_MAX: Final = 64
READ_BYTES: Final = 16 * 1024
IDENTIFIERS: Final = 0xFFFF


class ProtocolRefusedError(BrokerError):
    """The broker does not speak this version of MQTT, as far as one can tell."""


class Connection:
    """One connection from its opening to its loss; afterwards `lost` says why.

    `deliver` is called for each publication that arrives while one of the methods runs.
    """

    def __init__(
        self,
        address: Address,
        device_id: str,
        level: int,
        deliver: Callable[[Publication], None],
        open_timeout_s: float,
    ) -> None:
        self.lost: str | None = None
        self.refused: str | None = None
        self._address = address
        self._device_id = device_id
        self._level = level
        self._deliver = deliver
        self._open_timeout_s = open_timeout_s
        self._socket: ssl.SSLSocket | None = None
        self._incoming = bytearray()
        self._outgoing = bytearray()
        self._welcome: Welcome | None = None
        self._granted: bytes | None = None
        self._outstanding: dict[int, str] = {}
        self._waiting: list[Publication] = []
        self._identifier = 0
        self._keepalive_s = float(address.keepalive_s)
        self._spoke_s = 0.0
        self._asked_s: float | None = None

    def open(self, subscriptions: tuple[str, ...], will: Publication) -> None:
        """Connect, leave the will and subscribe at QoS 1; return when both are granted.

        Raises `ProtocolRefusedError` when another version may help, else `BrokerError`.
        """
        deadline_s = time.monotonic() + self._open_timeout_s
        self._socket = dial(self._address, self._open_timeout_s)
        keepalive_s = self._address.keepalive_s
        self._send(packets.encode_connect(self._level, self._device_id, keepalive_s, will))
        self._wait_until(lambda: self._welcome is not None, "its answer to CONNECT", deadline_s)
        self._check_welcome()
        if subscriptions:
            self._send(
                packets.encode_subscribe(self._level, self._next_identifier(), subscriptions)
            )
            self._wait_until(lambda: self._granted is not None, "SUBACK", deadline_s)
        self._check_granted(subscriptions)

    def fileno(self) -> int:
        """The descriptor to wait for, -1 when the connection is gone."""
        return -1 if self._socket is None else self._socket.fileno()

    @property
    def wants_write(self) -> bool:
        """Whether something waits for room in the socket's buffer."""
        return bool(self._outgoing)

    @property
    def has_pending(self) -> bool:
        """Whether bytes wait inside the TLS layer, where waiting on the descriptor misses them."""
        return self._socket is not None and self._socket.pending() > 0

    @property
    def is_settled(self) -> bool:
        """Whether the broker has acknowledged all that was published."""
        return not self._outstanding and not self._waiting

    def next_ping_s(self) -> float:
        """How many seconds from now `turn` must run to keep the session alive, or to find it dead."""
        if self._socket is None or self._keepalive_s == 0:
            return math.inf
        since_s = self._spoke_s if self._asked_s is None else min(self._spoke_s, self._asked_s)
        return max(0.0, since_s + self._keepalive_s - time.monotonic())

    def turn(self) -> None:
        """Read, write and ping whatever is due, without waiting."""
        if self._socket is None or self.lost is not None:
            return
        try:
            for _ in range(TURN_READS_MAX):
                if self.lost is not None or not self._receive(self._socket):
                    break
            self._flush()
            self._keep_alive()
        except packets.MalformedError as error:
            self._lose(f"the broker sent what is not MQTT ({error})")
        except OSError as error:
            self._lose(f"the connection was lost: {short(error)}")

    def publish(self, message: Publication) -> None:
        """Hand a message to the connection. Raises `BrokerError` when too many wait already."""
        if len(self._outstanding) + len(self._waiting) >= OUTSTANDING_MAX:
            raise BrokerError(
                f"{place(self._address)} has not acknowledged {OUTSTANDING_MAX} messages; "
                f"the next is not sent before it does"
            )
        self._waiting.append(message)
        try:
            self._send_waiting()
        except ValueError as error:
            self._waiting.remove(message)
            raise BrokerError(f"cannot publish to {message.topic}: {error}") from error

    def close(self) -> None:
        """Wait briefly for what is under way, and say goodbye so that the will stays unsaid.

        Closing a socket with unread acknowledgements resets it, and could lose the last messages.
        """
        if self._socket is None:
            return
        if self.lost is None and self._welcome is not None:
            deadline_s = time.monotonic() + GOODBYE_TIMEOUT_S
            while not self.is_settled and self.lost is None and self._wait(deadline_s):
                self.turn()
            self._send(packets.GOODBYE)
        self.lost = self.lost or "closed"
        self._socket.close()
        self._socket = None

    def _receive(self, connection: ssl.SSLSocket) -> bool:
        """Take in what is there now; False when that was all."""
        try:
            piece = connection.recv(READ_BYTES)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        if not piece:
            self._lose("the connection was closed")
            return False
        self._incoming += piece
        self._asked_s = None
        for _ in range(READ_BYTES):  # more packets than fit into one piece
            packet = packets.take_packet(self._incoming)
            if packet is None or self.lost is not None:
                break
            self._take(packet)
        return True

    def _take(self, packet: Packet) -> None:
        level = self._level
        if (self._welcome is None) != (packet.kind == packets.CONNACK):
            raise packets.MalformedError(f"packet 0x{packet.kind:02x} came at the wrong time")
        match packet.kind:
            case packets.CONNACK:
                self._welcome = packets.parse_welcome(level, packet)
                if self._welcome.keepalive_s is not None:
                    self._keepalive_s = float(self._welcome.keepalive_s)
            case packets.SUBACK:
                self._granted = packets.parse_granted(level, packet)[1]
            case packets.PUBACK:
                self._settle(*packets.parse_receipt(level, packet))
            case packets.PUBLISH:
                message = packets.parse_publication(level, packet)
                self._deliver(message)
                if message.identifier:
                    self._send(packets.encode_puback(message.identifier))
            case packets.PINGRESP:
                pass  # that something came is all it says
            case packets.DISCONNECT:
                self._part(packets.parse_farewell(level, packet))
            case _:
                raise packets.MalformedError(
                    f"packet 0x{packet.kind:02x} is none that a broker sends"
                )

    def _settle(self, identifier: int, code: int) -> None:
        topic = self._outstanding.pop(identifier, "")
        if not topic:
            raise packets.MalformedError(
                f"an acknowledgement of {identifier}, which was never sent"
            )
        if code >= FAILURE:
            self.refused = (
                f"{place(self._address)} does not let this device publish to {topic} "
                f"({packets.reason(code)}); check the broker's access list"
            )
        self._send_waiting()

    def _part(self, code: int) -> None:
        if code == packets.TAKEN_OVER:
            self._lose(
                "another connection with this device's id took over: is the id in use twice?"
            )
        else:
            self._lose(f"the broker ended the session ({packets.reason(code)})")

    def _send_waiting(self) -> None:
        """As many messages as the broker takes at once. Raises `ValueError` for one that none can be."""
        welcome = self._welcome or Welcome(0)
        while self._waiting and len(self._outstanding) < welcome.in_flight_max:
            identifier = self._next_identifier()
            message = self._waiting[0]._replace(identifier=identifier)
            content = packets.encode_publish(self._level, message)
            if len(content) > welcome.packet_bytes_max:
                raise ValueError(f"the broker takes at most {welcome.packet_bytes_max} bytes")
            del self._waiting[0]
            self._outstanding[identifier] = message.topic
            self._send(content)

    def _next_identifier(self) -> int:
        for _ in range(1 + OUTSTANDING_MAX):
            self._identifier = self._identifier % IDENTIFIERS + 1
            if self._identifier not in self._outstanding:
                break
        return self._identifier

    def _send(self, content: bytes) -> None:
        self._outgoing += content
        self._spoke_s = time.monotonic()
        if self._asked_s is None and content[0] & 0xF0 != packets.PUBACK:
            self._asked_s = self._spoke_s
        try:
            self._flush()
        except OSError as error:
            self._lose(f"the connection was lost: {short(error)}")

    def _flush(self) -> None:
        while self._outgoing and self._socket is not None:  # each turn sends or ends
            try:
                sent = self._socket.send(self._outgoing)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            del self._outgoing[:sent]

    def _keep_alive(self) -> None:
        if self.lost is not None or self.next_ping_s() > 0:
            return
        if self._asked_s is not None and self._asked_s + self._keepalive_s <= time.monotonic():
            self._lose(f"nothing came from the broker for {self._keepalive_s:g} s")
        else:
            self._send(packets.PING)

    def _check_welcome(self) -> None:
        assert self._welcome is not None, "waited for"
        code = self._welcome.code
        if code == packets.UNSUPPORTED_PROTOCOL:
            raise ProtocolRefusedError(f"{place(self._address)} speaks another version of MQTT")
        if code >= FAILURE:
            raise BrokerError(
                f"{place(self._address)} refuses this device ({packets.reason(code)}); "
                f"check that {self._device_id} is enrolled and allowed there"
            )

    def _check_granted(self, subscriptions: tuple[str, ...]) -> None:
        granted = self._granted or b""
        if len(granted) != len(subscriptions):
            raise BrokerError(
                f"{place(self._address)}: answers for {len(subscriptions)} topics were expected, "
                f"{len(granted)} found"
            )
        for topic, code in zip(subscriptions, granted, strict=True):
            if code >= FAILURE:
                raise BrokerError(
                    f"{place(self._address)} does not let this device subscribe to {topic} "
                    f"({packets.reason(code)}); check the broker's access list"
                )

    def _wait_until(self, done: Callable[[], bool], what: str, deadline_s: float) -> None:
        while not done():
            if self.lost is not None:
                raise self._missing(what, self.lost)
            if not self._wait(deadline_s):
                raise self._missing(what, f"nothing came for {self._open_timeout_s:g} s")
            self.turn()

    def _missing(self, what: str, found: str) -> BrokerError:
        sentence = f"{place(self._address)}: {what} was expected, but {found}"
        if self._welcome is not None:
            return BrokerError(sentence)
        # TLS 1.3 tells of a refused certificate only now; and brokers that do not know a version of
        # MQTT may say so, close, or wait for the rest of what they take for an older packet.
        return ProtocolRefusedError(
            f"{sentence}; check the broker's log, and that {self._address.certificate} is valid and "
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

    def _lose(self, why: str) -> None:
        self.lost = self.lost or why


def events(connection: Connection) -> int:
    """What to wait for on its descriptor."""
    return select.POLLIN | (select.POLLOUT if connection.wants_write else 0)
