from datetime import timedelta
from functools import partial

import pytest

from agent import journal as journals
from agent.board import BoardProfile
from agent.interfaces import Message
from agent.report import Outcome
from agent.topics import Topics
from simulator.faults import Delivery, Fetch, Reboot, Storing, seeded_faults
from simulator.lab import Lab, make_lab
from simulator.trace import Line

DAY_S = 86400.0
LIES = (Fetch.TRUNCATED, Fetch.WRONG_BYTES)


def slots(lab: Lab) -> list[dict[str, bytes]]:
    return [lab.device.board.content("a"), lab.device.board.content("b")]


def test_forged_notices_cost_at_most_one_refresh_a_minute_and_no_write(lab: Lab) -> None:
    lab.device.run(600)
    before, operations = slots(lab), lab.device.board.power.number
    topics = Topics(lab.operator.fleet, "device-1")
    refreshed = lab.repository.count("metadata/timestamp.json")
    forged = [
        b'{"schema":1,"spread_s":0}\n',
        b'{"schema":1,"spread_s":0,"url":"https://evil.example/"}',
        b'{"schema":1,"release":"66","force":true}',
        b"\xff" * 100_000,
        b"[" * 5000,
        b"",
    ]
    for second in range(600):
        for topic in (topics.notice, topics.fleet_notice):
            message = Message(topic, forged[second % len(forged)])
            lab.clock.after(float(second), partial(lab.hub.publish, message))
    lab.device.run(lab.clock.now_s + 600)
    assert lab.repository.count("metadata/timestamp.json") - refreshed <= 11
    assert slots(lab) == before
    assert lab.device.board.power.number == operations


def test_a_halted_rollout_is_not_begun(lab: Lab) -> None:
    before = slots(lab)
    lab.ship()
    lab.operator.halt("rollout-2")
    lab.operator.publish()
    lab.device.run_until_quiet()
    assert slots(lab) == before
    assert lab.operator.outcomes() == []


def test_a_rollout_that_is_halted_while_it_installs_is_never_started(lab: Lab) -> None:
    lab.repository.bytes_per_s = 1000.0

    def stop() -> None:
        lab.operator.halt("rollout-2", "smoke from the motors")
        lab.operator.publish()

    lab.clock.at(30.0, stop)
    lab.ship()
    lab.device.run_until_quiet()
    (report,) = lab.operator.reports.values()
    assert (report.outcome, report.code) == (Outcome.FAILED, "halted")
    assert lab.device.board.boots == 1
    assert lab.holds("a", 1)


def test_a_rollout_of_no_share_reaches_nobody(lab: Lab) -> None:
    before = slots(lab)
    lab.operator.release("2", 2, lab.profile.hardware_id, lab.images(2))
    lab.operator.roll_out("rollout-2", "2", share=0)
    lab.operator.publish()
    lab.operator.notify()
    lab.device.run_until_quiet()
    assert slots(lab) == before


def test_expired_metadata_installs_nothing_until_it_is_signed_again(lab: Lab) -> None:
    lab.device.run(60)
    before = slots(lab)
    lab.operator.release("2", 2, lab.profile.hardware_id, lab.images(2))
    lab.operator.roll_out("rollout-2", "2")
    lab.operator.publish(signed_at=lab.clock.true_time() - timedelta(days=40))
    lab.operator.notify()
    lab.device.run(lab.clock.now_s + DAY_S)
    assert slots(lab) == before
    lab.operator.publish()
    lab.operator.notify()
    lab.device.run_until_quiet()
    assert Outcome.CONFIRMED in lab.operator.outcomes()


def test_metadata_with_too_few_signatures_installs_nothing(lab: Lab) -> None:
    lab.device.run(60)
    before = slots(lab)
    lab.operator.release("2", 2, lab.profile.hardware_id, lab.images(2))
    lab.operator.roll_out("rollout-2", "2")
    lab.operator.publish(signatures=1)
    lab.operator.notify()
    lab.device.run(lab.clock.now_s + DAY_S)
    assert slots(lab) == before
    assert set(lab.operator.outcomes()) <= {Outcome.REFUSED}


def test_an_older_snapshot_of_the_repository_is_refused_even_after_the_cache_is_lost(
    lab: Lab,
) -> None:
    lab.ship()
    older = lab.operator.snapshot()
    lab.operator.halt("rollout-2")
    lab.operator.publish()
    lab.device.run(600)
    before = slots(lab)
    lab.repository.source = older
    for name in [name for name in lab.device.board.files.content if "/" in name]:
        del lab.device.board.files.content[name]
    lab.operator.notify()
    lab.device.run(lab.clock.now_s + DAY_S)
    assert slots(lab) == before
    assert {report.code for report in lab.operator.reports.values()} == {"trust-rollback"}


def test_an_image_larger_than_the_slot_is_refused_before_a_byte_is_written(
    profile: BoardProfile,
) -> None:
    lab = make_lab(profile, seed=7)
    before = slots(lab)
    lab.sectors *= 4
    lab.ship()
    lab.device.run_until_quiet()
    (report,) = lab.operator.reports.values()
    assert (report.outcome, report.code) == (Outcome.FAILED, "install-too-large")
    assert slots(lab) == before


def test_a_release_for_other_hardware_is_refused(lab: Lab) -> None:
    before = slots(lab)
    lab.operator.release("2", 2, "some,other-board", lab.images(2))
    lab.operator.roll_out("rollout-2", "2")
    lab.operator.publish()
    lab.operator.notify()
    lab.device.run_until_quiet()
    (report,) = lab.operator.reports.values()
    assert (report.outcome, report.code) == (Outcome.FAILED, "refused-hardware")
    assert slots(lab) == before


def test_a_full_disk_delays_an_update_and_loses_nothing(lab: Lab) -> None:
    lab.faults.add(Storing.DISK_FULL, "*", times=4, after=2)
    lab.ship()
    lab.device.run_until_quiet()
    assert lab.operator.outcomes() == [Outcome.CONFIRMED]


def test_a_journal_that_rots_is_set_aside_and_the_device_goes_on(lab: Lab) -> None:
    lab.ship()
    lab.device.run_until_quiet()
    lab.faults.add(Storing.BIT_ROT, "journal.json")
    lab.device.lose_power()
    lab.device.run_until_quiet()
    assert lab.device.slot == "b"
    assert [report.code for report in lab.operator.reports.values()] == ["ok", "state"]
    lab.ship(number=3)
    lab.device.run_until_quiet()
    assert lab.holds("a", 3)


def test_a_trial_that_nobody_remembers_is_left_also_when_the_first_reboot_is_refused(
    lab: Lab,
) -> None:
    def rot(line: Line) -> None:
        if line.event == "switched" and lab.device.board.boots == 1:
            lab.device.board.files.content[journals.FILE] = b"rotten"
            lab.faults.add(Reboot.REFUSED, after=1)

    lab.device.trace.sink = rot
    lab.ship()
    lab.device.run_until_quiet()
    assert lab.device.trace.events().count("! reboot refused") == 1
    assert lab.device.slot == "b"  # tried once more, since nobody remembers
    assert lab.holds("b", 2)
    assert {report.outcome for report in lab.operator.reports.values()} == {
        Outcome.REFUSED,
        Outcome.CONFIRMED,
    }


def test_reports_that_the_fleet_does_not_answer_are_said_again_under_one_id(lab: Lab) -> None:
    lab.operator.answers = False
    lab.ship()
    lab.device.run(4 * 3600)
    assert not lab.device.quiet
    heard = len(lab.operator.reports_heard)
    assert heard > 10
    assert len(lab.operator.reports) == 1
    lab.device.lose_power()
    lab.clock.after(600, lab.operator.answer_all)
    lab.device.run_until_quiet()
    assert len(lab.operator.reports) == 1
    assert lab.operator.outcomes() == [Outcome.CONFIRMED]


@pytest.mark.parametrize("kind", Delivery)
def test_reports_and_receipts_survive_a_bad_broker(lab: Lab, kind: Delivery) -> None:
    lab.faults.add(kind, "*/report", times=3)
    lab.faults.add(kind, "*/receipt", times=3)
    lab.ship()
    lab.device.run_until_quiet()
    assert lab.operator.outcomes() == [Outcome.CONFIRMED]


@pytest.mark.parametrize("kind", [Fetch.MISSING, Fetch.STALLED])
@pytest.mark.parametrize("pattern", ["metadata/*", "targets/*", "blobs/*"])
def test_a_mirror_that_does_not_answer_delays_an_update(
    lab: Lab, kind: Fetch, pattern: str
) -> None:
    lab.faults.add(kind, pattern, times=3)
    lab.ship()
    lab.device.run_until_quiet()
    assert lab.operator.endings() == [Outcome.CONFIRMED]


@pytest.mark.parametrize("kind", LIES)
@pytest.mark.parametrize("after", range(3))
def test_a_mirror_that_serves_a_wrong_payload_delays_an_update(
    lab: Lab, kind: Fetch, after: int
) -> None:
    lab.faults.add(kind, "blobs/*", times=3, after=after)
    lab.ship()
    lab.device.run_until_quiet()
    assert lab.operator.endings() == [Outcome.CONFIRMED]
    assert lab.holds("b", 2)


@pytest.mark.parametrize("kind", LIES)
@pytest.mark.parametrize("pattern", ["metadata/*", "targets/*"])
@pytest.mark.parametrize("after", range(4))
def test_a_mirror_that_serves_wrong_documents_installs_nothing_wrong(
    lab: Lab, kind: Fetch, pattern: str, after: int
) -> None:
    before = lab.device.board.content("a")
    lab.faults.add(kind, pattern, times=3, after=after)
    lab.ship()
    lab.device.run(2 * DAY_S)
    assert lab.faults.waiting == []
    assert lab.operator.endings() == [Outcome.CONFIRMED]
    assert lab.holds("b", 2)
    assert lab.device.board.content("a") == before


def test_a_write_error_of_the_medium_is_tried_again(lab: Lab) -> None:
    for device in lab.device.board.storage.slot("b").values():
        device.faults.write_error_in = 4
    lab.ship()
    lab.device.run_until_quiet()
    assert lab.operator.outcomes() == [Outcome.CONFIRMED]


@pytest.mark.parametrize("seed", range(20))
def test_once_the_faults_stop_the_world_becomes_quiet(profile: BoardProfile, seed: int) -> None:
    lab = make_lab(profile, seed=seed)
    before = lab.device.board.content("a")
    lab.faults.waiting.extend(seeded_faults(seed, 8).waiting)
    lab.ship()
    lab.device.run(6 * 3600)
    lab.faults.clear()
    lab.operator.notify()
    lab.device.run_until_quiet()
    assert lab.operator.endings() == [Outcome.CONFIRMED], lab.device.trace.text()
    assert lab.holds("b", 2)
    assert lab.device.board.content("a") == before
