import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from agent.linux.lock import StateLock
from fleet.workspace import Workspace
from tests.cli.bench import Answer, Bench
from tests.cli.fleets import enrol, make_fleet
from tests.cli.shapes import differences, examples

VERBS = ("check", "install", "confirm", "revert", "explain")


def told(answer: Answer) -> str:
    """The one line about an error."""
    assert not answer.out
    (line,) = answer.err.splitlines()
    return line


@pytest.mark.parametrize("verb", ["run", "status", "history", "identity", *VERBS])
def test_missing_settings_are_named(bench: Bench, verb: str) -> None:
    bench.settings.unlink()
    answer = bench.call(verb)
    assert answer.status == 78
    assert told(answer).startswith(f"lockgate: config: {bench.settings}: ")
    assert "enrol the device" in told(answer)


def test_settings_that_are_a_folder_are_refused(bench: Bench) -> None:
    bench.settings.unlink()
    bench.settings.mkdir()
    assert bench.call("status").status == 78


def test_an_unknown_key_of_the_settings_is_named(bench: Bench) -> None:
    bench.change(bench.settings, "[timing]", "[timing]\ncolour = 1")
    answer = bench.call("status")
    assert answer.status == 78
    assert "timing.colour: unknown key" in told(answer)


def test_a_missing_profile_is_named(bench: Bench) -> None:
    bench.profile_file.unlink()
    answer = bench.call("status")
    assert answer.status == 79
    assert f"{bench.profile_file}: the board profile was expected" in told(answer)


def test_an_unreadable_profile_is_refused(bench: Bench) -> None:
    bench.profile_file.write_bytes(b"\xff\xfe\x00")
    assert bench.call("status").status == 79


def test_an_unknown_key_of_the_profile_is_named(bench: Bench) -> None:
    bench.change(bench.profile_file, "within_s = 20", "within_s = 20\nwithin_m = 1")
    answer = bench.call("check")
    assert answer.status == 79
    assert "confirm.within_m: unknown key" in told(answer)


@pytest.mark.parametrize("verb", ["run", *VERBS])
def test_a_device_that_is_not_there_is_named_with_its_key(bench: Bench, verb: str) -> None:
    (bench.folder / "root-b").unlink()
    answer = bench.call(verb)
    assert answer.status == 79
    line = told(answer)
    assert f"{bench.profile_file}: slots.b.parts.root" in line
    assert f"{bench.folder}/root-b" in line


def test_a_device_without_room_is_refused(bench: Bench) -> None:
    (bench.folder / "root-a").write_bytes(b"")
    answer = bench.call("check")
    assert answer.status == 79
    assert "0 bytes" in told(answer)


def test_the_profile_of_another_board_is_refused(bench: Bench) -> None:
    bench.change(bench.profile_file, "raspberrypi,4-model-b", "raspberrypi,3-model-b")
    answer = bench.call("check")
    assert answer.status == 79
    assert "name the right profile" in told(answer)


def test_a_root_of_trust_that_is_none_is_refused(bench: Bench) -> None:
    (bench.folder / "root.json").write_text("{}")
    answer = bench.call("check")
    assert answer.status == 78
    assert "signed" in told(answer)


def test_the_service_does_not_start_without_its_certificate(bench: Bench) -> None:
    answer = bench.call("run")
    assert answer.status == 78
    assert "broker.authority" in told(answer)


@pytest.mark.parametrize("verb", ["run", *VERBS, "defer"])
def test_a_second_process_is_told_that_the_device_is_busy(bench: Bench, verb: str) -> None:
    words = (verb, "--for", "1h") if verb == "defer" else (verb,)
    with StateLock(str(bench.state)):
        answer = bench.call(*words)
    if verb == "explain":
        assert answer.status != 5, "it changes nothing and needs no lock"
    elif verb == "confirm":
        assert answer.status == 3, "there is no trial, whoever has the lock"
    elif verb == "revert":
        assert answer.status == 32, "there is nothing to go back to, whoever has the lock"
    else:
        assert answer.status == 5
        assert told(answer).startswith("lockgate: busy: ")


def test_errors_are_json_when_asked_for(bench: Bench) -> None:
    bench.settings.unlink()
    answer = bench.call("--json", "status")
    assert not answer.out
    assert not differences(examples()["error"], answer.error)
    assert answer.error["error"]["code"] == "config"


def test_a_repository_that_is_not_there_is_a_fetch_error(fleet: Workspace, bench: Bench) -> None:
    enrol(fleet, bench)
    answer = bench.call("check")
    assert answer.status == 20
    assert told(answer).startswith("lockgate: fetch: ")


def test_a_repository_with_another_authority_is_refused(enrolled: Bench, tmp_path: Path) -> None:
    stranger = make_fleet(tmp_path / "stranger")
    shutil.copy(stranger.authority / "authority.pem", enrolled.folder / "authority.pem")
    answer = enrolled.call("check")
    assert answer.status == 14
    assert told(answer).startswith("lockgate: fetch-tls: ")


def test_another_fleet_s_root_of_trust_refuses_everything(enrolled: Bench, tmp_path: Path) -> None:
    stranger = make_fleet(tmp_path / "stranger")
    shutil.copy(stranger.public / "metadata/1.root.json", enrolled.folder / "root.json")
    answer = enrolled.call("check")
    assert answer.status == 11
    assert told(answer).startswith("lockgate: trust: ")


def test_a_boot_state_that_cannot_be_read_is_named_and_stops_a_switch(bench: Bench) -> None:
    (bench.folder / "boot").write_bytes(bytes(65536))
    answer = bench.call("--json", "status")
    assert answer.document["default_slot"] == ""
    assert answer.document["problems"][0].startswith("boot-control: ")
    assert "FAIL  boot state: boot-control: " in bench.call("doctor", "--offline").out


@pytest.mark.parametrize(
    "words",
    [
        ("defer",),
        ("defer", "tomorrow"),
        ("defer", "--for", "1y"),
        ("defer", "2026-12-01T00:00:00Z", "--for", "1h"),
        ("install", "--reboot", "maybe"),
        ("fly",),
        (),
    ],
)
def test_a_wrong_command_line_is_a_usage_error(bench: Bench, words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as ended:
        bench.call(*words)
    assert ended.value.code == 2


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with next to no room."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "lockgate-test", str(folder)]
    subprocess.run(mount, check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_said_to_be_full(small_disk: Path, bench: Bench) -> None:
    bench.change(bench.settings, f"{bench.folder}/state", str(small_disk))
    assert bench.call("defer", "--for", "1h").status == 0
    with suppress(OSError), (small_disk / "filler").open("wb", buffering=0) as file:
        for _ in range(64):
            file.write(bytes(4096))
    answer = bench.call("defer", "--for", "2h")
    assert answer.status == 21, answer.err
    assert "free some space" in told(answer)
    assert "FAIL  state folder" in bench.call("doctor", "--offline").out
    assert bench.call("status").status == 0, "looking needs no room"
