"""The commands of the running half, as an operator types them; and the guard with real keys."""

import json
import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from agent.config import parse_config
from agent.report import Outcome, Presence
from fleet import enrol
from fleet.broker_process import BrokerKind, BrokerProcess, free_port
from fleet.cli import main
from fleet.collect import EventKind
from fleet.guard import verdicts
from fleet.notify import last_notice
from fleet.rail import WorkspaceRail
from fleet.store import Batch, FailureCount, Store
from fleet.workspace import Workspace
from tests.fleet.running.parts import (
    NOW,
    STATUS,
    a_report,
    address_of,
    collecting,
    enrolled,
    send_until_receipted,
    the_operator,
    topics_of,
    wait_until,
)


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("operator") / "fleet"
    assert main(["--dir", str(folder), "init", "--name", "berlin", "--classical-only"]) == 0
    return Workspace(folder)


def run(workspace: Workspace, *words: str) -> int:
    return main(["--dir", str(workspace.root), *words])


def test_init_leaves_a_broker_ready_to_run(operator: Workspace) -> None:
    assert "use_identity_as_username true" in (operator.broker / "mosquitto.conf").read_text()
    assert "pattern write lockgate/berlin/%u/report" in (operator.broker / "acl").read_text()


def test_enrolling_gives_a_device_its_folder(operator: Workspace, tmp_path: Path) -> None:
    _, request = enrol.new_request("heron")
    (tmp_path / "heron.csr").write_bytes(request)
    words = ("enrol", "heron", "--csr", str(tmp_path / "heron.csr"), "--out", str(tmp_path / "out"))
    assert run(operator, *words, "--factory-counter", "3", "--reboot", "reboot", "{argument}") == 0
    config = parse_config((tmp_path / "out" / "agent.toml").read_bytes(), "agent.toml")
    assert config.device.factory_counter == 3
    assert config.reboot.command == ("reboot", "{argument}")
    assert run(operator, *words) == 78
    assert run(operator, *words, "--renew") == 0


def test_enrolling_without_a_request_says_what_was_expected(
    operator: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(operator, "enrol", "heron") == 78
    assert "--csr FILE" in capsys.readouterr().err
    assert run(operator, "enrol", "crane", "--csr", "/nowhere", "--out", "/nowhere") == 78
    assert "/nowhere" in capsys.readouterr().err


def test_devices_shows_what_they_said(
    operator: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(operator.store)
    store.open()
    with closing(store):
        store.keep(
            Batch(
                reports=(a_report("heron", outcome=Outcome.REVERTED, detail="[red]x[/red]"),),
                statuses=(replace(STATUS, detail="[bold]"),),
                presences=(("heron", Presence(online=True, session="one")),),
            ),
            NOW,
        )
    assert run(operator, "devices") == 0
    table = capsys.readouterr().out
    assert "heron" in table
    assert "installing 25 %" in table
    assert run(operator, "devices", "show", "heron") == 0
    assert "[red]x[/red]" in capsys.readouterr().out
    for words in (("--json", "devices"), ("devices", "list", "--json")):
        assert run(operator, *words) == 0
        assert json.loads(capsys.readouterr().out)["devices"][0]["online"] is True
    assert run(operator, "devices", "show", "heron", "--json") == 0
    assert json.loads(capsys.readouterr().out)["reports"][0]["times_received"] == 1
    assert run(operator, "devices", "show", "nobody") == 78


def test_serve_prints_nginx(operator: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(operator, "serve", "--print-nginx") == 0
    assert "listen 8443 ssl;" in capsys.readouterr().out


def test_a_notice_that_is_not_possible_is_refused(operator: Workspace) -> None:
    assert run(operator, "notify", "--spread", "-1") == 78
    assert run(operator, "notify", "--device", "a/b") == 78


def test_collecting_without_a_broker_fails_with_its_own_status(operator: Workspace) -> None:
    operator.write_settings(replace(operator.settings(), broker_port=1))
    assert run(operator, "collect", "--once-idle", "0.1") == 10


def test_the_guard_halts_what_is_published_with_the_one_online_key(tmp_path: Path) -> None:
    workspace, port = Workspace(tmp_path / "fleet"), free_port()
    image = tmp_path / "root.img"
    image.write_bytes(b"root" * 4096)
    add = ("release", "add", "os-7", "--counter", "7", "--kind", "feature", "--threads", "1")
    start = ("rollout", "start", "summer", "--release", "os-7", "--phase", "100")
    assert run(workspace, "init", "--name", "berlin", "--broker-port", str(port)) == 0
    assert run(workspace, *add, "--image", f"board:root={image}") == 0
    assert run(workspace, *start, "--failures-max", "0") == 0
    assert run(workspace, "publish") == 0
    for role in ("root", "targets", "releases", "rollouts"):  # these keys are not online
        shutil.rmtree(workspace.keys / role)
    with BrokerProcess(workspace, port=port, kind=BrokerKind.MOSQUITTO) as process:
        address, rail = address_of(process), WorkspaceRail(workspace)
        with collecting(workspace, address, rail=rail) as collector:
            reverted = a_report("heron", outcome=Outcome.REVERTED, code="refused")
            send_until_receipted(address, enrolled(workspace, "heron"), [reverted], within_s=10)
            wait_until(lambda: collector.counts[EventKind.HALTED] == 1)
            wait_until(last_notice(workspace).exists)
            with the_operator(workspace, address) as watcher:
                watcher.subscribe(topics_of("any").fleet_notice)
                assert watcher.receive(5)
    _, halts = rail.documents()
    assert [(halt.rollout, halt.reissue) for halt in halts.halts] == [("summer", 0)]
    assert "1 devices failed" in halts.halts[0].reason


def test_a_failing_issue_is_halted_even_when_the_next_one_waits(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "fleet")
    image = tmp_path / "root.img"
    image.write_bytes(b"root" * 4096)
    add = ("release", "add", "os-7", "--counter", "7", "--kind", "feature", "--threads", "1")
    start = ("rollout", "start", "summer", "--release", "os-7", "--phase", "100")
    assert run(workspace, "init", "--name", "berlin", "--broker-port", str(free_port())) == 0
    assert run(workspace, *add, "--image", f"board:root={image}") == 0
    assert run(workspace, *start) == 0
    assert run(workspace, "publish") == 0
    assert run(workspace, "rollout", "reissue", "summer") == 0  # staged, not published
    rail = WorkspaceRail(workspace)
    (wish,) = verdicts(*rail.documents(), [FailureCount("summer", 0, 100)])
    rail.halt(wish)
    _, halts = rail.documents()
    assert [(halt.rollout, halt.reissue) for halt in halts.halts] == [("summer", 0)]
