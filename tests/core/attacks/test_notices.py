"""Whoever can publish to the device's topics: a whole agent, and what it may be made to do."""

from functools import partial

import pytest

from agent.interfaces import Message
from agent.journal import load, store
from agent.notice import Notice, encode_notice
from agent.report import Receipt, encode_receipt
from agent.rollout import Rollouts, encode_rollouts
from agent.service import Ending, Shift
from agent.topics import Topics
from tests.core.clients import CONFIG, Client, make_client
from tests.core.samples import REPORT, ROLLOUTS
from tests.core.scripts import ScriptedBroker
from tests.core.tuf_repository import FLEET, ROLLOUTS_PATH, TufRepository

TOPICS = Topics(CONFIG.device.fleet, CONFIG.device.id)
HOUR_S = 3600.0
FORGED = [
    encode_notice(Notice(0)),
    b'{"schema":1,"spread_s":0,"url":"https://elsewhere.example"}',
    b'{"schema":1,"command":"install","release":"66"}',
    b"\xff" * 5000,
    b"[" * 5000,
    b"",
]


@pytest.fixture
def client(repository: TufRepository) -> Client:
    """A device whose fleet has one rollout, in a window that is closed all afternoon."""
    waits = Rollouts(FLEET, ROLLOUTS.rollouts[:1])
    repository.documents["rollouts"] = {ROLLOUTS_PATH: encode_rollouts(waits)}
    repository.publish()
    made = make_client(repository)
    made.look()
    return made


@pytest.fixture
def broker(client: Client) -> ScriptedBroker:
    made = ScriptedBroker(client.clock)
    client.broker = made
    return made


def work(client: Client, duration_s: float) -> int:
    """How many times the device looked at the repository in so long."""
    assert isinstance(client.repository, TufRepository)
    client.repository.asked.clear()
    shift = Shift(client.device())
    assert shift.work(client.clock.now_s + duration_s) is Ending.STOPPED
    return client.repository.asked.count("metadata/timestamp.json")


def refreshes_max(duration_s: float) -> float:
    return duration_s / CONFIG.timing.refresh_interval_min_s + 1


def test_a_device_that_nobody_disturbs_looks_at_its_own_time(
    client: Client, broker: ScriptedBroker
) -> None:
    assert work(client, HOUR_S) <= 2
    assert broker.delivered == 0


@pytest.mark.parametrize("content", FORGED, ids=range(len(FORGED)))
def test_a_flood_of_forged_notices_costs_a_refresh_a_minute_and_writes_nothing(
    client: Client, broker: ScriptedBroker, content: bytes
) -> None:
    work(client, 10)
    before = dict(client.files.content)
    broker.endless, broker.pause_s = Message(TOPICS.notice, content), 0.2
    assert work(client, 1200) <= refreshes_max(1200)
    assert client.files.content == before
    assert broker.delivered >= 1000


def test_a_retained_forgery_at_every_reconnect_costs_no_more(
    client: Client, broker: ScriptedBroker
) -> None:
    work(client, 10)
    before = dict(client.files.content)
    broker.quiet_loss = True

    def lose() -> None:
        broker.up = False

    def found() -> None:
        broker.up = True
        broker.waiting.clear()
        broker.deliver([Message(TOPICS.fleet_notice, FORGED[0], retain=True)])

    for second in range(0, 7200, 2):
        client.clock.after(second, lose)
        client.clock.after(second + 1, found)
    assert work(client, 7200) <= refreshes_max(7200)
    assert client.files.content == before


def test_forged_receipts_take_out_nothing_that_they_do_not_name(
    client: Client, broker: ScriptedBroker
) -> None:
    work(client, 10)
    journal = load(client.files)
    assert journal is not None
    store(client.files, journal.with_report(REPORT))
    forged = [b"", b"{}", encode_receipt(Receipt(("*", "", REPORT.id[:-1], REPORT.id.upper())))]
    broker.deliver(Message(TOPICS.receipt, content) for content in forged * 100)
    work(client, 100)
    kept = load(client.files)
    assert kept is not None
    assert kept.reports == (REPORT,)
    assert len(broker.on("report")) >= 3


def test_a_flood_does_not_keep_reports_from_being_said(
    client: Client, broker: ScriptedBroker
) -> None:
    work(client, 10)
    journal = load(client.files)
    assert journal is not None
    broker.endless, broker.pause_s = Message(TOPICS.notice, FORGED[0]), 0.1
    store(client.files, journal.with_report(REPORT))
    work(client, 600)
    assert len(broker.on("report")) >= 10


def test_nothing_that_a_broker_says_makes_it_ask_for_another_file(
    client: Client, broker: ScriptedBroker
) -> None:
    work(client, 10)
    assert isinstance(client.repository, TufRepository)
    known = set(client.repository.asked) | {"metadata/2.root.json"}
    for second, content in enumerate(FORGED * 20):
        message = Message(TOPICS.notice, content)
        client.clock.after(second, partial(broker.waiting.append, message))
    work(client, 600)
    assert set(client.repository.asked) <= known | set(client.repository.files)
