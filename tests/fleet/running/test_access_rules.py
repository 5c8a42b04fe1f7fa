"""Who may speak where: proved by what arrives, because a broker's return codes may lie."""

import socket
import ssl
import time
from pathlib import Path

import pytest

from agent.errors import BrokerError, ConfigError
from fleet.broker_process import BrokerKind, BrokerProcess
from fleet.certificates import Holder, Identity, client_context, identity
from fleet.embedded_broker import allowed
from fleet.enrol import revoke
from fleet.session import BrokerAddress, Session
from fleet.workspace import Workspace
from tests.fleet.running.parts import (
    FLEET,
    address_of,
    connected,
    enrolled,
    everything,
    new_fleet,
    the_operator,
    topics_of,
)

WILDCARDS = ("lockgate/#", "#", f"lockgate/{FLEET}/+/receipt", f"lockgate/{FLEET}/#")


def test_a_device_reads_its_own_notices_and_receipts_and_nobody_elses(
    fleet: Workspace, broker: BrokerAddress
) -> None:
    own, foreign = topics_of("reads"), topics_of("reads-other")
    hidden = (foreign.receipt, foreign.notice, own.report, foreign.report, foreign.state)
    shown = (own.fleet_notice, own.notice, own.receipt)
    with (
        the_operator(fleet, broker) as operator,
        connected(broker, enrolled(fleet, "reads"), "reads") as device,
    ):
        device.subscribe(*shown, *WILDCARDS, foreign.receipt, foreign.notice, foreign.report)
        for topic in (*hidden, *shown):
            operator.publish(topic, topic.encode())
        operator.flush()
        arrived = everything(device)
        assert {message.topic for message in arrived} == set(shown)


def _try_to_publish(address: BrokerAddress, own: Identity, name: str, topic: str) -> None:
    session = Session(address, own, name)
    try:
        session.connect()
        session.publish(topic, b"not mine", retain=True)
        session.flush()
    except BrokerError:
        pass  # MQTT 5 may say so; what counts is what arrives
    finally:
        session.close()


def test_a_device_speaks_for_itself_only(fleet: Workspace, broker: BrokerAddress) -> None:
    own, foreign = topics_of("speaks"), topics_of("speaks-other")
    mine = enrolled(fleet, "speaks")
    forbidden = (
        *(foreign.report, foreign.state, foreign.presence, foreign.receipt, foreign.notice),
        *(own.receipt, own.notice, own.fleet_notice),
        *("lockgate/hamburg/speaks/report", "somewhere/else"),
    )
    with the_operator(fleet, broker) as operator:
        operator.subscribe(f"lockgate/{FLEET}/#")
        for topic in forbidden:
            _try_to_publish(broker, mine, "speaks", topic)
        with connected(broker, mine, "speaks") as device:
            for topic in (own.report, own.state, own.presence):
                device.publish(topic, b"mine")
            device.flush()
        spoken = [message.topic for message in everything(operator) if not message.retained]
        assert sorted(spoken) == sorted((own.report, own.state, own.presence))


def test_a_device_cannot_end_the_session_of_another(
    fleet: Workspace, broker: BrokerAddress
) -> None:
    topics = topics_of("stays")
    with (
        the_operator(fleet, broker) as operator,
        connected(broker, enrolled(fleet, "stays"), "stays") as device,
    ):
        device.subscribe(topics.receipt)
        with connected(broker, enrolled(fleet, "intruder"), "stays"):
            operator.publish(topics.receipt, b"still here")
            operator.flush()
            assert [message.content for message in device.receive(2)] == [b"still here"]


@pytest.mark.parametrize("kind", BrokerKind)
def test_a_revoked_device_neither_hears_nor_speaks(tmp_path: Path, kind: BrokerKind) -> None:
    fleet = new_fleet(tmp_path)
    own, topics = enrolled(fleet, "lost"), topics_of("lost")
    process = BrokerProcess(fleet, port=0, kind=kind)
    with process, the_operator(fleet, address_of(process)) as operator:
        operator.subscribe(f"lockgate/{FLEET}/lost/report")
        with connected(address_of(process), own, "lost") as device:
            device.publish(topics.report, b"before")
            device.flush()
            assert [message.content for message in operator.receive(5)] == [b"before"]
    copy = Identity(own.authority, tmp_path / "stolen.pem", own.key)
    copy.certificate.write_bytes(own.certificate.read_bytes())
    revoke(fleet, "lost")
    with process, the_operator(fleet, address_of(process)) as operator:
        operator.subscribe(f"lockgate/{FLEET}/lost/report")
        operator.publish(topics.fleet_notice, b"look", retain=True)
        _try_to_publish(address_of(process), copy, "lost", topics.report)
        assert everything(operator) == []
        session = Session(address_of(process), copy, "lost")
        try:
            session.connect(2)
            session.subscribe(topics.fleet_notice)
            assert everything(session) == []
        except BrokerError:
            pass  # refused outright, which is as good
        finally:
            session.close()


def test_revoking_reaches_a_session_that_is_open(tmp_path: Path) -> None:
    fleet = new_fleet(tmp_path)
    own, topics = enrolled(fleet, "lost"), topics_of("lost")
    with (
        BrokerProcess(fleet, port=0, kind=BrokerKind.MOSQUITTO) as process,
        the_operator(fleet, address_of(process)) as operator,
        connected(address_of(process), own, "lost") as device,
    ):
        device.subscribe(topics.receipt)
        revoke(fleet, "lost")
        process.reload()
        time.sleep(0.3)  # mosquitto reads its rules in its own time
        operator.publish(topics.receipt, b"nothing for you")
        operator.flush()
        assert everything(device) == []


def test_a_certificate_from_another_authority_is_refused(
    fleet: Workspace, broker: BrokerAddress, tmp_path: Path
) -> None:
    stranger = enrolled(new_fleet(tmp_path), "heron")
    ours = identity(fleet, Holder.BROKER).authority
    with pytest.raises(BrokerError, match="authority"):
        Session(broker, Identity(ours, stranger.certificate, stranger.key), "heron").connect(2)


def test_a_device_refuses_a_broker_from_another_authority(
    fleet: Workspace, broker: BrokerAddress, tmp_path: Path
) -> None:
    own = enrolled(fleet, "careful")
    foreign = identity(new_fleet(tmp_path), Holder.BROKER).authority
    with pytest.raises(BrokerError, match="certificate from"):
        Session(broker, Identity(foreign, own.certificate, own.key), "careful").connect(2)


def test_a_client_without_a_certificate_is_refused(fleet: Workspace, broker: BrokerAddress) -> None:
    bare = ssl.create_default_context(cafile=identity(fleet, Holder.OPERATOR).authority)
    with (
        socket.create_connection(("127.0.0.1", broker.port), timeout=5) as connection,
        pytest.raises(OSError, match=r"(?i)certificate|reset"),
        bare.wrap_socket(connection, server_hostname="localhost") as secured,
    ):
        secured.recv(1)


def test_a_servers_certificate_does_not_log_in(fleet: Workspace, broker: BrokerAddress) -> None:
    with pytest.raises(BrokerError, match="session was expected"):
        Session(broker, identity(fleet, Holder.REPOSITORY), "localhost").connect(2)


def test_a_device_cannot_pose_as_the_broker(tmp_path: Path) -> None:
    fleet = new_fleet(tmp_path)
    device = enrolled(fleet, "localhost")
    files = identity(fleet, Holder.BROKER)
    files.certificate.write_bytes(device.certificate.read_bytes())
    files.key.write_bytes(device.key.read_bytes())
    with (
        pytest.raises(BrokerError, match="certificate is not for"),
        BrokerProcess(fleet, port=0, kind=BrokerKind.MOSQUITTO),
    ):
        pass


def test_a_fleet_without_an_authority_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="lockgate-fleet init"):
        client_context(identity(Workspace(tmp_path), Holder.OPERATOR))


@pytest.mark.parametrize(
    ("name", "topic", "action", "expected"),
    [
        ("heron", "lockgate/berlin/notice", "subscribe", True),
        ("heron", "lockgate/berlin/heron/receipt", "receive", True),
        ("heron", "lockgate/berlin/heron/report", "publish", True),
        ("heron", "lockgate/berlin/heron/report", "subscribe", False),
        ("heron", "lockgate/berlin/heron/receipt", "publish", False),
        ("heron", "lockgate/berlin/crane/receipt", "subscribe", False),
        ("heron", "lockgate/berlin/crane/report", "publish", False),
        ("heron", "lockgate/berlin/+/receipt", "subscribe", False),
        ("heron", "#", "subscribe", False),
        ("h.ron", "lockgate/berlin/heron/receipt", "subscribe", False),
        ("fleet-operator", "lockgate/berlin/+/report", "subscribe", True),
        ("fleet-operator", "lockgate/hamburg/+/report", "subscribe", False),
    ],
)
def test_the_embedded_broker_has_the_same_rules(
    name: str, topic: str, action: str, *, expected: bool
) -> None:
    assert allowed(FLEET, name, topic, action) is expected
