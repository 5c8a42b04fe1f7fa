from datetime import timedelta

import pytest

from agent.errors import ExpiredError, RollbackError, TrustError
from agent.interfaces import Files, Message
from agent.metadata import session
from agent.release import Release
from agent.rollout import Halts, Rollouts
from agent.topics import Topics
from simulator.broker import Hub
from simulator.clock import SimulatedClock
from simulator.image import make_small_image
from simulator.operator import Operator
from simulator.repository import SimulatedRepository
from simulator.scratch import SimulatedScratch

IMAGE = make_small_image(1, 64)


class MemoryFiles:
    def __init__(self) -> None:
        self.content: dict[str, bytes] = {}

    def read(self, name: str) -> bytes | None:
        return self.content.get(name)

    def replace(self, name: str, content: bytes) -> None:
        self.content[name] = content

    def remove(self, name: str) -> None:
        self.content.pop(name, None)

    def names(self, folder: str) -> tuple[str, ...]:
        return tuple(sorted(name for name in self.content if name.startswith(f"{folder}/")))


def open_operator(seed: int = 0) -> Operator:
    operator = Operator(SimulatedClock(), Hub(), seed=seed)
    operator.open()
    return operator


def read(operator: Operator, files: Files) -> tuple[Rollouts, Halts, list[Release]]:
    clock = operator.clock
    with session(
        repository=SimulatedRepository(operator.source, clock),
        scratch=SimulatedScratch(),
        files=files,
        root_of_trust=operator.root_of_trust,
        fleet=operator.fleet,
        now=lambda _keys: clock.true_time(),
    ) as opened:
        rollouts = opened.rollouts()
        releases = [opened.release(one.release)[0] for one in rollouts.rollouts]
        return rollouts, opened.halts(), releases


def test_publishes_what_the_agent_trusts() -> None:
    operator = open_operator()
    release = operator.release("2", 2, "board", {"root": IMAGE})
    rollout = operator.roll_out("r", "2")
    operator.publish()
    files = MemoryFiles()
    assert read(operator, files) == (
        Rollouts(operator.fleet, (rollout,)),
        Halts(operator.fleet, ()),
        [release],
    )
    operator.halt("r", "smoke")
    operator.publish()
    assert [halt.reason for halt in read(operator, files)[1].halts] == ["smoke"]


def test_the_same_seed_publishes_the_same_bytes_and_another_seed_has_other_keys() -> None:
    one, two, other = open_operator(1), open_operator(1), open_operator(2)
    for operator in (one, two, other):
        operator.release("2", 2, "board", {"root": IMAGE})
        operator.roll_out("r", "2")
        operator.publish()
    assert one.content == two.content
    assert one.root_of_trust != other.root_of_trust


def test_too_few_signatures_old_dates_and_old_states_are_not_trusted() -> None:
    operator = open_operator()
    files = MemoryFiles()
    older = dict(operator.content)
    operator.publish()
    read(operator, files)
    newest = dict(operator.content)
    operator.publish(signatures=1)
    with pytest.raises(TrustError):
        read(operator, files)
    operator.content = {**newest, **older}
    with pytest.raises(RollbackError):
        read(operator, files)
    operator.content = newest
    operator.clock.sleep(timedelta(days=8).total_seconds())
    with pytest.raises(ExpiredError):
        read(operator, files)


def test_a_notice_is_retained_and_nonsense_from_a_device_is_ignored() -> None:
    operator = open_operator()
    operator.notify()
    topics = Topics(operator.fleet, "one")
    assert topics.fleet_notice in operator.hub.retained
    operator.hub.publish(Message(topics.report, b"not a report"))
    assert operator.outcomes() == []
