"""Notices: retained, for all or for one, and the embedded broker that speaks only MQTT 3.1.1."""

from collections.abc import Iterator

import pytest

from agent.errors import BrokerError
from agent.notice import Notice, parse_notice
from agent.report import encode_report
from fleet.broker_process import BrokerKind, BrokerProcess
from fleet.certificates import Holder, identity
from fleet.collect import EventKind
from fleet.notify import notify
from fleet.session import BrokerAddress, Session, backoff_s
from fleet.workspace import Workspace
from tests.fleet.running.parts import (
    a_report,
    address_of,
    collecting,
    connected,
    enrolled,
    everything,
    new_fleet,
    receipted,
    topics_of,
)


def test_a_notice_waits_for_who_comes_later(fleet: Workspace, broker: BrokerAddress) -> None:
    notify(fleet, spread_s=600, address=broker)
    with connected(broker, enrolled(fleet, "later"), "later") as device:
        device.subscribe(topics_of("later").fleet_notice)
        (message,) = device.receive(5)
    assert message.retained
    assert parse_notice(message.content) == Notice(spread_s=600)


def test_a_notice_for_one_device_reaches_no_other(fleet: Workspace, broker: BrokerAddress) -> None:
    notify(fleet, device="chosen", address=broker)
    with (
        connected(broker, enrolled(fleet, "chosen"), "chosen") as chosen,
        connected(broker, enrolled(fleet, "passed-by"), "passed-by") as other,
    ):
        chosen.subscribe(topics_of("chosen").notice)
        other.subscribe(topics_of("passed-by").notice)
        assert [message.topic for message in chosen.receive(5)] == [topics_of("chosen").notice]
        assert other.receive(0.3) == ()


def test_a_broker_that_is_not_there_is_named(fleet: Workspace) -> None:
    operator = identity(fleet, Holder.OPERATOR)
    with pytest.raises(BrokerError, match=r"localhost:1: cannot be reached"):
        Session(BrokerAddress("localhost", 1), operator, "fleet-operator").connect(2)


def test_a_session_that_ended_says_so(tmp_path_factory: pytest.TempPathFactory) -> None:
    fleet = new_fleet(tmp_path_factory.mktemp("ending"))
    with BrokerProcess(fleet, port=0, kind=BrokerKind.MOSQUITTO) as process:
        own = enrolled(fleet, "heron")
        with connected(address_of(process), own, "heron") as device:
            process.kill()
            with pytest.raises(BrokerError, match="session is over"):
                device.receive(5)
            with pytest.raises(BrokerError, match="session is over"):
                device.publish(topics_of("heron").report, b"")


@pytest.mark.parametrize("attempt", [0, 3, 60])
def test_waiting_is_bounded_and_spread(attempt: int) -> None:
    assert backoff_s(attempt, 0.0) == 0
    assert 0 < backoff_s(attempt, 1.0) <= 30


@pytest.fixture(scope="module")
def small_fleet(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return new_fleet(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def embedded(small_fleet: Workspace) -> Iterator[BrokerAddress]:
    with BrokerProcess(small_fleet, port=0, kind=BrokerKind.EMBEDDED) as process:
        assert "3.1.1" in process.description
        yield address_of(process)


def test_the_embedded_broker_carries_notices_reports_and_receipts(
    small_fleet: Workspace, embedded: BrokerAddress
) -> None:
    notify(small_fleet, spread_s=5, address=embedded)
    report = a_report("heron")
    with (
        collecting(small_fleet, embedded) as collector,
        connected(embedded, enrolled(small_fleet, "heron"), "heron") as device,
    ):
        assert device.protocol == "MQTT 3.1.1"
        device.subscribe(topics_of("heron").fleet_notice, topics_of("heron").receipt)
        notice = device.receive(5)[0]
        assert parse_notice(notice.content) == Notice(spread_s=5)
        device.publish(topics_of("heron").report, encode_report(report))
        assert receipted(tuple(everything(device))) == [report.id]
        assert collector.counts[EventKind.STORED] == 1


def test_the_embedded_broker_lets_nobody_speak_for_another(
    small_fleet: Workspace, embedded: BrokerAddress
) -> None:
    forged = encode_report(a_report("crane"))
    with (
        collecting(small_fleet, embedded) as collector,
        connected(embedded, enrolled(small_fleet, "magpie"), "magpie") as device,
    ):
        device.publish(topics_of("crane").report, forged)
        device.publish(topics_of("magpie").report, encode_report(a_report("magpie")))
        device.flush()
        for _ in range(100):
            if collector.counts[EventKind.STORED]:
                break
            device.receive(0.05)
        assert collector.counts[EventKind.STORED] == 1
        assert collector.counts[EventKind.IGNORED] == 0


def test_the_embedded_broker_refuses_another_name_than_the_certificates(
    small_fleet: Workspace, embedded: BrokerAddress
) -> None:
    own = enrolled(small_fleet, "plain")
    with pytest.raises(BrokerError, match="session was expected"):
        Session(embedded, own, "disguised").connect(2)
