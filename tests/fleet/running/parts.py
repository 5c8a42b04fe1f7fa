"""A small fleet with real certificates, and devices that speak to a real broker."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from agent.errors import BrokerError
from agent.report import Outcome, Report, Status, encode_report, parse_receipt, report_id
from agent.topics import Topics
from fleet import authority, enrol
from fleet.broker_process import BrokerProcess
from fleet.certificates import Holder, Identity, device_certificate, identity
from fleet.collect import Collector, Event, Rail
from fleet.session import BrokerAddress, Received, Session
from fleet.workspace import FleetSettings, Workspace

FLEET = "berlin"
NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)

REPORT = Report(
    id=report_id("one"),
    device="heron",
    fleet=FLEET,
    outcome=Outcome.CONFIRMED,
    code="ok",
    detail="",
    update="summer/0/heron",
    rollout="summer",
    reissue=0,
    release="os-7",
    counter=7,
    slot="b",
    attempts=1,
    fetched_bytes=10,
    written_bytes=20,
    at=NOW,
    time="synchronised",
    agent="0.1.0",
)
STATUS = Status(
    device="heron",
    fleet=FLEET,
    at=NOW,
    boot_id="boot-1",
    slot="a",
    release="os-6",
    counter=6,
    phase="installing",
    update="summer/0/heron",
    target="os-7",
    done_bytes=50,
    total_bytes=200,
    detail="",
    reports_waiting=0,
    agent="0.1.0",
)


def a_report(device: str, name: str = "one", **changes: object) -> Report:
    report = replace(REPORT, device=device, id=report_id(device, name))
    return replace(report, **changes)  # type: ignore[arg-type]  # a test names the fields it means


def new_fleet(folder: Path) -> Workspace:
    folder.mkdir(exist_ok=True)
    workspace = Workspace(folder)
    settings = FleetSettings(FLEET, "localhost", 8883, "https://localhost:8443")
    workspace.write_settings(settings)
    authority.create(workspace, settings)
    return workspace


def enrolled(workspace: Workspace, device: str) -> Identity:
    key, request = enrol.new_request(device)
    enrol.issue(workspace, device, request, datetime.now(UTC))
    key_file = workspace.root / f"{device}.key"
    key_file.write_bytes(key)
    trusted = identity(workspace, Holder.BROKER).authority
    return Identity(trusted, device_certificate(workspace, device), key_file)


def address_of(broker: BrokerProcess) -> BrokerAddress:
    return BrokerAddress("localhost", broker.port)


def topics_of(device: str) -> Topics:
    return Topics(fleet=FLEET, device=device)


@contextmanager
def connected(address: BrokerAddress, own: Identity, client_id: str) -> Iterator[Session]:
    session = Session(address, own, client_id)
    session.connect()
    try:
        yield session
    finally:
        session.close()


@contextmanager
def the_operator(workspace: Workspace, address: BrokerAddress) -> Iterator[Session]:
    own = identity(workspace, Holder.OPERATOR)
    with connected(address, own, "fleet-operator") as session:
        yield session


@contextmanager
def collecting(
    workspace: Workspace,
    address: BrokerAddress,
    *,
    rail: Rail | None = None,
    events: list[Event] | None = None,
) -> Iterator[Collector]:
    told = events if events is not None else []
    collector = Collector(workspace, tell=told.append, address=address, rail=rail)
    thread = threading.Thread(target=collector.run, name="collector")
    thread.start()
    try:
        assert collector.wait_connected(10), told
        yield collector
    finally:
        collector.stop()
        thread.join(20)
        assert not thread.is_alive()


def everything(session: Session, *, quiet_s: float = 0.5) -> list[Received]:
    """All that arrives until nothing does."""
    messages: list[Received] = []
    while new := session.receive(quiet_s, 100):
        messages += new
    return messages


def receipted(messages: tuple[Received, ...]) -> list[str]:
    """The ids in receipts; the embedded broker may send a retained notice twice between them."""
    receipts = (message for message in messages if message.topic.endswith("/receipt"))
    return [id_ for receipt in receipts for id_ in parse_receipt(receipt.content).ids]


def send_until_receipted(
    address: BrokerAddress, own: Identity, reports: list[Report], *, within_s: float
) -> int:
    """What a device does with its outbox; how often it had to begin again."""
    device = reports[0].device
    waiting = {report.id: report for report in reports}
    deadline = time.monotonic() + within_s
    sessions = 0
    while waiting:
        assert time.monotonic() < deadline, f"{len(waiting)} reports without a receipt"
        session = Session(address, own, device)
        try:
            session.connect(2)
            sessions += 1
            session.subscribe(topics_of(device).receipt)
            quiet = False
            while waiting and not quiet:
                batch = dict(tuple(waiting.items())[:20])
                for report in batch.values():
                    session.publish(topics_of(device).report, encode_report(report))
                while batch.keys() & waiting.keys() and not quiet:
                    messages = session.receive(0.5, 100)
                    quiet = not messages
                    for id_ in receipted(messages):
                        waiting.pop(id_, None)
        except BrokerError:
            time.sleep(0.05)
        finally:
            session.close()
    return sessions


def wait_until(condition: Callable[[], bool], within_s: float = 10) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
