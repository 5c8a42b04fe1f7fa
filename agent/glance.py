"""A look at whether anything is new, before that is loaded which could act on it.

An agent that is started for a notice nearly always finds nothing: the notice was for others, or was
repeated. Its costs are the costs of loading it, so this does with little what `Shift` does with all.
Whatever it does not understand it leaves to that, and takes nothing away from it.
"""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Protocol

from agent.agenda import Agenda, Monotonic
from agent.basics import Basics
from agent.errors import NoticeError, UpdateError
from agent.message import Message
from agent.notice import parse_notice
from agent.outlook import Outlook, is_untouched, still_holds
from agent.rest import SHORTEST_S, Memory
from agent.topics import Topics

if TYPE_CHECKING:  # loading all of the seams takes as long as a glance
    from agent.interfaces import Files, Random, Repository

MESSAGES_MAX: Final = 64


class Inbox(Protocol):
    """The part of a `Broker` that is read, and can be given back unread. Raises `BrokerError`."""

    @property
    def connected(self) -> bool:
        """Whether there is a session."""
        ...

    def next_message(self, timeout_s: float) -> Message | None:
        """The next message that has come."""
        ...

    def give_back(self, messages: tuple[Message, ...]) -> None:
        """Put messages before those that wait."""
        ...


class Calendar(Monotonic, Protocol):
    """The part of a `Clock` that a glance looks at, which need not know whether the date is set."""

    def utc(self) -> datetime:
        """The date as far as it is known."""
        ...


class Glance:
    """One look, with few parts of a world."""

    def __init__(self, basics: Basics, clock: Calendar, random: "Random", files: "Files") -> None:
        self._device = basics.device
        self._clock = clock
        self._files = files
        self._agenda = Agenda(clock, random, basics.timing)

    def look(self, memory: Memory, inbox: Inbox, repository: "Repository") -> Memory | None:
        """What to remember when there is nothing to do; None when the whole agent has to look."""
        if memory.outlook is None or not inbox.connected:
            return None
        taken: list[Message] = []
        try:
            found = self._look(memory, memory.outlook, inbox, repository, taken)
        except UpdateError:  # what it is, and what to do about it, is said by the whole agent
            found = None
        if found is None:
            inbox.give_back(tuple(taken))
        return found

    def _look(
        self,
        memory: Memory,
        outlook: Outlook,
        inbox: Inbox,
        repository: "Repository",
        taken: list[Message],
    ) -> Memory | None:
        if not is_untouched(outlook, self._files):
            return None
        self._agenda.recall(memory)
        if not self._take_notices(inbox, taken):
            return None
        if self._agenda.check_is_due():
            now = self._now(memory, outlook)
            if not still_holds(outlook, self._files, repository, now):
                return None
            self._agenda.checking()
            self._agenda.checked(now=now, until=outlook.looked.until)
        if self._agenda.wait_s(updating=False) < SHORTEST_S:
            return None
        return self._agenda.memory(memory.boot_id, memory.detail)._replace(outlook=outlook)

    def _now(self, memory: Memory, outlook: Outlook) -> datetime:
        """The date, never before what was known to be past: a clock that was set back freshens nothing."""
        since_s = max(0.0, self._clock.monotonic_s() - max(0, memory.checked_ms) / 1000)
        return max(self._clock.utc(), outlook.looked.seen_at + timedelta(seconds=since_s))

    def _take_notices(self, inbox: Inbox, taken: list[Message]) -> bool:
        """Whether nothing but notices has come."""
        topics = Topics(self._device.fleet, self._device.id)
        for _ in range(MESSAGES_MAX):
            message = inbox.next_message(0.0)
            if message is None:
                return True
            taken.append(message)
            if message.topic not in (topics.fleet_notice, topics.notice):
                return False
            try:
                self._agenda.noticed(parse_notice(message.content).spread_s)
            except NoticeError:
                continue  # counted by nobody: it was never a notice
        return False
