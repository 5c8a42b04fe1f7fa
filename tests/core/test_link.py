from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.backoff import BASE_S, full_jitter
from agent.errors import BrokerError
from agent.interfaces import Message
from agent.journal import REPORTS_MAX
from agent.link import MESSAGES_MAX, REPORT_INTERVAL_S, STABLE_S, STATUS_INTERVAL_S, Link
from agent.linux.mqtt import OUTSTANDING_MAX
from agent.notice import Notice, encode_notice
from agent.report import Receipt, Status, encode_receipt, parse_presence, parse_report, parse_status
from agent.topics import Topics
from simulator.clock import SimulatedClock
from simulator.random import SimulatedRandom
from tests.core.samples import NOON, REPORT
from tests.core.scripts import HighestRandom, ScriptedBroker

TOPICS = Topics("water", "pump-7")
RETRY_MAX_S = 900
STATUS = Status(
    device="pump-7",
    fleet="water",
    at=NOON,
    boot_id="boot-1",
    slot="a",
    release="2026.1",
    counter=1,
    phase="idle",
    update="",
    target="",
    done_bytes=0,
    total_bytes=0,
    detail="",
    reports_waiting=0,
    agent="0.1.0",
)
NOTICE = Message(TOPICS.notice, encode_notice(Notice(60)), retain=True)


class Bench:
    """A link, its broker, and the clock between them."""

    def __init__(self) -> None:
        self.clock = SimulatedClock()
        self.broker = ScriptedBroker(self.clock)
        self.random = HighestRandom()
        self.link = Link(self.broker, self.clock, self.random, TOPICS, RETRY_MAX_S)

    def tend_until(self, moment_s: float) -> int:
        """Tend until then; how many calls that took."""
        calls = 0
        while self.clock.now_s < moment_s:
            self.link.tend(moment_s - self.clock.now_s, ())
            calls += 1
            assert calls < 2000, "the link lets no time pass"
        return calls


@pytest.fixture
def bench() -> Bench:
    return Bench()


@given(st.integers(0, 10_000), st.integers(1, 86_400), st.integers(0, 2**32))
def test_back_off_is_full_jitter_under_its_cap(failures: int, cap_s: int, seed: int) -> None:
    wait_s = full_jitter(SimulatedRandom(seed), failures, cap_s)
    assert 0 <= wait_s <= min(cap_s, BASE_S * 2 ** min(failures, 20))


def test_back_off_doubles_from_its_base_up_to_its_cap() -> None:
    random = HighestRandom()
    waits = [full_jitter(random, failures, 900) for failures in range(10)]
    assert waits == [5, 10, 20, 40, 80, 160, 320, 640, 900, 900]
    assert {low for low, _ in random.ranges} == {0.0}


def test_a_session_leaves_a_will_subscribes_exactly_and_says_that_it_is_there(bench: Bench) -> None:
    bench.link.tend(1, ())
    assert bench.link.connected
    assert bench.broker.subscriptions == (TOPICS.fleet_notice, TOPICS.notice, TOPICS.receipt)
    assert not any(set(topic) & set("+#") for topic in bench.broker.subscriptions)
    (will,), (presence,) = bench.broker.wills, bench.broker.on("presence")
    assert not parse_presence(will.content).online
    assert parse_presence(presence.content).online
    assert parse_presence(will.content).session == parse_presence(presence.content).session
    assert will.retain
    assert presence.retain


def test_a_broker_that_is_away_is_asked_ever_more_rarely(bench: Bench) -> None:
    bench.broker.up = False
    bench.tend_until(4000)
    gaps = [
        b - a for a, b in zip(bench.broker.connects_s, bench.broker.connects_s[1:], strict=False)
    ]
    assert gaps == [5, 10, 20, 40, 80, 160, 320, 640, 900, 900, 900]
    assert "nobody answers" in bench.link.last_error


@pytest.mark.parametrize("quiet", [False, True])
def test_a_broker_that_ends_every_session_at_once_is_not_asked_in_a_loop(
    bench: Bench, *, quiet: bool
) -> None:
    bench.broker.quiet_loss = quiet

    def end() -> None:
        bench.broker.up = False

    def take() -> None:
        bench.broker.up = True

    for second in range(2000):
        bench.clock.at(second + 0.5, end)
        bench.clock.at(second + 0.6, take)
    for _ in range(3000):
        if bench.clock.now_s >= 1500:
            break
        bench.link.tend(0.25, ())
    assert 5 < len(bench.broker.connects_s) < 20


def test_a_session_that_held_starts_the_back_off_anew(bench: Bench) -> None:
    bench.broker.up = False
    bench.tend_until(1000)
    bench.broker.up = True
    bench.tend_until(bench.broker.connects_s[-1] + 901 + STABLE_S)
    assert bench.link.connected
    bench.broker.up = False
    bench.link.tend(0, ())
    lost_s = bench.clock.now_s
    bench.tend_until(lost_s + 6)
    assert bench.broker.connects_s[-1] == lost_s + BASE_S


def test_a_session_that_was_short_does_not(bench: Bench) -> None:
    bench.broker.up = False
    bench.tend_until(160)
    bench.broker.up = True
    bench.tend_until(320)
    assert bench.link.connected
    connected_s = bench.broker.connects_s[-1]
    bench.clock.now_s = connected_s + STABLE_S - 1
    bench.broker.up = False
    bench.link.tend(0, ())
    bench.tend_until(bench.clock.now_s + 100)
    assert bench.broker.connects_s[-1] == connected_s


def test_a_found_session_is_told_everything_again(bench: Bench) -> None:
    bench.link.show(STATUS)
    bench.link.tend(0, (REPORT,))
    bench.broker.up = False
    bench.link.tend(0, (REPORT,))
    bench.broker.up = True
    bench.broker.published.clear()
    bench.clock.sleep(10)
    bench.link.tend(0, (REPORT,))
    assert [message.topic.rsplit("/", 1)[1] for message in bench.broker.published] == [
        "presence",
        "state",
        "report",
    ]


def test_a_report_is_said_again_until_it_is_not_waiting_any_more(bench: Bench) -> None:
    for _ in range(11):
        bench.link.tend(REPORT_INTERVAL_S, (REPORT,))
    said = bench.broker.on("report")
    assert len(said) == 11
    assert {parse_report(message.content) for message in said} == {REPORT}
    assert not any(message.retain for message in said)
    bench.link.tend(REPORT_INTERVAL_S * 10, ())
    assert len(bench.broker.on("report")) == 11


def test_a_report_that_nobody_may_hear_yet_costs_nothing(bench: Bench) -> None:
    bench.broker.up = False
    bench.tend_until(100)
    assert bench.broker.published == []


def test_a_new_report_does_not_wait_for_the_others(bench: Bench) -> None:
    bench.link.tend(0, (REPORT,))
    bench.link.speak_again()
    bench.link.tend(0, (REPORT, replace(REPORT, id="b2" * 16)))
    assert len(bench.broker.on("report")) == 3


@dataclass(slots=True)
class SlowBroker(ScriptedBroker):
    """Takes so many messages at once as a connection does; it acknowledges them while it is waited for."""

    outstanding: list[Message] = field(default_factory=list)

    def publish(self, message: Message) -> None:
        """Take a message, or end the session."""
        if len(self.outstanding) >= OUTSTANDING_MAX:
            raise BrokerError("too many messages are not acknowledged")
        self.outstanding.append(message)
        ScriptedBroker.publish(self, message)

    def next_message(self, timeout_s: float) -> Message | None:
        """The next message of the script."""
        self.outstanding.clear()
        return ScriptedBroker.next_message(self, timeout_s)


def test_a_full_outbox_is_said_whole_and_does_not_cost_the_session(bench: Bench) -> None:
    broker = SlowBroker(bench.clock)
    link = Link(broker, bench.clock, bench.random, TOPICS, RETRY_MAX_S)
    link.show(STATUS)
    reports = tuple(replace(REPORT, id=f"{number:032x}") for number in range(REPORTS_MAX))
    for round_number in (1, 2):
        until_s = bench.clock.now_s + REPORT_INTERVAL_S - 1
        while bench.clock.now_s < until_s:
            link.tend(1, reports)
            assert link.connected, link.last_error
        said = [parse_report(message.content) for message in broker.on("report")]
        assert said == list(reports) * round_number
        bench.clock.sleep(REPORT_INTERVAL_S)
        assert not link.is_quiet(reports), "the next round is due"


def test_what_is_taken_in_between_delays_none_of_the_others(bench: Bench) -> None:
    reports = [replace(REPORT, id=f"{number:032x}") for number in range(REPORTS_MAX)]
    while reports:
        bench.link.tend(1, tuple(reports))
        assert not bench.link.is_quiet(tuple(reports))
        said = {parse_report(message.content).id for message in bench.broker.on("report")}
        reports = [report for report in reports if report.id not in said]
    assert bench.clock.now_s < REPORT_INTERVAL_S
    assert bench.link.is_quiet(())


def test_receipts_are_collected_once_and_only_from_their_topic(bench: Bench) -> None:
    receipt = encode_receipt(Receipt((REPORT.id, "x")))
    bench.broker.deliver([Message(TOPICS.receipt, receipt), Message(TOPICS.receipt, receipt)])
    bench.link.tend(1, ())
    assert bench.link.take_receipts() == tuple(sorted((REPORT.id, "x")))
    assert bench.link.take_receipts() == ()
    for topic in (TOPICS.notice, TOPICS.report, "lockgate/water/pump-8/receipt"):
        bench.broker.deliver([Message(topic, receipt)])
        bench.link.tend(1, ())
    assert bench.link.take_receipts() == ()
    assert bench.link.ignored == 3


def test_notices_are_hints_from_both_topics(bench: Bench) -> None:
    bench.broker.deliver([NOTICE, Message(TOPICS.fleet_notice, encode_notice(Notice(5)))])
    bench.link.tend(1, ())
    assert bench.link.take_notices() == (60, 5)
    assert bench.link.take_notices() == ()


@given(st.binary(max_size=100), st.sampled_from([TOPICS.notice, TOPICS.fleet_notice, "x", ""]))
def test_any_message_is_counted_and_dropped_unless_it_is_a_notice(
    content: bytes, topic: str
) -> None:
    bench = Bench()
    bench.broker.deliver([Message(topic, content)])
    bench.link.tend(1, ())
    assert bench.link.ignored == 1
    assert bench.link.take_notices() == ()
    assert bench.link.take_receipts() == ()
    assert bench.link.connected


def test_a_flood_of_messages_never_keeps_the_device_from_its_own_work(bench: Bench) -> None:
    bench.broker.endless = NOTICE
    bench.link.show(STATUS)
    for call in range(5):
        bench.link.tend(3600, (REPORT,))
        assert bench.broker.delivered <= (call + 1) * (MESSAGES_MAX + 1)
        bench.clock.sleep(REPORT_INTERVAL_S)
    assert len(bench.broker.on("report")) == 5
    assert len(bench.link.take_notices()) <= 8


def test_a_status_is_said_when_it_changes_and_not_too_often(bench: Bench) -> None:
    for number in range(50):
        bench.link.show(replace(STATUS, done_bytes=number))
        bench.link.tend(0, ())
    assert len(bench.broker.on("state")) == 1
    bench.link.tend(STATUS_INTERVAL_S, ())
    bench.link.tend(0, ())
    states = bench.broker.on("state")
    assert [parse_status(message.content).done_bytes for message in states] == [0, 49]
    assert all(message.retain for message in states)
    bench.tend_until(bench.clock.now_s + 100)
    assert len(bench.broker.on("state")) == 2


def test_a_goodbye_says_offline_and_the_next_session_comes_at_once(bench: Bench) -> None:
    bench.link.tend(0, ())
    bench.link.close()
    assert not parse_presence(bench.broker.on("presence")[-1].content).online
    assert not bench.link.connected
    bench.link.tend(0, ())
    assert bench.link.connected


def test_waiting_without_a_broker_ends_when_the_next_try_is_due(bench: Bench) -> None:
    bench.broker.up = False
    bench.link.tend(3600, ())
    bench.link.tend(3600, ())
    assert bench.clock.now_s == BASE_S
