"""`Broker` of an agent without a network: the session is the courier's.

The courier is believed nothing: its frames are bounded and strict, what it hands over is parsed as if it
came from anyone, and whatever is wrong with it is a `BrokerError`.
"""

import select
import time
from typing import Final

from agent.errors import BrokerError
from agent.linux.courier import frames
from agent.linux.courier.frames import FrameError, Rest, Standing
from agent.linux.courier.line import Line, dial
from agent.linux.wake import Waker
from agent.message import Message

ATTACH_TIMEOUT_S: Final = 30.0  # the courier may be busy with a broker that does not answer
CONNECT_TIMEOUT_S: Final = 50.0  # two versions of MQTT, each with its own deadlines
REST_TIMEOUT_S: Final = 5.0
INBOX_MAX: Final = 64
FRAMES_MAX: Final = 256
"""How many frames are taken in one wait: a courier that floods is one that is broken."""


class CourierBroker:
    """The session at the other end of a Unix socket. Raises `BrokerError`."""

    def __init__(self, path: str, waker: Waker) -> None:
        self._path = path
        self._waker = waker
        self._line: Line | None = None
        self._connected = False
        self._ordered = False
        self._resting = False
        self._inbox: list[Message] = []

    def attach(self) -> None:
        """Call the courier; it says whether there is a session already."""
        if self._line is not None:
            return
        try:
            self._line = dial(self._path)
            self._await(frozenset((frames.UP, frames.DOWN)), ATTACH_TIMEOUT_S)
        except FrameError as error:
            raise self._gone(error) from error
        self._ordered = self._connected

    @property
    def connected(self) -> bool:
        """Whether the courier says that there is a session."""
        return self._connected

    def connect(self, subscriptions: tuple[str, ...], will: Message) -> None:
        """Have a session opened, now and whenever it is lost while the agent rests."""
        self.attach()
        standing = Standing(subscriptions, will)
        self._say(frames.encode_standing(standing))
        self._ordered = True
        try:
            sentence = self._await(frozenset((frames.UP, frames.DOWN)), CONNECT_TIMEOUT_S)
        except FrameError as error:
            raise self._gone(error) from error
        if not self._connected:
            raise BrokerError(sentence)

    def next_message(self, timeout_s: float) -> Message | None:
        """The next message, or None at a local request or when the time is up."""
        deadline_s = time.monotonic() + timeout_s
        for _ in range(FRAMES_MAX):
            if self._inbox:
                return self._inbox.pop(0)
            left_s = max(0.0, deadline_s - time.monotonic())
            woken, spoken = self._wait(left_s)
            if spoken:
                self._take_next()
            elif woken or left_s == 0:
                return None
        return None

    def give_back(self, messages: tuple[Message, ...]) -> None:
        """Put messages that were taken before those that wait."""
        self._inbox = [*messages, *self._inbox][-INBOX_MAX:]

    def publish(self, message: Message) -> None:
        """Hand a message to the courier."""
        if not self._connected:
            raise BrokerError("no session with the broker; nothing was published")
        self._say(frames.encode_message(frames.PUBLISH, message))

    def close(self) -> None:
        """End the session, if there is one, with a goodbye."""
        if self._connected and self._line is not None:
            self._connected = self._ordered = False
            try:
                self._line.send(frames.GOODBYE)
            except FrameError:
                self._drop()

    def rest(self, wake_after_s: float, *, on_session: bool) -> bool:
        """Whether the agent may end now, because the courier will start it again.

        It may not when a message came meanwhile, or when the courier would not know what to connect with.
        """
        if self._line is None or not self._ordered:
            return False
        self._say(frames.encode_rest(Rest(wake_after_s, on_session)))
        try:
            self._await(frozenset((frames.RESTING,)), REST_TIMEOUT_S)
        except FrameError as error:
            raise self._gone(error) from error
        if self._inbox:
            self._say(frames.AWAKE)
            return False
        return True

    def detach(self) -> None:
        """Hang up, without a word about the session."""
        self._drop()

    def _take_next(self) -> None:
        """Take in one frame. Raises `BrokerError` when it ends the session, or the courier has ended."""
        try:
            frame = None if self._line is None else self._line.receive(0.0)
            if frame is not None and frame[0] in (frames.DOWN, frames.REFUSED):
                self._connected = self._connected and frame[0] != frames.DOWN
                raise BrokerError(frames.parse_sentence(frame[1]))
            if frame is not None:
                self._take(*frame)
        except FrameError as error:
            raise self._gone(error) from error

    def _await(self, kinds: frozenset[bytes], timeout_s: float) -> str:
        """Take in frames up to one of these kinds; the words in it. Raises `FrameError`."""
        assert self._line is not None, "attached before"
        deadline_s = time.monotonic() + timeout_s
        for _ in range(FRAMES_MAX):
            frame = self._line.receive(deadline_s - time.monotonic())
            if frame is None:
                raise FrameError(f"it did not answer within {timeout_s:g} s")
            self._take(*frame)
            if frame[0] in kinds:
                return frames.parse_sentence(frame[1])
        raise FrameError("it says too much")

    def _take(self, kind: bytes, content: bytes) -> None:
        match kind:
            case frames.UP:
                self._connected = True
            case frames.DOWN:
                self._connected = False
            case frames.MESSAGE:
                message = frames.parse_message(content)
                if len(self._inbox) < INBOX_MAX:
                    self._inbox.append(message)
            case frames.REFUSED | frames.RESTING:
                pass  # said to whoever waits for it
            case _:
                raise FrameError(f"frame {kind!r} is unknown")

    def _wait(self, timeout_s: float) -> tuple[bool, bool]:
        """Whether a local request has come, and whether the courier has something to say."""
        poller = select.poll()
        waker = self._waker.fileno()
        poller.register(waker, select.POLLIN)
        if self._line is not None:
            poller.register(self._line.fileno(), select.POLLIN)
        ready = {descriptor for descriptor, _ in poller.poll(timeout_s * 1000)}
        woken = waker in ready and self._waker.drain()
        return woken, bool(ready - {waker})

    def _say(self, frame: bytes) -> None:
        assert self._line is not None, "attached before"
        try:
            self._line.send(frame)
        except FrameError as error:
            raise self._gone(error) from error

    def _gone(self, error: FrameError) -> BrokerError:
        self._drop()
        return BrokerError(
            f"the courier was expected at {self._path}: {error}; it is called again, see that it runs"
        )

    def _drop(self) -> None:
        self._connected = self._ordered = False
        if self._line is not None:
            self._line.close()
            self._line = None
