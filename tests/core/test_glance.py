"""What a glance settles, and what it leaves to the whole agent without taking anything away."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest

from agent.basics import Basics
from agent.errors import FetchError, NotFoundError
from agent.glance import Glance
from agent.interfaces import ByteStream, Message
from agent.outlook import Looked, Outlook, digest
from agent.rest import Memory, encode_memory, parse_memory
from simulator.clock import START, SimulatedClock
from simulator.files import SimulatedFiles
from simulator.power import Power
from simulator.random import SimulatedRandom
from tests.core.clients import CONFIG

NOTICE = Message("lockgate/harbour/notice", b'{"schema": 1, "spread_s": 0}')
RECEIPT = Message("lockgate/harbour/pump-7/receipt", b"{}")
TIMESTAMP, JOURNAL = b"a signed timestamp", b"a journal"
LATER = START + timedelta(days=7)


@dataclass(slots=True)
class Served:
    """A `Repository` of a few files, which counts what it is asked for."""

    files: dict[str, bytes]
    failing: bool = False
    asked: list[str] = field(default_factory=list)

    def open(self, path: str, offset: int, length_max: int) -> ByteStream:
        self.asked.append(path)
        if self.failing:
            raise FetchError("the network is away")
        if path not in self.files:
            raise NotFoundError(path)
        return Bytes(self.files[path][offset : offset + length_max])


@dataclass(slots=True)
class Bytes:
    left: bytes

    def read(self, length_max: int) -> bytes:
        piece, self.left = self.left[:length_max], self.left[length_max:]
        return piece

    def close(self) -> None:
        self.left = b""


@dataclass(slots=True)
class Waiting:
    """The messages that wait, and whether there is a session."""

    messages: list[Message]
    connected: bool = True

    def next_message(self, timeout_s: float) -> Message | None:
        assert timeout_s == 0
        return self.messages.pop(0) if self.messages else None

    def give_back(self, messages: tuple[Message, ...]) -> None:
        self.messages[:0] = messages


class Bench:
    """A device that looked an hour ago, found nothing, and is woken by a notice."""

    def __init__(self) -> None:
        self.clock = SimulatedClock()
        self.clock.sleep(3600)
        self.files = SimulatedFiles(Power(seed=0))
        self.files.content |= {"metadata/timestamp.json": TIMESTAMP, "journal.json": JOURNAL}
        self.repository = Served({"metadata/timestamp.json": TIMESTAMP})
        self.inbox = Waiting([NOTICE])
        looked = Looked(seen_at=START, next_root=4, expires=LATER, until=None)
        outlook = Outlook(digest(TIMESTAMP), digest(JOURNAL), looked)
        self.memory = Memory("boot-1", 90_000_000, 0, 0, "nothing for it", outlook)
        device = CONFIG.device._replace(fleet="harbour")
        self.basics = Basics(device, CONFIG.repository, CONFIG.paths, CONFIG.timing)

    def look(self) -> Memory | None:
        glance = Glance(self.basics, self.clock, SimulatedRandom(1), self.files)
        return glance.look(self.memory, self.inbox, self.repository)

    def change_looked(self, **dates: datetime) -> None:
        assert self.memory.outlook is not None
        looked = self.memory.outlook.looked._replace(**dates)  # type: ignore[arg-type]  # by name
        outlook = self.memory.outlook._replace(looked=looked)
        self.memory = self.memory._replace(outlook=outlook)


def test_a_notice_about_nothing_new_costs_two_small_requests() -> None:
    bench = Bench()
    found = bench.look()
    assert found is not None
    assert bench.repository.asked == ["metadata/4.root.json", "metadata/timestamp.json"]
    assert found.checked_ms == 3_600_000
    assert found.check_due_ms > 3_600_000 + 0.9 * CONFIG.timing.check_every_s * 1000
    assert (found.outlook, found.detail) == (bench.memory.outlook, "nothing for it")
    assert not bench.inbox.messages


def test_the_next_check_comes_when_the_decision_may_be_another_one() -> None:
    bench = Bench()
    bench.change_looked(until=START + timedelta(hours=1, minutes=5))
    found = bench.look()
    assert found is not None
    assert found.check_due_ms == 3_900_000


def test_a_notice_that_spreads_the_fleet_is_waited_out_first() -> None:
    bench = Bench()
    bench.inbox.messages = [NOTICE._replace(content=b'{"schema": 1, "spread_s": 21600}')]
    found = bench.look()
    assert found is not None
    assert not bench.repository.asked
    assert 3_602_000 < found.check_due_ms < 3_600_000 + 21_600_000


CHANGES: dict[str, Callable[[Bench], object]] = {
    "a newer root": lambda bench: bench.repository.files.update({"metadata/4.root.json": b"x"}),
    "a newer timestamp": lambda bench: bench.repository.files.update(
        {"metadata/timestamp.json": b"another"}
    ),
    "a longer timestamp": lambda bench: bench.repository.files.update(
        {"metadata/timestamp.json": TIMESTAMP + b" "}
    ),
    "a rotten timestamp": lambda bench: bench.files.content.update(
        {"metadata/timestamp.json": b"rotten"}
    ),
    "another journal": lambda bench: bench.files.content.update({"journal.json": b"deferred"}),
    "a request": lambda bench: bench.files.content.update({"request.json": b"{}"}),
    "a receipt": lambda bench: bench.inbox.messages.append(RECEIPT),
    "expired": lambda bench: bench.change_looked(expires=START + timedelta(minutes=59)),
    "a phase begins": lambda bench: bench.change_looked(until=START + timedelta(minutes=59)),
    "no session": lambda bench: setattr(bench.inbox, "connected", False),
    "no network": lambda bench: setattr(bench.repository, "failing", True),
    "nothing known": lambda bench: setattr(bench, "memory", bench.memory._replace(outlook=None)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_else_there_is_the_whole_agent_looks_and_hears_all_of_it(change: str) -> None:
    bench = Bench()
    CHANGES[change](bench)
    waiting = list(bench.inbox.messages)
    assert bench.look() is None
    assert bench.inbox.messages == waiting


def test_a_clock_that_was_set_back_makes_nothing_fresh_again() -> None:
    bench = Bench()
    bench.clock.battery, bench.clock.synchronise_after_s = False, None
    bench.change_looked(expires=START + timedelta(minutes=59))
    assert bench.look() is None


def test_what_is_remembered_is_read_back_in_the_same_boot_alone() -> None:
    memory = Bench().memory
    assert parse_memory(encode_memory(memory), "boot-1") == memory
    assert parse_memory(encode_memory(memory), "boot-2") is None
    assert parse_memory(None, "boot-1") is None
    for end in range(0, 300, 7):
        assert parse_memory(encode_memory(memory)[:end], "boot-1") is None
    until = START + timedelta(days=1)
    outlook = memory.outlook
    assert outlook is not None
    outlook = outlook._replace(looked=outlook.looked._replace(until=until))
    memory = memory._replace(outlook=outlook, checked_ms=-1)
    assert parse_memory(encode_memory(memory), "boot-1") == memory
