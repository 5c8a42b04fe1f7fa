"""What people do wrong at `lockgate-fleet`: refused before anything changes, with a way on."""

import errno
import json
import os
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from agent.errors import StateError
from agent.report import Outcome
from fleet import enrol, files, keys
from fleet.cli import main
from fleet.store import Batch, Store
from fleet.workspace import Workspace
from tests.fleet.running.parts import NOW, a_report

BOARD = "raspberrypi,4-model-b"


@pytest.fixture
def fleet(tmp_path: Path) -> Workspace:
    workspace, image = Workspace(tmp_path / "fleet"), tmp_path / "root.img"
    image.write_bytes(b"root" * 128)
    assert call(workspace, "init", "--name", "berlin", "--classical-only") == 0
    assert call(workspace, *added("1", image)) == 0
    return workspace


def call(workspace: Workspace, *words: str) -> int:
    return main(["--dir", str(workspace.root), *words])


def added(name: str, image: Path) -> tuple[str, ...]:
    counter = ("--counter", name, "--kind", "feature", "--threads", "1")
    return ("release", "add", name, *counter, "--image", f"{BOARD}:root={image}")


def everything(workspace: Workspace) -> dict[str, bytes]:
    paths = [path for path in workspace.root.rglob("*") if path.is_file()]
    return {str(path): path.read_bytes() for path in paths}


def refused(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], status: int, *words: str
) -> str:
    """What is said on the standard error; nothing else is said, and nothing has changed."""
    capsys.readouterr()
    before = everything(workspace)
    assert call(workspace, *words) == status
    printed = capsys.readouterr()
    assert not printed.out
    assert everything(workspace) == before
    return printed.err


def test_a_folder_of_keys_that_is_not_there_is_refused_before_the_work(
    fleet: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = added("2", tmp_path / "root.img")
    said = refused(fleet, capsys, 78, *words, "--keys", str(tmp_path / "usb"))
    assert f"{tmp_path / 'usb'} is none" in said


def test_a_key_that_cannot_be_read_leaves_nothing_half_started(
    fleet: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoiled = [fleet.keys / "rollouts" / "old.pem", fleet.keys / "releases" / "old.pem"]
    for path in spoiled:
        path.write_text("no key")
    start = ("rollout", "start", "spring", "--release", "1")
    assert "old.pem" in refused(fleet, capsys, 78, *start)
    assert "old.pem" in refused(fleet, capsys, 78, *added("2", tmp_path / "root.img"))
    public = ("--public", str(tmp_path / "new.pub"))
    new = keys.generate(keys.KeyKind.ED25519)
    (tmp_path / "new.pub").write_bytes(keys.public_pem(new))
    assert "old.pem" in refused(fleet, capsys, 78, "key", "rotate", "rollouts", *public)
    for path in spoiled:
        path.unlink()
    assert call(fleet, *start) == 0


def test_signing_with_nothing_that_may_sign_is_refused(
    fleet: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = ("--keys", str(fleet.keys / "rollouts"))
    assert "--keys" in refused(fleet, capsys, 78, "sign", "releases", *keys)


def test_a_rollout_to_boards_without_an_image_is_refused(
    fleet: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = ("--release", "1", "--hardware-id", "raspberypi,4-model-b")
    for action in ("plan", "start"):
        assert BOARD in refused(fleet, capsys, 78, "rollout", action, "spring", *typed)


def test_a_device_that_nobody_knows_is_pointed_out(
    fleet: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, request = enrol.new_request("heron")
    (tmp_path / "heron.csr").write_bytes(request)
    out = ("--out", str(tmp_path / "heron"))
    assert call(fleet, "enrol", "heron", "--csr", str(tmp_path / "heron.csr"), *out) == 0
    named = ("--release", "1", "--device", "heron", "--device", "hreon")
    assert call(fleet, "rollout", "plan", "spring", *named) == 0
    assert "warning: hreon: neither" in capsys.readouterr().err


def test_a_plan_knows_devices_from_their_enrolment_on(
    fleet: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = ("rollout", "plan", "spring", "--release", "1", "--phase", "100")
    assert call(fleet, *plan) == 0
    assert "--devices-file" in capsys.readouterr().err
    for device in ("heron", "crane"):
        _, request = enrol.new_request(device)
        (tmp_path / "csr").write_bytes(request)
        words = ("--csr", str(tmp_path / "csr"), "--out", str(tmp_path / device))
        assert call(fleet, "enrol", device, *words) == 0
    assert call(fleet, "enrol", "crane", "--revoke") == 0
    capsys.readouterr()
    assert call(fleet, *plan, "--json") == 0
    assert json.loads(capsys.readouterr().out)["phases"][0]["devices"] == ["heron"]


def test_no_certificate_is_issued_for_a_folder_that_cannot_be_written(
    fleet: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, request = enrol.new_request("heron")
    (tmp_path / "heron.csr").write_bytes(request)
    out = ("--out", str(tmp_path / "heron.csr" / "folder"))  # a file is in the way
    said = refused(fleet, capsys, 21, "enrol", "heron", "--csr", str(tmp_path / "heron.csr"), *out)
    assert "Traceback" not in said
    assert "heron.csr" in said


def test_a_port_that_no_computer_has_is_refused(
    fleet: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(fleet, "publish") == 0
    assert "0 to 65535" in refused(fleet, capsys, 78, "serve", "--port", "99999")


def test_errors_are_json_where_results_would_be(
    fleet: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    said = json.loads(refused(fleet, capsys, 78, "release", "show", "9", "--json"))
    assert said["error"]["code"] == "config"
    assert "there are: 1" in said["error"]["message"]


def test_one_document_for_no_device_and_for_an_enrolment(
    fleet: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert call(fleet, "devices", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"devices": []}
    _, request = enrol.new_request("heron")
    (tmp_path / "heron.csr").write_bytes(request)
    words = ("--csr", str(tmp_path / "heron.csr"), "--out", str(tmp_path / "heron"))
    assert call(fleet, "enrol", "heron", *words, "--json") == 0
    assert json.loads(capsys.readouterr().out)["enrolled"] == "heron"


def test_what_a_killed_process_left_aside_is_removed_and_what_a_living_one_has_is_not(
    fleet: Workspace, tmp_path: Path
) -> None:
    left = fleet.stage / ".aside-killed"
    left.mkdir()
    (left / "opened").write_bytes(b"secret")
    with files.aside(fleet.root, fleet.stage) as living:
        assert not left.exists()
        (living / "payload").write_bytes(b"mine")
        assert call(fleet, *added("2", tmp_path / "root.img"), "--dry-run") == 0
        assert (living / "payload").read_bytes() == b"mine"
    assert not living.exists()


def test_a_rollout_tells_how_far_it_is(
    fleet: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    def told() -> dict[str, object]:
        capsys.readouterr()
        assert call(fleet, "rollout", "status", "spring", "--json") == 0
        row: dict[str, object] = json.loads(capsys.readouterr().out)["rollouts"][0]
        return {"published": row["published"], "outcomes": row["outcomes"]}

    assert call(fleet, "rollout", "start", "spring", "--release", "1") == 0
    assert told() == {"published": False, "outcomes": {}}
    assert call(fleet, "publish") == 0
    report = replace(a_report("heron", outcome=Outcome.REVERTED), rollout="spring", reissue=0)
    store = Store(fleet.store)
    store.open()
    with closing(store):
        store.keep(Batch(reports=(report, replace(report, device="crane"))), NOW)
    assert told() == {"published": True, "outcomes": {"reverted": 2}}
    assert call(fleet, "rollout", "status", "spring") == 0
    assert "devices reported: 2 reverted" in capsys.readouterr().out
    assert call(fleet, "rollout", "reissue", "spring") == 0
    assert told() == {"published": False, "outcomes": {}}


def test_a_full_disk_says_what_to_do() -> None:
    with pytest.raises(StateError, match="cannot be written") as plain:
        files.replace(Path("/proc/nothing/here"), b"")
    assert "free some space" not in str(plain.value)
    assert "free some space" in files.advice(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))


def test_a_reader_that_goes_away_is_no_traceback(fleet: Workspace) -> None:
    words = [sys.executable, "-m", "fleet.cli", "--dir", str(fleet.root), "release", "list"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        run.stdout.close()
        assert run.stderr is not None
        said = run.stderr.read()
    assert run.returncode == StateError.exit_status
    assert said.startswith("lockgate-fleet: state: the output cannot be written")
    assert said.count("\n") == 1
