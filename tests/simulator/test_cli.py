import json
from pathlib import Path

import pytest

from simulator.cli import main
from simulator.image import Behaviour, make_small_image
from simulator.profiles import profile_names


@pytest.mark.parametrize("board", profile_names())
@pytest.mark.parametrize("behaviour", Behaviour)
def test_an_update_ends_as_the_behaviour_calls_for(
    board: str, behaviour: Behaviour, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--board", board, "--seed", "3", "--behaviour", behaviour]) == 0
    output = capsys.readouterr().out
    outcome = "confirmed" if behaviour is Behaviour.HEALTHY else "reverted"
    assert f"outcome              {outcome}" in output
    assert "as_expected          True" in output


def test_the_same_seed_prints_the_same_bytes(capsys: pytest.CaptureFixture[str]) -> None:
    outputs = []
    for seed in ("42", "42", "43"):
        arguments = ["run", "--seed", seed, "--cut-at", "25", "--moment", "torn"]
        assert main(arguments) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1] != outputs[2]


def test_the_power_can_be_cut_by_number_and_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--cut-at", "20"], ["--cut-at-name", "BlockDevice.flush:2"]):
        assert main(["run", "--json", *arguments]) == 0
        document = json.loads(capsys.readouterr().out)
        assert document["summary"]["power_cuts"] == 1
        assert document["summary"]["outcome"] == "confirmed"
        assert "! power cut" in [event["event"] for event in document["events"]]


@pytest.mark.parametrize(
    "text", ["BlockDevice.flush", "BlockDevice.flush:0", "BlockDevice.flush:y", "x:1"]
)
def test_a_cut_that_is_not_named_well_is_refused(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--cut-at-name", text]) == 78
    assert "NAME:K" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [("--cut-at", "99999"), ("--cut-at", "0"), ("--cut-at-name", "Files.replace:999")]
)
def test_a_cut_that_never_comes_is_not_taken_for_one_that_was_survived(
    words: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", *words]) == 78
    assert words[1] in capsys.readouterr().err


def test_a_page_that_could_not_be_written_is_refused_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "nowhere" / "cuts.html"
    assert main(["explore", "--scenario", "healthy", "--html", str(page)]) == 78
    assert str(page) in capsys.readouterr().err


def test_a_board_may_be_a_file_and_an_unknown_one_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = tmp_path / "my.toml"
    source = Path(__file__).parents[2] / "board-profiles" / "uboot-bootcount.toml"
    profile.write_bytes(source.read_bytes())
    assert main(["run", "--board", str(profile)]) == 0
    profile.write_text("schema = 1\n")
    assert main(["run", "--board", str(profile)]) == 79
    assert main(["run", "--board", "nosuch"]) == 78
    assert "rpi4-tryboot" in capsys.readouterr().err


def test_images_are_stamped_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = tmp_path / "in.img", tmp_path / "out.img"
    source.write_bytes(make_small_image(1, 32))
    assert main(["image", "stamp", "--behaviour", "hangs", str(source), str(target)]) == 0
    assert main(["image", "show", str(target)]) == 0
    assert "starts, whole, hangs" in capsys.readouterr().out
    target.write_bytes(target.read_bytes()[:-1] + b"\x99")
    assert main(["image", "show", str(target)]) == 1
    assert "not whole" in capsys.readouterr().out
    assert main(["image", "show", str(tmp_path / "none")]) == 1


def test_a_fleet_without_enrolled_devices_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fleet", "--devices", str(tmp_path)]) == 78
    assert "--enrol" in capsys.readouterr().err
    assert main(["fleet", "--devices", str(tmp_path), "--count", "0", "--broker", "x"]) == 78
    assert main(["fleet", "--devices", str(tmp_path), "--count", "0", "--image", "root"]) == 78
