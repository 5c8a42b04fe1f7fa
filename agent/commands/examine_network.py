"""What `lockgate doctor` tries over the network: the repository with all its signatures, and the broker.

The broker takes one session for each certificate, so the whole proof needs the service to be stopped;
beside a running service only the TLS connection is tried, which disturbs nothing.
"""

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import Final

from agent.account import status_of
from agent.commands import outlook
from agent.commands.examination import Finding, Level, examined
from agent.commands.setup import Setup
from agent.device import Device
from agent.errors import BrokerError, BusyError
from agent.install import Meter
from agent.interfaces import Broker, Message
from agent.linux.lock import StateLock
from agent.linux.tls import client_context, load_identity
from agent.linux.world import local_world
from agent.report import Presence, Receipt, encode_presence, encode_receipt, encode_status
from agent.topics import Topics

CONNECT_TIMEOUT_S: Final = 10.0
REFUSAL_WITHIN_S: Final = 1.0
"""How long a broker gets to say no, or to pass on what it should not have."""


def network_findings(setup: Setup) -> Iterator[Finding]:
    """All of them."""
    yield examined("repository", partial(_repository, setup))
    with ExitStack() as stack:
        try:
            stack.enter_context(StateLock(setup.config.paths.state))
        except BusyError:
            yield examined("broker", partial(_broker_beside_service, setup))
            return
        yield examined("broker", partial(_broker, setup))


def _repository(setup: Setup) -> Finding:
    device = outlook.without_traces(setup.open(local_world(setup.config)))
    view = outlook.look(device, hurry=False)
    words = outlook.lines(device, view)[0]
    told = f"reachable, every signature verified and fresh; {words}"
    return Finding("repository", Level.OK, told)


def _broker_beside_service(setup: Setup) -> Finding:
    _handshake(setup)
    return Finding(
        "broker",
        Level.OK,
        f"{_place(setup)} takes this device's certificate; the running service has the session",
        "",
    )


def _handshake(setup: Setup) -> None:
    """TLS with both certificates. TLS 1.3 tells of a refused one only when something is read."""
    broker = setup.config.broker
    context = client_context(broker.authority, ssl.SSLSocket, BrokerError)
    load_identity(context, broker.certificate, broker.key, BrokerError)
    try:
        with (
            socket.create_connection((broker.host, broker.port), CONNECT_TIMEOUT_S) as connection,
            context.wrap_socket(connection, server_hostname=broker.host) as secured,
        ):
            secured.settimeout(REFUSAL_WITHIN_S)
            try:
                secured.recv(1)
            except TimeoutError:
                return  # silence is what a broker owes to someone who has not spoken yet
    except OSError as error:
        raise BrokerError(
            f"{_place(setup)}: TLS with this device's certificate was expected: "
            f"{error.strerror or error}; check the network, [broker] in agent.toml and the dates above"
        ) from error
    raise BrokerError(
        f"{_place(setup)}: an open connection was expected, the broker closed it; look into its log"
    )


def _broker(setup: Setup) -> Finding:
    """A session, a publication that must be taken, and one that must not be."""
    from agent.linux.broker import MqttBroker  # noqa: PLC0415  # brings paho

    world = local_world(setup.config)
    device = setup.open(world)
    topics = Topics(setup.config.device.fleet, setup.config.device.id)
    token = world.random.token()
    will = Message(topics.presence, encode_presence(Presence(False, token)), retain=True)
    broker = MqttBroker(setup.config.broker, setup.config.device.id)
    try:
        broker.connect((topics.notice, topics.receipt), will)
        _publish_own(broker, device, topics)
        return _publish_forbidden(setup, broker, topics)
    finally:
        broker.close()


def _publish_own(broker: Broker, device: Device, topics: Topics) -> None:
    status = status_of(device, outlook.load_journal(device), Meter(), "lockgate doctor")
    broker.publish(Message(topics.state, encode_status(status), retain=True))
    _answered(broker, "")


def _publish_forbidden(setup: Setup, broker: Broker, topics: Topics) -> Finding:
    """Only the fleet may write receipts: an empty one harms nobody if it does come back.

    A broker may say no, stay silent, or end the session (MQTT 5, section 4.13; mosquitto 2.0 does both).
    """
    told = f"{_place(setup)}: session opened, own state taken"
    refusal = "not passed on"
    try:
        broker.publish(Message(topics.receipt, encode_receipt(Receipt(ids=()))))
        came_back = _answered(broker, topics.receipt)
    except BrokerError:
        refusal = "refused" if broker.connected else "answered by ending the session"
        came_back = False
    if came_back:
        return Finding(
            "broker",
            Level.FAIL,
            f"{told}; but a receipt that only the fleet may write was taken from this device too",
            "the operator loads the access list that `lockgate-fleet` wrote into the broker",
        )
    return Finding("broker", Level.OK, f"{told}, a forbidden receipt {refusal}")


def _answered(broker: Broker, topic: str) -> bool:
    """Whether a message on this topic came within the time; raises when the broker says no."""
    deadline_s = time.monotonic() + REFUSAL_WITHIN_S
    while (left_s := deadline_s - time.monotonic()) > 0:
        message = broker.next_message(left_s)
        if message is not None and message.topic == topic:
            return True
    return False


def _place(setup: Setup) -> str:
    return f"{setup.config.broker.host}:{setup.config.broker.port}"
