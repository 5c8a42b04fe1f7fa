"""The signing commands, as an operator types them."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.errors import UpdateError
from fleet.cli import build_parser
from fleet.workspace import Workspace
from tests.fleet.signing.support import HARDWARE, Client, Fleet, noise


def run(folder: Path, *arguments: str) -> None:
    options = build_parser().parse_args(["--dir", str(folder), *arguments])
    assert options.run(options, Workspace(options.dir)) == 0


def test_a_fleet_is_started_and_rolls_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, image = tmp_path / "fleet", tmp_path / "root.img"
    image.write_bytes(noise(4096))
    made = ("release", "add", "1", "--counter", "1", "--kind", "security")

    run(folder, "init", "--name", "harbour")
    run(folder, *made, "--image", f"{HARDWARE}:root={image}", "--notes", "first")
    run(folder, "rollout", "start", "r", "--release", "1", "--window", "01:00-05:00")
    run(folder, "publish")
    run(folder, "release", "show", "1", "--json")

    shown = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert shown["images"][0]["length_bytes"] == 4096
    client = Client(Fleet(Workspace(folder)), tmp_path / "device")
    assert client.fetch("releases/1.json", datetime.now(UTC)) is not None
    assert (folder / "authority").is_dir()


def test_every_command_speaks_json(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    folder = fleet.workspace.root
    fleet.add("1", 1)
    for words in (
        f"rollout start r --release 1 --phase 50 --phase 100@+30s --hardware-id {HARDWARE}",
        "rollout plan s --release 1 --device a --device b",
        "rollout pause r",
        "rollout status r",
        "rollout halt r --reason smoke",
        "release list",
        "key list",
        "key rotate snapshot",
        "key add halts --threshold 1",
        "sign root",
        f"key make {folder / 'elsewhere'}",
        "sign releases --renew",
        "publish --dry-run",
        "publish",
        "publish --only timestamp",
    ):
        run(folder, *words.split(), "--json")

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 15
    assert all(isinstance(line, dict) for line in lines)
    assert lines[1]["phases"][0]["share"] == 500
    assert lines[3]["rollouts"][0]["state"] == "paused"
    assert lines[-1]["files"] == ["metadata/timestamp.json"]


def test_people_read_what_was_done_and_what_to_do(
    fleet: Fleet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = fleet.workspace.root
    devices = tmp_path / "devices"
    devices.write_text("\n".join(f"device-{number}" for number in range(40)))
    fleet.add("1", 1)
    image = folder / "1.img"

    run(folder, "rollout", "plan", "r", "--release", "1", "--devices-file", str(devices))
    run(folder, "rollout", "status")
    run(
        folder,
        "rollout",
        "start",
        "r",
        "--release",
        "1",
        "--device",
        "a",
        "--window",
        "01:00-02:00",
    )
    run(folder, "rollout", "status")
    run(folder, "rollout", "halt", "r", "--reason", "it smokes")
    run(folder, "rollout", "status", "r")
    dry = ("release", "add", "2", "--counter", "2", "--kind", "feature", "--dry-run")
    run(folder, *dry, "--image", f"{HARDWARE}:root={image}")
    run(folder, "release", "list")
    run(folder, "key", "list")
    run(folder, "key", "rotate", "timestamp")
    run(folder, "key", "make", str(tmp_path / "new"), "--kind", "ml-dsa-65")
    run(folder, "publish", "--dry-run")

    printed = capsys.readouterr().out
    for words in (
        "40 known devices",
        "no rollouts yet",
        "devices: a",
        "halted: it smokes",
        "publish --only halts",
        "this was a dry run",
        "root: 3 of 4 needed, hybrid",
        "then destroy every copy",
        "key add ROLE --public FILE",
        "would be published: metadata/timestamp.json",
    ):
        assert words in printed
    assert not (folder / "public").exists()


def test_a_carried_file_is_signed_without_the_fleet_s_folder(
    fleet: Fleet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, carried = fleet.workspace.root, tmp_path / "rollouts.json"
    fleet.add("1", 1)
    fleet.take_away("rollouts", tmp_path / "home")
    run(folder, "rollout", "start", "r", "--release", "1")
    carried.write_bytes((folder / "stage/metadata/rollouts.json").read_bytes())

    home = str(tmp_path / "home")
    run(tmp_path / "nowhere", "sign", "rollouts", "--file", str(carried), "--keys", home)
    run(folder, "sign", "rollouts", "--merge", str(carried))

    printed = capsys.readouterr().out
    assert "signed by 0 of 2 keys" in printed
    assert "rollouts/harbour.json  SHA-256" in printed
    assert "version 2 is signed (2 signatures, 2 needed)" in printed
    run(folder, "publish")


@pytest.mark.parametrize(
    "words",
    [
        "rollout start r --release none",
        "rollout plan r --release none",
        "rollout halt r --reason x",
        "release show none",
        "key rotate rollouts",
        "key add releases --public /nowhere.pub",
        "sign root --file /nowhere.json",
        "rollout plan r --release 1 --devices-file /nowhere",
    ],
)
def test_bad_input_is_an_update_error(fleet: Fleet, words: str) -> None:
    fleet.add("1", 1)
    with pytest.raises(UpdateError):
        run(fleet.workspace.root, *words.split())
