import os
import tomllib
from pathlib import Path
from typing import get_type_hints

import pytest

from agent.cli import COMMANDS, build_parser
from agent.commands.by_hand import all_errors, progress_words
from agent.commands.explanations import NEXT_STEPS, explanations
from agent.commands.output import size_words, time_words
from agent.config import Config, parse_config
from agent.install import Meter
from agent.service import LISTEN_S_MAX
from fleet.workspace import Workspace
from tests.cli.bench import ROOT, Bench
from tests.cli.fleets import enrol
from tests.cli.shapes import differences, examples


def test_every_error_has_its_next_step() -> None:
    assert set(NEXT_STEPS) == {kind.code for kind in all_errors()}


def test_no_code_stands_for_two_things() -> None:
    codes = [one.code for one in explanations()]
    assert len(set(codes)) == len(codes)


def test_every_code_and_status_can_be_explained(bench: Bench) -> None:
    for one in explanations():
        assert bench.call("explain", one.code).status == 0
        assert one.meaning in bench.call("explain", str(one.exit_status or one.code)).out
    answer = bench.call("--json", "explain", "trust-expired")
    assert not differences(examples()["explain"], answer.document)
    assert bench.call("explain", "nonsense").status == 40


def test_the_documents_know_every_verb() -> None:
    text = (ROOT / "docs/commands.md").read_text()
    for verb in COMMANDS:
        assert f"\n## {verb}\n" in text
        assert f"| `{verb}" in text
    assert build_parser().format_help()


def test_the_documents_know_every_key_of_the_settings() -> None:
    text = (ROOT / "docs/configuration.md").read_text()
    example = tomllib.loads((ROOT / "packaging/agent.toml").read_text())
    keys = {
        f"{table}.{key}"
        for table, settings in get_type_hints(Config).items()
        for key in get_type_hints(settings)
    }
    assert len(keys) > 20
    for name in keys:
        table, _, key = name.partition(".")
        assert f"\n| `{name}` |" in text
        assert key in example[table], f"packaging/agent.toml lacks {name}"
    assert parse_config((ROOT / "packaging/agent.toml").read_bytes(), "agent.toml").device.id


def test_the_identity_is_made_once_and_shown(fleet: Workspace, bench: Bench) -> None:
    key = bench.folder / "device.key"
    first = bench.call("--json", "identity", "--new")
    content = key.read_bytes()
    assert not differences(examples()["identity-new"], first.document)
    assert key.stat().st_mode & 0o777 == 0o600
    assert bench.call("identity", "--new").out.startswith("-----BEGIN CERTIFICATE REQUEST-----")
    assert key.read_bytes() == content, "a key is never replaced"
    assert bench.call("identity").status == 78, "there is no certificate yet"
    enrol(fleet, bench)
    shown = bench.call("--json", "identity")
    assert not differences(examples()["identity"], shown.document)
    assert shown.document["common_name"] == "lock-1"
    assert shown.document["key_belongs"] is True


def test_an_identity_can_be_made_before_there_are_settings(bench: Bench) -> None:
    bench.settings.unlink()
    key = bench.folder / "keys/new.key"
    refused = bench.call("identity", "--new", "--device", "lock 2", "--key", str(key))
    assert (refused.status, key.exists()) == (78, False)
    assert "--key FILE" in bench.call("identity", "--new", "--device", "lock-2").err
    answer = bench.call("identity", "--new", "--device", "lock-2", "--key", str(key))
    assert answer.status == 0, answer.err
    assert key.exists()


def test_the_doctor_finds_what_is_wrong(fleet: Workspace, bench: Bench) -> None:
    answer = bench.call("--json", "doctor", "--offline")
    assert answer.status == 1
    assert not differences(examples()["doctor"], answer.document)
    failed = {one["name"] for one in answer.document["findings"] if one["level"] == "FAIL"}
    assert failed == {"identity", "broker.authority", "repository.authority"}
    assert all(one["next"] for one in answer.document["findings"] if one["level"] != "ok")
    enrol(fleet, bench)
    assert bench.call("doctor", "--offline").status == 0


def test_the_doctor_goes_on_as_far_as_it_can(bench: Bench) -> None:
    bench.profile_file.unlink()
    answer = bench.call("--json", "doctor")
    assert answer.status == 1
    assert [one["level"] for one in answer.document["findings"]] == ["ok", "FAIL"]
    bench.settings.unlink()
    assert bench.call("--json", "doctor").document["failed"] == 1


def test_the_doctor_knows_the_key_of_another_device(fleet: Workspace, bench: Bench) -> None:
    enrol(fleet, bench)
    (bench.folder / "device.key").unlink()
    bench.call("identity", "--new")
    out = bench.call("doctor", "--offline").out
    assert "FAIL  identity: " in out
    assert "is not the key of" in out


def test_the_doctor_looks_for_the_watchdog_and_at_the_slots(bench: Bench) -> None:
    bench.change(bench.profile_file, "within_s", f'watchdog = "{bench.folder}/dog"\nwithin_s')
    os.truncate(bench.folder / "root-b", 32 * 1024)
    out = bench.call("doctor", "--offline").out
    assert "FAIL  watchdog: " in out
    assert "warn  slot sizes: root has 64.0 KiB in slot a and 32.0 KiB in slot b" in out


def test_the_doctor_sees_a_trial_that_nobody_remembers(bench: Bench) -> None:
    bench.boot("b", boot_id="boot-2", tryboot=True)
    assert "warn  boot state: slot b runs, slot a starts by default" in (
        bench.call("doctor", "--offline").out
    )


@pytest.mark.parametrize(
    ("length_bytes", "words"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1024, "1.0 KiB"), (3 << 20, "3.0 MiB")],
)
def test_sizes_have_units(length_bytes: int, words: str) -> None:
    assert size_words(length_bytes) == words
    assert size_words(5 << 40) == "5.0 TiB"
    assert size_words(5 << 50) == "5120.0 TiB"


def test_durations_have_units() -> None:
    assert [time_words(one) for one in (5, 65, 3700, 90000)] == [
        "5 s",
        "1 min 5 s",
        "1 h 1 min",
        "1 d 1 h",
    ]


def test_progress_says_how_far_how_fast_and_how_long() -> None:
    meter = Meter(done_bytes=50 << 20, total_bytes=200 << 20)
    assert progress_words(meter, 5.0) == (
        "installing  25 %  50.0 MiB of 200.0 MiB  10.0 MiB/s  15 s left"
    )
    assert progress_words(Meter(), 0.0) == "installing   0 %  0 bytes of 1 bytes"


def test_the_packaged_service_waits_longer_than_the_agent_is_silent() -> None:
    lines = (ROOT / "packaging/lockgate.service").read_text().splitlines()
    settings = dict(line.split("=", 1) for line in lines if "=" in line and line[0] != "#")
    assert settings["Type"] == "notify"
    assert settings["SuccessExitStatus"] == "4"
    assert settings["ExecStart"].endswith("/lockgate run")
    assert int(settings["WatchdogSec"].removesuffix("min")) * 60 >= 2 * LISTEN_S_MAX


def guard(process: Path, reboots: Path, manager: str = "exit 3\n") -> None:
    """Let the guard look once; `manager` is what the program does that it asks about the services."""
    asked = process / "programs"
    asked.mkdir(exist_ok=True)
    (asked / "systemctl").write_text(f"#!/bin/sh\n{manager}")
    (asked / "systemctl").chmod(0o755)
    program = process / "reboot"
    program.write_text(f"#!/bin/sh\necho reboot >> {reboots}\n")
    program.chmod(0o755)
    os.spawnle(
        os.P_WAIT,
        str(ROOT / "packaging/lockgate-trial-guard"),
        "lockgate-trial-guard",
        str(process),
        str(program),
        {"PATH": f"{asked}:{os.environ['PATH']}"},
    )


def test_a_trial_without_its_agent_is_ended_and_nothing_else_is(
    bench: Bench, tmp_path: Path
) -> None:
    process, reboots = bench.folder / "proc", tmp_path / "reboots"
    guard(process, reboots)
    assert not reboots.exists(), "no trial"
    bench.boot("b", boot_id="boot-2", tryboot=True)
    guard(process, reboots)
    assert reboots.read_text() == "reboot\n"


@pytest.mark.parametrize(
    ("state", "result", "ended", "rebooted"),
    [
        ("active", "success", "0", False),
        ("inactive", "success", "1234", False),  # it rests: there is nothing to judge
        ("inactive", "success", "0", True),  # it never began
        ("activating", "exit-code", "1234", True),  # it is about to begin once more
        ("failed", "exit-code", "1234", True),
        ("inactive", "oom-kill", "1234", True),
    ],
)
def test_an_agent_that_rests_after_its_verdict_is_not_taken_for_one_that_is_missing(
    bench: Bench, tmp_path: Path, state: str, result: str, ended: str, *, rebooted: bool
) -> None:
    process, reboots = bench.folder / "proc", tmp_path / "reboots"
    bench.boot("b", boot_id="boot-2", tryboot=True)
    manager = f"""
case "$*" in
*is-active*) [ {state} = active ] ;;
*ActiveState*) echo {state} ;;
*Result*) echo {result} ;;
*ExecMainExitTimestampMonotonic*) echo {ended} ;;
*) exit 1 ;;
esac
"""
    guard(process, reboots, manager)
    assert reboots.exists() is rebooted
