"""A broker that plays what a test wrote for it, on a clock that moves only when someone waits."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from agent.errors import BrokerError
from agent.interfaces import Message
from simulator.clock import SimulatedClock


@dataclass(slots=True)
class HighestRandom:
    """A `Random` that always gives the longest wait, and remembers between what it chose."""

    ranges: list[tuple[float, float]] = field(default_factory=list)
    tokens: int = 0

    def uniform(self, low: float, high: float) -> float:
        """The upper bound."""
        self.ranges.append((low, high))
        return high

    def token(self) -> str:
        """Another one each time."""
        self.tokens += 1
        return f"{self.tokens:032x}"


@dataclass(slots=True)
class ScriptedBroker:
    """A `Broker`. `up` is whether it takes sessions, `waiting` what it will deliver.

    With `endless` it delivers that message again and again, each after `pause_s`.
    """

    clock: SimulatedClock
    up: bool = True
    quiet_loss: bool = False
    waiting: deque[Message] = field(default_factory=deque)
    endless: Message | None = None
    pause_s: float = 0.0
    published: list[Message] = field(default_factory=list)
    connects_s: list[float] = field(default_factory=list)
    wills: list[Message] = field(default_factory=list)
    subscriptions: tuple[str, ...] = ()
    delivered: int = 0
    closed: int = 0
    _session: bool = False

    @property
    def connected(self) -> bool:
        """Whether there is a session."""
        return self._session

    def connect(self, subscriptions: tuple[str, ...], will: Message) -> None:
        """Open a session, if there is anyone to open it with."""
        self.connects_s.append(self.clock.now_s)
        if not self.up:
            raise BrokerError("nobody answers")
        self.subscriptions = subscriptions
        self.wills.append(will)
        self._session = True

    def next_message(self, timeout_s: float) -> Message | None:
        """The next message of the script."""
        if self._session and not self.up:
            self._session = False
            if not self.quiet_loss:
                raise BrokerError("the session is over")
        if self._session and self.endless is not None:
            self.delivered += 1
            self.clock.sleep(self.pause_s)
            return self.endless
        if self._session and self.waiting:
            self.delivered += 1
            return self.waiting.popleft()
        self.clock.sleep(timeout_s)
        return None

    def publish(self, message: Message) -> None:
        """Take a message."""
        if not self._session:
            raise BrokerError("no session")
        self.published.append(message)

    def close(self) -> None:
        """End the session."""
        self.closed += 1
        self._session = False

    def on(self, leaf: str) -> list[Message]:
        """What was published on topics that end like this."""
        return [message for message in self.published if message.topic.endswith(f"/{leaf}")]

    def deliver(self, messages: Iterable[Message]) -> None:
        """Let these come next."""
        self.waiting.extend(messages)
