import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from agent.errors import BrokerError
from agent.interfaces import Message
from agent.linux.broker import MqttBroker
from agent.linux.mqtt_packets import PACKET_BYTES_MAX, Publication
from agent.linux.mqtt_session import TOPIC_MESSAGES_MAX, Inbox
from agent.linux.wake import Waker
from tests.linux.authority import Authority
from tests.linux.mosquitto import (
    DEVICE,
    HOST,
    Mosquitto,
    free_port,
    running_mosquitto,
    wait_for_port,
)

NOTICE = "lockgate/fleet/notice"
PRESENCE = f"lockgate/fleet/{DEVICE}/presence"
WILL = Message(PRESENCE, b"offline", retain=True)


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    with running_mosquitto(tmp_path / "broker") as broker:
        yield broker


@contextmanager
def session(mosquitto: Mosquitto, waker: Waker | None = None) -> Iterator[MqttBroker]:
    broker = MqttBroker(mosquitto.settings(), DEVICE, waker)
    broker.connect((NOTICE,), WILL)
    try:
        yield broker
    finally:
        broker.close()


def test_receives_live_and_retained_messages_over_mqtt_5(mosquitto: Mosquitto) -> None:
    mosquitto.publish(NOTICE, "kept", "-r")
    with session(mosquitto) as broker:
        assert broker.connected
        assert broker.next_message(10) == Message(NOTICE, b"kept", retain=True)
        mosquitto.publish(NOTICE, "live")
        assert broker.next_message(10) == Message(NOTICE, b"live", retain=False)
        assert broker.next_message(0) is None
    assert not broker.connected


def test_publishes_so_that_others_receive(mosquitto: Mosquitto) -> None:
    with session(mosquitto) as broker:
        broker.publish(Message(PRESENCE, b"online", retain=True))
    assert mosquitto.wait_for(PRESENCE) == "online"


def test_no_thread_is_made(mosquitto: Mosquitto) -> None:
    before = len(list(Path("/proc/self/task").iterdir()))
    with session(mosquitto) as broker:
        broker.publish(Message(PRESENCE, b"online"))
        broker.next_message(0.2)
        assert len(list(Path("/proc/self/task").iterdir())) == before


def test_will_is_published_after_a_loss_but_not_after_a_goodbye(mosquitto: Mosquitto) -> None:
    with session(mosquitto) as broker:
        broker.publish(Message(PRESENCE, b"gone for good", retain=True))
    assert mosquitto.wait_for(PRESENCE) == "gone for good"
    script = (
        "import sys; from agent.interfaces import Message; from agent.linux.broker import MqttBroker;"
        "from agent.config import BrokerSettings;"
        f"broker = MqttBroker({mosquitto.settings()!r}, {DEVICE!r});"
        f"broker.connect(({NOTICE!r},), {WILL!r}); print('up', flush=True); broker.next_message(60)"
    )
    with subprocess.Popen((sys.executable, "-c", script), stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"up\n"
        child.kill()
    assert any(mosquitto.wait_for(PRESENCE) == "offline" for _ in range(50))


def test_death_of_the_broker_is_noticed_and_told_once(mosquitto: Mosquitto) -> None:
    with session(mosquitto) as broker:
        mosquitto.process.send_signal(signal.SIGKILL)
        with pytest.raises(BrokerError, match=r"is over: .*opened again"):
            broker.next_message(10)
        assert not broker.connected
        with pytest.raises(BrokerError, match="no session"):
            broker.publish(WILL)
        assert broker.next_message(0.01) is None


def test_a_silent_network_is_noticed_by_the_missing_ping(mosquitto: Mosquitto) -> None:
    broker = MqttBroker(mosquitto.settings(keepalive_s=1), DEVICE)
    broker.connect((NOTICE,), WILL)
    assert broker.next_message(2.5) is None  # pings keep it alive
    mosquitto.process.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(BrokerError, match="is over"):
            broker.next_message(10)
    finally:
        mosquitto.process.send_signal(signal.SIGCONT)


def test_publishing_alone_keeps_the_session_alive(mosquitto: Mosquitto) -> None:
    broker = MqttBroker(mosquitto.settings(keepalive_s=1), DEVICE)
    broker.connect((NOTICE,), WILL)
    for step in range(12):
        time.sleep(0.25)
        broker.publish(Message(PRESENCE, str(step).encode()))
    assert broker.connected
    broker.close()


def test_idle_session_wakes_twice_in_each_keepalive_interval(mosquitto: Mosquitto) -> None:
    broker = MqttBroker(mosquitto.settings(keepalive_s=2), DEVICE)
    broker.connect((NOTICE,), WILL)
    broker.next_message(0.3)
    before = voluntary_switches()
    broker.next_message(6.5)
    assert voluntary_switches() - before <= 2 * 3 + 3
    broker.close()


def test_local_request_wakes_with_and_without_a_session(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    waker = Waker(str(tmp_path / "wake"))
    alone = MqttBroker(mosquitto.settings(), DEVICE, waker)
    assert alone.next_message(0.01) is None
    for broker in (alone, None):
        with session(mosquitto, waker) if broker is None else nothing(broker) as waiting:
            began_s = time.monotonic()
            assert Waker.send(str(tmp_path / "wake"))
            assert waiting.next_message(10) is None
            assert time.monotonic() - began_s < 5
    waker.close()
    assert not Waker.send(str(tmp_path / "wake"))


def test_forbidden_topic_is_told_and_the_session_stays(mosquitto: Mosquitto) -> None:
    with session(mosquitto) as broker:
        broker.publish(Message("lockgate/forbidden", b"x"))
        with pytest.raises(
            BrokerError, match="does not let this device publish to lockgate/forbidden"
        ):
            broker.next_message(10)
        assert broker.connected
        mosquitto.publish(NOTICE, "still here")
        assert broker.next_message(10) == Message(NOTICE, b"still here")


def test_publishing_where_wildcards_stand_is_refused(mosquitto: Mosquitto) -> None:
    with session(mosquitto) as broker, pytest.raises(BrokerError, match="cannot publish"):
        broker.publish(Message("lockgate/#", b"x"))


def test_another_authority_is_named_in_the_refusal(mosquitto: Mosquitto, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other")
    broker = MqttBroker(mosquitto.settings(authority=other.path), DEVICE)
    with pytest.raises(BrokerError, match=r"a certificate for 127.0.0.1 from .*authority.pem was"):
        broker.connect((NOTICE,), WILL)
    assert not broker.connected


def test_device_with_a_foreign_certificate_is_told_so(mosquitto: Mosquitto, tmp_path: Path) -> None:
    foreign = Authority(tmp_path / "other").issue(DEVICE)
    settings = replace(mosquitto.settings(), certificate=foreign.certificate, key=foreign.key)
    with pytest.raises(BrokerError, match=r"check .* that .* is valid and from the authority"):
        MqttBroker(settings, DEVICE).connect((NOTICE,), WILL)


@pytest.mark.parametrize("which", ["authority", "certificate"])
def test_missing_files_are_named(mosquitto: Mosquitto, which: str) -> None:
    settings = mosquitto.settings()
    settings = (
        replace(settings, authority="/nowhere/a.pem")
        if which == "authority"
        else replace(settings, certificate="/nowhere/c.pem")
    )
    with pytest.raises(BrokerError, match=r"/nowhere/[ac]\.pem.*No such file"):
        MqttBroker(settings, DEVICE).connect((NOTICE,), WILL)


def test_nobody_listening_is_a_clear_sentence(mosquitto: Mosquitto) -> None:
    settings = replace(mosquitto.settings(), port=free_port())
    with pytest.raises(BrokerError, match=r"cannot be reached \(Connection refused\)"):
        MqttBroker(settings, DEVICE).connect((NOTICE,), WILL)


def test_unknown_host_is_a_clear_sentence(mosquitto: Mosquitto) -> None:
    settings = replace(mosquitto.settings(), host="no-such-host.invalid")
    with pytest.raises(BrokerError, match=r"no-such-host\.invalid:.* cannot be reached"):
        MqttBroker(settings, DEVICE).connect((NOTICE,), WILL)


def test_falls_back_to_mqtt_3_1_1_and_remembers(mosquitto: Mosquitto, tmp_path: Path) -> None:
    server = mosquitto.authority.issue(HOST)
    port = free_port()
    with amqtt_broker(tmp_path, port, mosquitto, server.certificate, server.key):
        settings = replace(mosquitto.settings(), port=port)
        broker = MqttBroker(settings, DEVICE, open_timeout_s=2.0)
        broker.connect((), WILL)
        for _ in range(2):
            began_s = time.monotonic()
            broker.connect((NOTICE,), WILL)
            broker.publish(Message(NOTICE, b"to myself"))
            assert broker.next_message(10) == Message(NOTICE, b"to myself")
            assert time.monotonic() - began_s < 2  # MQTT 5 is not tried again
        broker.close()


def test_oversized_packet_is_not_taken(mosquitto: Mosquitto) -> None:
    """A broker that ignores the limit announces 256 MB; nothing of it is kept."""
    answers = [b"\x20\x03\x00\x00\x00", b"\x90\x04\x00\x01\x00\x01"]
    with scripted_broker(
        mosquitto, [*answers, b"\x30\xff\xff\xff\x7f\x00\x01a" + bytes(1000)]
    ) as port:
        broker = MqttBroker(replace(mosquitto.settings(), port=port), DEVICE)
        broker.connect((NOTICE,), WILL)
        with pytest.raises(BrokerError, match=f"at most {PACKET_BYTES_MAX} are taken"):
            broker.next_message(10)


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x32\x02\x00\x09",
        b"\xf0\x00",
        b"\x30\x05\x00\x02\xff\xfe\x00",
        b"\x40\x04\x00\x01\xee\x00",
    ],
    ids=["short publish", "unknown packet", "topic not UTF-8", "unknown reason"],
)
def test_what_is_not_mqtt_ends_the_session(mosquitto: Mosquitto, garbage: bytes) -> None:
    answers = [b"\x20\x03\x00\x00\x00", b"\x90\x04\x00\x01\x00\x01"]
    with scripted_broker(mosquitto, [*answers, garbage]) as port:
        broker = MqttBroker(replace(mosquitto.settings(), port=port), DEVICE)
        broker.connect((NOTICE,), WILL)
        with pytest.raises(BrokerError, match="is over"):
            broker.next_message(3)


def test_inbox_keeps_a_few_of_each_topic_however_many_come() -> None:
    inbox = Inbox((NOTICE, "receipt"))
    inbox.put(Publication("receipt", b"1", retain=False))
    for number in range(10_000):
        inbox.put(Publication(NOTICE, str(number).encode(), retain=False))
        inbox.put(Publication("never asked for", b"x", retain=False))
    kept = drained(inbox)
    assert len(kept) == TOPIC_MESSAGES_MAX + 1
    assert kept[0] == Publication("receipt", b"1", retain=False)
    assert kept[-1] == Publication(NOTICE, b"9999", retain=False)


def test_inbox_counts_duplicates_and_replaced_retained_messages_once() -> None:
    inbox = Inbox((NOTICE,))
    for content in (b"old", b"old", b"new", b"new"):
        inbox.put(Publication(NOTICE, content, retain=True))
    assert drained(inbox) == [Publication(NOTICE, b"new", retain=True)]


def drained(inbox: Inbox) -> list[Publication]:
    messages = []
    while (message := inbox.take()) is not None:
        messages.append(message)
    return messages


@contextmanager
def nothing(broker: MqttBroker) -> Iterator[MqttBroker]:
    yield broker


def voluntary_switches() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split("voluntary_ctxt_switches:")[1].split()[0])


@contextmanager
def amqtt_broker(
    folder: Path, port: int, mosquitto: Mosquitto, certificate: str, key: str
) -> Iterator[None]:
    """The amqtt broker, which speaks only MQTT 3.1.1, in a process of its own."""
    listener = {
        "type": "tcp", "bind": f"{HOST}:{port}", "ssl": True,
        "cafile": mosquitto.authority.path, "certfile": certificate, "keyfile": key,
    }  # fmt: skip
    config = {
        "listeners": {"default": listener},
        "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
    }
    script = (
        "import asyncio; from amqtt.broker import Broker\n"
        "async def main():\n"
        f"    broker = Broker({config!r})\n"
        "    await broker.start()\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    with (folder / "amqtt.log").open("wb") as log:
        process = subprocess.Popen((sys.executable, "-c", script), stdout=log, stderr=log)
    try:
        wait_for_port(port, process)
        yield
    finally:
        process.kill()
        process.wait()


@contextmanager
def scripted_broker(mosquitto: Mosquitto, answers: list[bytes]) -> Iterator[int]:
    """A TLS server that answers each packet that comes with the next of these bytes."""
    credential = mosquitto.authority.issue(HOST)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(credential.certificate, credential.key)

    def serve() -> None:
        raw, _ = listener.accept()
        with context.wrap_socket(raw, server_side=True) as connection:
            for answer in answers[:-1]:
                connection.recv(4096)
                connection.sendall(answer)
            connection.sendall(answers[-1])
            connection.settimeout(10)
            try:
                connection.recv(4096)
            except OSError:
                return

    with socket.create_server((HOST, 0)) as listener:
        server = threading.Thread(target=serve)
        server.start()
        yield listener.getsockname()[1]
        server.join(15)
