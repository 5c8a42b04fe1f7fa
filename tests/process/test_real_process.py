import json
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from agent.report import Outcome
from tests.cli.fleets import make_fleet
from tests.process.harbour import Harbour, until

REBOOTING = 4


def confirm_and_report(scene: Harbour) -> None:
    """From the boot into the new slot to a report that the fleet has stored exactly once."""
    with scene.collector():
        scene.start()
        until(lambda: bool(scene.reports), "the report is stored")
        until(lambda: scene.status()["reports_waiting"] == 0, "the receipt arrives")
        assert scene.stop() == 0
        until(lambda: scene.online is False, "the device says goodbye")
    (stored,) = scene.reports
    assert stored.report.outcome is Outcome.CONFIRMED
    assert stored.report.release == "os-7"
    status = scene.status()
    assert (status["slot"], status["default_slot"], status["release"]) == ("b", "b", "os-7")
    assert (scene.bench.folder / "root-b").read_bytes() == scene.image.read_bytes()


def test_an_update_from_the_publication_to_the_receipt(scene: Harbour) -> None:
    scene.publish()
    scene.start()
    assert scene.ended() == REBOOTING
    assert scene.manager.heard("READY=1")
    status = scene.status()
    assert (status["slot"], status["default_slot"]) == ("b", "a"), "a trial is not the default"
    confirm_and_report(scene)
    assert (scene.bench.folder / "boots").read_text() == "b\n"


def test_a_broker_that_dies_in_the_middle_of_an_installation_costs_nothing(scene: Harbour) -> None:
    scene.publish()
    scene.gate.hold()
    scene.start()
    assert scene.gate.reached.wait(20)
    scene.broker.kill()
    scene.gate.let_go()
    assert scene.ended() == REBOOTING, "the repository is all that an installation needs"
    scene.broker.start()
    confirm_and_report(scene)


def test_a_trial_that_nobody_can_reach_goes_back(scene: Harbour) -> None:
    scene.bench.change(scene.bench.profile_file, "within_s = 20", "within_s = 3")
    scene.publish()
    scene.start()
    assert scene.ended() == REBOOTING
    scene.broker.kill()
    scene.start()
    assert scene.ended() == REBOOTING
    assert (scene.bench.folder / "boots").read_text() == "b\na\n"
    scene.broker.start()
    with scene.collector():
        scene.start()
        until(lambda: bool(scene.reports), "the report is stored")
        assert scene.stop() == 0
    (stored,) = scene.reports
    assert (stored.report.outcome, stored.report.code) == (Outcome.REVERTED, "unhealthy")
    assert "broker" in stored.report.detail


def test_an_agent_that_is_stopped_or_killed_while_it_installs_goes_on(scene: Harbour) -> None:
    scene.publish()
    scene.gate.hold()
    scene.start()
    assert scene.gate.reached.wait(20)
    assert scene.agent is not None
    scene.agent.terminate()
    scene.gate.let_go()
    assert scene.ended() == 0
    update = scene.status()["update"]
    assert isinstance(update, dict)
    assert update["state"] == "planned"
    scene.gate.hold()
    scene.start()
    assert scene.gate.reached.wait(20)
    scene.kill()
    scene.gate.let_go()
    scene.start()
    assert scene.ended() == REBOOTING
    confirm_and_report(scene)


def test_someone_at_the_device_asks_the_running_service(scene: Harbour) -> None:
    scene.publish(begins=timedelta(days=2))
    scene.start()
    until(lambda: scene.status()["service"] == "running", "it runs")
    checked = scene.bench.call("--json", "check", "--wait")
    assert (checked.status, checked.document["decision"]) == (3, "later")
    assert scene.bench.call("--json", "check").document["asked"] == "check"
    assert scene.bench.call("confirm").status == 3
    assert scene.bench.call("revert").status == 32
    assert scene.bench.call("install", "--reboot", "no").status == 5
    assert scene.bench.call("run").status == 5
    assert scene.bench.call("defer", "--for", "1h").status == 0
    until(lambda: scene.status()["deferred_until"] != "", "it remembers")
    assert scene.bench.call("--json", "install").document["asked"] == "install"
    assert scene.ended() == REBOOTING
    scene.bench.change(scene.bench.profile_file, '["true"]', '["false"]')
    scene.start()
    until(lambda: scene.status()["service"] == "running", "it runs")
    until(lambda: scene.bench.call("--json", "confirm").status == 0, "the trial can be confirmed")
    until(lambda: scene.status()["default_slot"] == "b", "it is confirmed, whatever checks say")
    assert scene.stop() == 0


def test_without_a_broker_the_agent_keeps_trying_and_says_so(scene: Harbour) -> None:
    scene.broker.kill()
    scene.start()
    until(lambda: scene.manager.heard("no session with the broker"), "it says why")
    until(lambda: scene.status()["service"] == "running", "it can be asked")
    doctor = scene.bench.call("--json", "doctor").document["findings"]
    assert [one["level"] for one in doctor if one["name"] == "broker"] == ["FAIL"]
    scene.broker.start()
    with scene.collector():
        until(lambda: scene.online is True, "it comes back by itself")
        assert scene.stop() == 0


@pytest.mark.parametrize("whose", ["broker", "repository"])
def test_a_server_of_another_authority_is_refused(
    scene: Harbour, whose: str, tmp_path: Path
) -> None:
    stranger = make_fleet(tmp_path / "stranger")
    wrong = scene.bench.folder / "stranger.pem"
    shutil.copy(stranger.authority / "authority.pem", wrong)
    right = f'authority = "{scene.bench.folder}/authority.pem"'
    text = scene.bench.settings.read_text()
    before, section, after = text.partition(f"[{whose}]")
    after = after.replace(right, f'authority = "{wrong}"', 1)
    scene.bench.settings.write_text(before + section + after)
    scene.publish()
    scene.start()
    if whose == "repository":
        until(lambda: scene.manager.heard("fetch-tls"), "it says why")
        assert scene.status()["update"] is None
        assert scene.stop() == 0
    else:
        until(lambda: scene.manager.heard("no session with the broker"), "it says why")
        assert scene.ended() == REBOOTING, "installing needs no broker, confirming does"


def test_an_under_signed_publication_is_refused_and_the_fleet_hears_of_it(scene: Harbour) -> None:
    scene.publish()
    (document,) = (scene.workspace.public / "metadata").glob("2.rollouts.json")
    signed = json.loads(document.read_bytes())
    signed["signatures"] = []
    document.unlink()
    document.write_text(json.dumps(signed))
    with scene.collector():
        scene.start()
        until(lambda: bool(scene.reports), "the alarm is stored")
        assert scene.stop() == 0
    (stored,) = scene.reports
    assert (stored.report.outcome, stored.report.code) == (Outcome.REFUSED, "trust")
    assert scene.status()["update"] is None
    assert (scene.bench.folder / "root-b").read_bytes() == bytes(8 * 1024 * 1024)


def broker_line(scene: Harbour) -> dict[str, str]:
    findings = scene.bench.call("--json", "doctor").document["findings"]
    lines: list[dict[str, str]] = [one for one in findings if one["name"] == "broker"]
    return lines[0]


def test_the_doctor_proves_what_the_broker_allows(scene: Harbour) -> None:
    line = broker_line(scene)
    assert line["level"] == "ok", line
    assert "a forbidden receipt" in line["detail"]
    scene.start()
    until(lambda: scene.status()["service"] == "running", "it runs")
    assert "the running service has the session" in broker_line(scene)["detail"]
    assert scene.stop() == 0
    scene.broker.stop()
    acl = scene.workspace.broker / "acl"
    acl.write_text("topic readwrite #\npattern readwrite #\n")
    scene.broker.start()
    line = broker_line(scene)
    assert line["level"] == "FAIL"
    assert "only the fleet may write" in line["detail"]
