import pytest

from agent.errors import BrokerError
from agent.interfaces import Message
from simulator.broker import SPINS_MAX, Hub, SimulatedBroker, topic_matches
from simulator.clock import SimulatedClock
from simulator.faults import Delivery, Faults

WILL = Message("fleet/one/presence", b"gone", retain=True)


def device(hub: Hub, *topics: str) -> SimulatedBroker:
    broker = SimulatedBroker(hub, SimulatedClock(), Faults())
    broker.connect(topics or ("fleet/one/notice",), WILL)
    return broker


def notice(content: bytes = b"look", *, retain: bool = False) -> Message:
    return Message("fleet/one/notice", content, retain=retain)


@pytest.mark.parametrize(
    ("pattern", "topic", "expected"),
    [
        ("a/b", "a/b", True),
        ("a/b", "a/c", False),
        ("a/b", "a/b/c", False),
        ("a/+/c", "a/b/c", True),
        ("a/+", "a/b/c", False),
        ("a/#", "a/b/c", True),
        ("a/b/c", "a/b", False),
    ],
)
def test_subscriptions_match_as_in_mqtt(pattern: str, topic: str, *, expected: bool) -> None:
    assert topic_matches(pattern, topic) is expected


def test_waits_in_virtual_time_until_the_deadline() -> None:
    broker = device(Hub())
    assert broker.next_message(3600) is None
    assert broker.clock.now_s == 3600


def test_waits_without_a_session_too() -> None:
    broker = SimulatedBroker(Hub(), SimulatedClock())
    assert not broker.connected
    assert broker.next_message(10) is None
    assert broker.clock.now_s == 10


def test_a_message_ends_the_wait_at_its_moment() -> None:
    hub = Hub()
    broker = device(hub)
    broker.clock.at(60, lambda: hub.publish(notice()))
    assert broker.next_message(3600) == notice()
    assert broker.clock.now_s == 60


def test_retained_messages_come_with_the_subscription_and_others_do_not() -> None:
    hub = Hub()
    hub.publish(notice(b"passing"))
    hub.publish(notice(b"kept", retain=True))
    broker = device(hub)
    first = broker.next_message(1)
    assert first is not None
    assert first.content == b"kept"
    assert broker.next_message(1) is None


def test_the_will_is_published_without_a_goodbye_and_only_then() -> None:
    hub = Hub()
    device(hub).close()
    assert hub.retained == {}
    device(hub).power_lost()
    assert hub.retained[WILL.topic] == WILL


def test_a_lost_session_ends_the_wait_and_refuses_to_publish() -> None:
    hub = Hub()
    broker = device(hub)
    broker.clock.at(5, hub.stop)
    assert broker.next_message(100) is None
    assert broker.clock.now_s == 5
    assert not broker.connected
    with pytest.raises(BrokerError):
        broker.publish(Message("fleet/one/report", b""))
    with pytest.raises(BrokerError):
        broker.connect((), WILL)
    hub.start()
    broker.connect((), WILL)
    assert broker.connected


def test_the_operator_hears_and_answers_at_once() -> None:
    hub = Hub()
    hub.listen("fleet/+/report", lambda message: hub.publish(notice(message.content)))
    broker = device(hub)
    broker.publish(Message("fleet/one/report", b"done"))
    assert broker.next_message(1) == notice(b"done")
    assert broker.clock.now_s == 0


def test_faults_duplicate_replay_drop_disconnect_and_lose() -> None:
    hub = Hub()
    heard: list[bytes] = []
    hub.listen("fleet/one/report", lambda message: heard.append(message.content))
    broker = device(hub)
    for content in (b"1", b"2", b"3", b"4"):
        kind = {b"2": Delivery.REPLAYED, b"3": Delivery.DUPLICATED}.get(
            content, Delivery.ACCEPTED_AND_LOST if content == b"4" else None
        )
        if kind is not None:
            broker.faults.add(kind, "*/report")
        broker.publish(Message("fleet/one/report", content))
    assert heard == [b"1", b"1", b"2", b"3", b"3"]
    broker.faults.add(Delivery.DISCONNECTED, "*/report")
    with pytest.raises(BrokerError):
        broker.publish(Message("fleet/one/report", b"5"))
    assert not broker.connected


def test_faults_strike_what_is_received_too() -> None:
    hub = Hub()
    broker = device(hub)
    broker.faults.add(Delivery.DROPPED, "*/notice")
    hub.publish(notice(b"1"))
    assert broker.next_message(1) is None
    broker.faults.add(Delivery.DUPLICATED, "*/notice")
    hub.publish(notice(b"2"))
    assert broker.next_message(1) == broker.next_message(1) == notice(b"2")
    broker.faults.add(Delivery.REPLAYED, "*/notice")
    hub.publish(notice(b"3"))
    assert broker.next_message(1) == notice(b"3")
    assert broker.next_message(1) == notice(b"2")


def test_an_agent_that_spins_is_found() -> None:
    broker = device(Hub())
    for _ in range(SPINS_MAX - 1):
        broker.next_message(0)
    with pytest.raises(AssertionError, match="lets no time pass"):
        broker.next_message(0)
