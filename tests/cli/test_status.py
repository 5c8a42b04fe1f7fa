import json
import subprocess
import sys
from pathlib import Path

from agent.journal import FILE
from tests.cli.bench import ROOT, Bench
from tests.cli.shapes import differences, examples


def test_a_new_device_says_what_runs(bench: Bench) -> None:
    answer = bench.call("--json", "status")
    assert answer.status == 0
    assert (answer.document["slot"], answer.document["default_slot"]) == ("a", "a")
    assert answer.document["service"] == "stopped"
    assert answer.document["problems"] == []
    assert not differences(examples()["status"], answer.document)


def test_status_changes_nothing(bench: Bench) -> None:
    before = sorted(bench.folder.rglob("*"))
    bench.call("status")
    bench.call("history")
    assert sorted(bench.folder.rglob("*")) == before


def test_a_missing_slot_is_a_problem_that_status_names(bench: Bench) -> None:
    (bench.folder / "root-b").unlink()
    answer = bench.call("--json", "status")
    assert answer.status == 0
    (problem,) = answer.document["problems"]
    assert problem.startswith("profile: ")
    assert "slots.b.parts.root" in problem


def test_a_damaged_journal_is_a_problem_that_status_names(bench: Bench) -> None:
    bench.state.mkdir()
    (bench.state / FILE).write_text("{}")
    answer = bench.call("--json", "status")
    assert "journal" in answer.document["problems"][0]
    assert bench.call("history").status == 21


def test_a_trial_is_called_one(bench: Bench) -> None:
    bench.boot("b", boot_id="boot-2", tryboot=True)
    assert "slot b on trial" in bench.call("status").out


def test_the_history_of_a_new_device_is_empty(bench: Bench) -> None:
    assert bench.call("history").out == "no update has ended here yet\n"
    assert bench.call("--json", "history").document == {"schema": 1, "updates": []}


def test_output_that_nobody_takes_is_an_error_and_no_traceback(bench: Bench) -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "agent", "--config", str(bench.settings), "status"],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert ended.returncode == 1
    assert ended.stderr.startswith("lockgate: error: the output cannot be written")
    assert len(ended.stderr.splitlines()) == 1


def test_json_may_be_asked_for_before_or_after_the_verb(bench: Bench) -> None:
    assert bench.call("status", "--json").document == bench.call("--json", "status").document


def test_json_is_one_object_on_the_standard_output(bench: Bench) -> None:
    process = bench.start("--json", "status")
    out, err = process.communicate(timeout=30)
    assert json.loads(out)["schema"] == 1
    assert out.count("\n") == 1
    assert not err
