"""The collector against a real broker: stored exactly once, receipted each time, never earlier."""

import sqlite3
import threading
import time
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from agent.errors import BrokerError, FetchError
from agent.notice import Notice, parse_notice
from agent.report import (
    Outcome,
    Presence,
    Receipt,
    encode_presence,
    encode_receipt,
    encode_report,
    encode_status,
    report_id,
)
from agent.rollout import Audience, Halt, Halts, Rollout, Rollouts, RolloutState
from fleet.broker_process import BrokerKind, BrokerProcess
from fleet.collect import Collector, Event, EventKind, receipts
from fleet.guard import HaltWish
from fleet.notify import notify
from fleet.session import BrokerAddress
from fleet.store import DeviceRow, Store, StoredReport
from fleet.workspace import Workspace
from tests.fleet.running.parts import (
    FLEET,
    NOW,
    STATUS,
    a_report,
    address_of,
    collecting,
    connected,
    enrolled,
    everything,
    new_fleet,
    receipted,
    send_until_receipted,
    the_operator,
    topics_of,
    wait_until,
)


def stored(workspace: Workspace, device: str) -> tuple[StoredReport, ...]:
    store = Store(workspace.store)
    store.open()
    with closing(store):
        return store.reports(device)


def row_of(workspace: Workspace, device: str) -> DeviceRow | None:
    store = Store(workspace.store)
    store.open()
    with closing(store):
        return next((row for row in store.devices() if row.device == device), None)


def test_a_report_that_arrives_five_times_is_stored_once_and_receipted_each_time(
    fleet: Workspace, broker: BrokerAddress
) -> None:
    report = a_report("repeats")
    with (
        collecting(fleet, broker) as collector,
        connected(broker, enrolled(fleet, "repeats"), "repeats") as device,
    ):
        device.subscribe(topics_of("repeats").receipt)
        for _ in range(5):
            device.publish(topics_of("repeats").report, encode_report(report))
            device.flush()
            assert receipted(device.receive(5)) == [report.id]
        assert collector.counts[EventKind.STORED] == 1
        assert collector.counts[EventKind.REPEATED] == 4
    (kept,) = stored(fleet, "repeats")
    assert kept.report == report
    assert kept.times_received == 5


def test_a_receipt_leaves_only_after_the_report_is_stored(
    fleet: Workspace, broker: BrokerAddress
) -> None:
    report = a_report("patient")
    topics = topics_of("patient")
    with (
        collecting(fleet, broker),
        connected(broker, enrolled(fleet, "patient"), "patient") as device,
    ):
        device.subscribe(topics.receipt)
        with closing(sqlite3.connect(fleet.store, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")  # as long as this lasts nobody else can store
            device.publish(topics.report, encode_report(report))
            assert device.receive(1) == ()
            other.execute("ROLLBACK")
        assert receipted(device.receive(5)) == [report.id]
        assert [kept.report for kept in stored(fleet, "patient")] == [report]


def test_no_report_is_lost_when_the_broker_is_killed_under_it(tmp_path: Path) -> None:
    fleet = new_fleet(tmp_path)
    reports = [a_report("heron", str(number)) for number in range(300)]
    with BrokerProcess(fleet, port=0, kind=BrokerKind.MOSQUITTO) as process:
        address = address_of(process)
        with collecting(fleet, address) as collector:
            own = enrolled(fleet, "heron")
            sessions: list[int] = []
            device = threading.Thread(
                target=lambda: sessions.append(
                    send_until_receipted(address, own, reports, within_s=60)
                )
            )
            device.start()
            for goal in (20, 100):
                wait_until(lambda goal=goal: collector.counts[EventKind.STORED] >= goal)  # type: ignore[misc]  # a default is the loop's value
                process.kill()
                time.sleep(0.1)
                process.start()
            device.join(60)
            assert not device.is_alive()
            assert collector.counts[EventKind.CONNECTED] >= 2
    assert sessions
    assert sessions[0] > 1
    kept = stored(fleet, "heron")
    assert {one.report for one in kept} == set(reports)
    assert len(kept) == len(reports)


def test_a_restarted_collector_goes_on_where_it_was(
    fleet: Workspace, broker: BrokerAddress
) -> None:
    own = enrolled(fleet, "steady")
    first, second = a_report("steady", "first"), a_report("steady", "second")
    with collecting(fleet, broker):
        send_until_receipted(broker, own, [first], within_s=10)
    with collecting(fleet, broker):
        send_until_receipted(broker, own, [first, second], within_s=10)
    assert [kept.report for kept in stored(fleet, "steady")] == [first, second]
    assert stored(fleet, "steady")[0].times_received == 2


BAD = {
    "nothing": b"",
    "not JSON": b"\xff\xfe\x00",
    "deep": b"[" * 5000,
    "twice the same key": b'{"schema":1,"schema":1}',
    "long": b" " * 20_000,
    "unknown key": encode_report(a_report("noisy"))[:-2] + b',"surprise":1}\n',
    "another device": encode_report(a_report("heron")),
    "another fleet": encode_report(a_report("noisy", fleet="hamburg")),
    "another schema": encode_report(a_report("noisy")).replace(b'"schema":1', b'"schema":2'),
    "a receipt": encode_receipt(Receipt(ids=("x",))),
}


def test_messages_that_are_not_in_order_are_counted_and_do_no_harm(
    fleet: Workspace, broker: BrokerAddress
) -> None:
    good = a_report("noisy", "good")
    events: list[Event] = []
    with (
        collecting(fleet, broker, events=events) as collector,
        connected(broker, enrolled(fleet, "noisy"), "noisy") as device,
    ):
        device.subscribe(topics_of("noisy").receipt)
        for content in BAD.values():
            device.publish(topics_of("noisy").report, content)
            device.publish(topics_of("noisy").state, content)
            device.publish(topics_of("noisy").presence, content)
        device.publish(topics_of("noisy").report, encode_report(good))
        device.flush()
        assert receipted(tuple(everything(device))) == [good.id]
        assert collector.counts[EventKind.IGNORED] == 3 * len(BAD)
    assert all("\n" not in event.detail for event in events)
    assert [kept.report for kept in stored(fleet, "noisy")] == [good]


def test_status_and_presence_of_a_device_are_kept(fleet: Workspace, broker: BrokerAddress) -> None:
    topics = topics_of("shows")
    with (
        collecting(fleet, broker),
        connected(broker, enrolled(fleet, "shows"), "shows") as device,
    ):
        device.publish(topics.state, encode_status(replace(STATUS, device="shows")), retain=True)
        device.publish(topics.presence, encode_presence(Presence(online=True, session="s1")))
        device.flush()
        wait_until(lambda: (row := row_of(fleet, "shows")) is not None and row.online is True)
    row = row_of(fleet, "shows")
    assert row is not None
    assert (row.slot, row.release, row.phase) == ("a", "os-6", "installing")
    assert (row.done_bytes, row.total_bytes) == (50, 200)


def test_a_collector_that_starts_late_learns_the_retained_state(
    fleet: Workspace, broker: BrokerAddress
) -> None:
    with connected(broker, enrolled(fleet, "early"), "early") as device:
        status = replace(STATUS, device="early")
        device.publish(topics_of("early").state, encode_status(status), retain=True)
        device.flush()
    with collecting(fleet, broker):
        wait_until(lambda: row_of(fleet, "early") is not None)


def test_a_broker_that_lost_the_notice_gets_it_back(tmp_path: Path) -> None:
    fleet = new_fleet(tmp_path)
    with BrokerProcess(fleet, port=0, kind=BrokerKind.MOSQUITTO) as process:
        address = address_of(process)
        notify(fleet, spread_s=7, address=address)
        process.kill()  # before it has saved what it retains
        process.start()
        with collecting(fleet, address) as collector:
            wait_until(lambda: collector.counts[EventKind.RESTORED] == 1)
        with the_operator(fleet, address) as late:
            late.subscribe(topics_of("any").fleet_notice)
            (message,) = late.receive(5)
    assert parse_notice(message.content) == Notice(spread_s=7)
    assert message.retained


def test_it_stops_when_nothing_comes(fleet: Workspace, broker: BrokerAddress) -> None:
    collector = Collector(fleet, tell=lambda _: None, address=broker, idle_s=0.5)
    started = time.monotonic()
    collector.run()
    assert time.monotonic() - started < 5


def test_it_says_so_when_there_is_no_broker(tmp_path: Path) -> None:
    nobody = BrokerAddress("localhost", 1)
    collector = Collector(new_fleet(tmp_path), tell=lambda _: None, address=nobody, idle_s=0.1)
    with pytest.raises(BrokerError, match="cannot be reached"):
        collector.run()


@dataclass
class RememberingRail:
    """One rollout that tolerates one failure, and what was halted."""

    failing: int = 0
    wishes: list[HaltWish] = field(default_factory=list)

    def documents(self) -> tuple[Rollouts, Halts]:
        summer = Rollout(
            id="summer",
            release="os-7",
            counter=7,
            state=RolloutState.ACTIVE,
            reissue=0,
            failures_max=1,
            audience=Audience((), ()),
            phases=(),
            window=None,
        )
        halts = (Halt(wish.rollout, wish.reissue, wish.reason, NOW) for wish in self.wishes)
        return Rollouts(FLEET, (summer,)), Halts(FLEET, tuple(halts))

    def halt(self, wish: HaltWish) -> None:
        if self.failing:
            self.failing -= 1
            raise FetchError("the halts key cannot be read now")
        self.wishes.append(wish)


def test_a_rollout_is_halted_once_when_one_device_too_many_fails(tmp_path: Path) -> None:
    fleet = new_fleet(tmp_path)
    rail = RememberingRail()
    with BrokerProcess(fleet, port=0, kind=BrokerKind.MOSQUITTO) as process:
        address = address_of(process)
        with collecting(fleet, address, rail=rail) as collector:
            for name in ("one", "two", "three"):
                failed = a_report(name, outcome=Outcome.REVERTED, code="refused")
                again = a_report(name, "again", outcome=Outcome.FAILED, code="install")
                send_until_receipted(address, enrolled(fleet, name), [failed, again], within_s=10)
                if name == "one":
                    assert rail.wishes == []
            wait_until(lambda: collector.counts[EventKind.HALTED] == 1)
    assert rail.wishes == [HaltWish("summer", 0, devices=2, failures_max=1)]


def test_a_halt_that_failed_is_told_and_left_for_the_next_look(tmp_path: Path) -> None:
    fleet = new_fleet(tmp_path)
    rail = RememberingRail(failing=1)
    events: list[Event] = []
    with BrokerProcess(fleet, port=0, kind=BrokerKind.MOSQUITTO) as process:
        address = address_of(process)
        with collecting(fleet, address, rail=rail, events=events) as collector:
            for name in ("one", "two"):
                failed = a_report(name, outcome=Outcome.FAILED, code="install")
                send_until_receipted(address, enrolled(fleet, name), [failed], within_s=10)
            wait_until(lambda: collector.counts[EventKind.NOT_HALTED] == 1)
        with collecting(fleet, address, rail=rail) as collector:
            wait_until(lambda: collector.counts[EventKind.HALTED] == 1)
    assert any("trying again" in event.detail for event in events)


def test_receipts_name_each_id_once_and_fit_into_their_message() -> None:
    many = tuple(a_report("heron", str(number)) for number in range(250))
    answers = receipts((*many, *many, a_report("crane")))
    assert [(device, len(ids)) for device, ids in answers] == [
        ("heron", 200),
        ("heron", 50),
        ("crane", 1),
    ]
    assert {id_ for device, ids in answers for id_ in ids if device == "heron"} == {
        report_id("heron", str(number)) for number in range(250)
    }
