import json

import pytest

from simulator.cli import main
from simulator.storm.draw import draw_plan


def test_one_seed_prints_its_trace_and_what_it_showed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["storm", "--seed", "4", "--board", "rpi4-tryboot"]) == 0
    shown = capsys.readouterr().out
    assert "~ calm" in shown
    assert '"violations": []' in shown


def test_a_range_of_seeds_adds_up(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["storm", "--seeds", "10-14", "--processes", "1", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["seeds"] == 5
    assert figures["failed"] == []


@pytest.mark.parametrize("seeds", ["", "7", "9-1", "a-b", "0-99999999999"])
def test_a_range_that_is_none_is_refused(seeds: str) -> None:
    assert main(["storm", "--seeds", seeds]) == 78


def test_a_plan_is_the_same_every_time_and_another_for_another_seed() -> None:
    assert draw_plan(7, "rpi4-tryboot") == draw_plan(7, "rpi4-tryboot")
    assert draw_plan(7, "rpi4-tryboot") != draw_plan(8, "rpi4-tryboot")
