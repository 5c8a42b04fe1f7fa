"""The courier while it runs: the session with the broker, the agent's connection, children that fetch.

It decides nothing. What it says to the broker is what the agent said last; what comes from the broker is a
reason to start the agent; and when the agent ends without having said that it rests, it is started again.
"""

import math
import os
import select
import signal
import socket
import struct
import time
from typing import Final

from agent.errors import BrokerError
from agent.linux.courier import frames
from agent.linux.courier.children import Children
from agent.linux.courier.frames import FrameError, Rest, Standing
from agent.linux.courier.line import Line
from agent.linux.courier.orders import Orders
from agent.linux.mqtt import events
from agent.linux.mqtt_packets import Publication
from agent.linux.mqtt_session import MqttSession
from agent.message import Message

RETAINED_MAX: Final = 8
FRAMES_PER_TURN_MAX: Final = 64
RESTART_S: Final = 15.0
"""How long after an end without a word the agent is started again; doubled each time."""
ENDING_S: Final = 0.5
"""How soon it is looked again whether an agent that hung up has ended."""
ATTACH_S: Final = 60.0
"""How long a started agent may take to call before it is started once more."""
STABLE_S: Final = 60.0
RETRY_S: Final = 5.0
STEPS_MAX: Final = 16
WAIT_S_MAX: Final = 86_400.0
CREDENTIALS: Final = struct.Struct("3i")


class Courier:
    """One courier from its start to SIGTERM."""

    def __init__(self, orders: Orders, session: MqttSession, children: Children) -> None:
        self._orders = orders
        self._session = session
        self._children = children
        self._listeners: tuple[socket.socket, ...] = ()
        self._line: Line | None = None
        self._rest: Rest | None = None
        self._standing: Standing | None = None
        self._retained: dict[str, Message] = {}
        self._detached_s = -ATTACH_S
        self._start_s: float | None = 0.0  # a courier that begins knows nothing: the agent does
        self._alarm_s: float | None = None
        self._ends = 0
        self._failures = 0
        self._connect_s = 0.0
        self._connected_s = 0.0
        self._stopped = False

    def run(self) -> None:
        """Until SIGTERM or SIGINT; then say goodbye to the broker."""
        sessions, fetches = (
            socket.socket(fileno=number) for number in (self._orders.session, self._orders.fetches)
        )
        self._listeners = (sessions, fetches)
        for listener in self._listeners:
            listener.set_inheritable(False)
            listener.setblocking(False)
        wakes, sends = socket.socketpair()
        wakes.setblocking(False)
        sends.setblocking(False)
        signal.set_wakeup_fd(sends.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop())
        signal.signal(signal.SIGCHLD, lambda *_: None)
        while not self._stopped:
            ready = self._wait(wakes)
            self._turn(ready, sessions, fetches, wakes)
        self._say_goodbye()

    def _stop(self) -> None:
        self._stopped = True

    def _wait(self, wakes: socket.socket) -> set[int]:
        poller = select.poll()
        for listener in (*self._listeners, wakes):
            poller.register(listener.fileno(), select.POLLIN)
        if self._line is not None:
            poller.register(self._line.fileno(), select.POLLIN)
        wait_s = min(self._patience_s(), WAIT_S_MAX)
        connection = self._session.connection
        if connection is not None and connection.fileno() >= 0:
            poller.register(connection.fileno(), events(connection))
            wait_s = 0.0 if connection.has_pending else min(wait_s, connection.next_ping_s())
        return {number for number, _ in poller.poll(math.ceil(wait_s * 1000))}

    def _patience_s(self) -> float:
        """Seconds until something of our own is due."""
        due: list[float] = []
        if self._line is None:
            due += [moment for moment in (self._start_s, self._alarm_s) if moment is not None]
        if self._reconnects:
            due.append(self._connect_s)
        return max(0.0, min(due, default=math.inf) - time.monotonic())

    def _turn(
        self, ready: set[int], sessions: socket.socket, fetches: socket.socket, wakes: socket.socket
    ) -> None:
        if wakes.fileno() in ready:
            wakes.recv(64)
        self._children.reap()
        self._tend_session()
        if fetches.fileno() in ready and (connection := _accepted(fetches)) is not None:
            self._children.fetch(connection, self._closed_in_child())
        if sessions.fileno() in ready and (connection := _accepted(sessions)) is not None:
            self._attach(Line(connection))
        if self._line is not None:
            self._heed(self._line)
            self._hand_over()
        self._connect_when_due()
        self._start_when_due()

    def _closed_in_child(self) -> list[int]:
        """What a child that fetches has no business with."""
        own = [listener.fileno() for listener in self._listeners]
        if self._line is not None:
            own.append(self._line.fileno())
        if self._session.connection is not None:
            own.append(self._session.connection.fileno())
        return [number for number in own if number >= 0]

    @property
    def _awake(self) -> bool:
        """Whether an agent is there that looks after the session itself."""
        return self._line is not None and self._rest is None

    @property
    def _reconnects(self) -> bool:
        return self._standing is not None and not self._awake and not self._session.connected

    def _attach(self, line: Line) -> None:
        """An agent calls; it has the lock on the state, so that one from before is gone."""
        if self._line is not None:
            self._line.close()
        self._line, self._rest, self._start_s, self._alarm_s = line, None, None, None
        self._tell(frames.UP if self._session.connected else _down("there was no session"))

    def _detach(self) -> None:
        """The agent has ended: it rests, or it is started again soon."""
        if self._line is not None:
            self._line.close()
            self._line = None
        self._detached_s = time.monotonic()
        if self._rest is not None:
            self._ends = 0
            return
        pause_s = min(
            RESTART_S * 2.0 ** min(self._ends, STEPS_MAX), float(self._orders.retry_max_s)
        )
        self._start_s = self._detached_s + pause_s
        self._ends += 1

    def _tell(self, frame: bytes) -> bool:
        """Say something to the agent; whether one is there and took it."""
        if self._line is None:
            return False
        try:
            self._line.send(frame)
        except FrameError:
            self._detach()
            return False
        return True

    def _heed(self, line: Line) -> None:
        """Do what the agent says."""
        try:
            for _ in range(FRAMES_PER_TURN_MAX):
                if self._line is not line or (frame := line.receive(0.0)) is None:
                    return
                self._obey(*frame)
        except FrameError:
            self._detach()

    def _obey(self, kind: bytes, content: bytes) -> None:
        match kind:
            case frames.CONNECT:
                self._standing = frames.parse_standing(content)
                self._retained.clear()  # what was said of an older session
                self._tell(self._connected())
            case frames.PUBLISH:
                self._publish(frames.parse_message(content))
            case frames.GOODBYE:
                self._say_goodbye()
            case frames.REST:
                self._rest = frames.parse_rest(content)
                self._alarm_s = time.monotonic() + self._rest.wake_after_s
                self._tell(frames.RESTING)
            case frames.AWAKE:
                self._rest = self._alarm_s = None
            case _:
                raise FrameError(f"frame {kind!r} is unknown")

    def _hand_over(self) -> None:
        """Give the agent what has come, as long as it takes it; the rest waits in the inbox."""
        inbox = self._session.inbox
        for _ in range(len(inbox)):
            if self._line is None or not self._awake or not self._line.takes():
                return
            message = inbox.take()
            assert message is not None, "counted"
            post = Message(message.topic, message.content, message.retain)
            if not self._tell(frames.encode_message(frames.MESSAGE, post)):
                inbox.put(message)

    def _tend_session(self) -> None:
        """Keep the session; a loss is the agent's affair while it is there."""
        was_connected = self._session.connection is not None
        self._session.turn()
        try:
            self._session.check()
        except BrokerError as error:
            self._complain(error)
            if was_connected and not self._session.connected:
                self._lost()

    def _complain(self, error: BrokerError) -> None:
        kind = frames.REFUSED if self._session.connected else frames.DOWN
        self._tell(frames.encode_sentence(kind, str(error)))

    def _lost(self) -> None:
        now_s = time.monotonic()
        if now_s - self._connected_s >= STABLE_S:
            self._failures = 0
        self._connect_s = now_s + self._jitter_s()
        self._failures += 1

    def _jitter_s(self) -> float:
        """Full jitter, so that a fleet does not come back as one."""
        chance = int.from_bytes(os.urandom(4), "big") / 2**32
        cap_s = float(self._orders.retry_max_s)
        return chance * min(cap_s, RETRY_S * 2.0 ** min(self._failures, STEPS_MAX))

    def _connected(self) -> bytes:
        """Open the session that was ordered; the frame that says how that went."""
        assert self._standing is not None, "ordered before"
        will = self._standing.will
        try:
            self._session.connect(
                self._standing.subscriptions, Publication(will.topic, will.content, will.retain)
            )
        except BrokerError as error:
            self._lost()
            return frames.encode_sentence(frames.DOWN, str(error))
        self._connected_s = time.monotonic()
        return frames.UP

    def _connect_when_due(self) -> None:
        """While the agent sleeps: open the session again, and say again what is retained."""
        if not self._reconnects or time.monotonic() < self._connect_s:
            return
        if self._connected() != frames.UP:
            return
        for post in self._retained.values():
            self._send(post)
        if self._rest is not None and self._rest.on_session:
            self._start_s = 0.0

    def _publish(self, post: Message) -> None:
        if post.retain:
            if self._session.connected and self._retained.get(post.topic) == post:
                return  # the broker has it
            self._retained.pop(post.topic, None)
            if len(self._retained) < RETAINED_MAX:
                self._retained[post.topic] = post
        self._send(post)

    def _send(self, post: Message) -> None:
        try:
            self._session.publish(Publication(post.topic, post.content, post.retain))
        except BrokerError as error:
            self._complain(error)
            if not self._session.connected:
                self._lost()

    def _say_goodbye(self) -> None:
        """End the session on purpose: what the will would say is said now, unless it was."""
        if self._standing is not None and self._session.connected:
            will = self._standing.will
            if self._retained.get(will.topic) != will:
                self._send(will)
        self._session.close()
        self._standing = None
        self._retained.clear()

    def _start_when_due(self) -> None:
        """Start the agent for a message, an alarm, or an end without a word."""
        if self._line is not None:
            return
        now_s = time.monotonic()
        if len(self._session.inbox) > 0 and self._start_s is None:
            self._start_s = now_s
        if self._alarm_s is not None and now_s >= self._alarm_s:
            self._alarm_s, self._start_s = None, now_s
        if self._start_s is None or now_s < self._start_s:
            return
        if self._children.agent_runs and now_s < self._detached_s + ATTACH_S:
            self._start_s = now_s + ENDING_S  # it has hung up, and is about to end
            return
        self._children.start_agent()
        self._start_s = now_s + ATTACH_S


def _down(sentence: str) -> bytes:
    return frames.encode_sentence(frames.DOWN, sentence)


def _accepted(listener: socket.socket) -> socket.socket | None:
    """The next connection, unless it is from a stranger."""
    try:
        connection, _ = listener.accept()
    except OSError:
        return None
    packed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    _, user, _ = CREDENTIALS.unpack(packed)
    if user not in (0, os.getuid()):
        connection.close()
        return None
    return connection
