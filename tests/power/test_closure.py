"""Closure on small images, and the explorer's own promises: same results each time, and a page that holds."""

import json
import re
from pathlib import Path

import pytest

from simulator.explore.page import write_page
from simulator.explore.result import Result
from simulator.explore.scenario import Scale, Scenario, make_stage
from simulator.explore.search import Search
from simulator.explore.start import Start
from simulator.explore.sweep import Configuration, configurations, different_boards, sweep
from simulator.explore.visit import Visitor
from simulator.profiles import load_profile

TINY = Scale(sectors=4, window_bytes=1024, flush_bytes=2600)
WITHOUT_CHIPS = [name for name in different_boards() if not load_profile(name).microcontrollers]


def closure(board: str, scenario: Scenario) -> Result:
    return Search(make_stage(load_profile(board), scenario, scale=TINY)).run()


@pytest.mark.parametrize("board", WITHOUT_CHIPS)
def test_power_may_fail_at_any_operation_and_in_any_recovery(board: str) -> None:
    result = closure(board, Scenario.HEALTHY)
    assert result.closed
    assert result.broken == []
    assert result.deepest >= 3
    assert result.crash_states > result.operations


def test_a_healthy_image_goes_back_only_after_as_many_cuts_as_attempts() -> None:
    result = closure("rpi4-tryboot", Scenario.HEALTHY)
    assert 0 < result.lost_trials < result.distinct
    assert set(result.outcomes) == {"confirmed", "reverted (trial-lost)"}


def test_an_unhealthy_image_is_never_confirmed() -> None:
    result = closure("rpi4-tryboot", Scenario.FAILS_CHECKS)
    assert result.good
    assert not any(told.startswith("confirmed") for told in result.outcomes)


def test_the_results_do_not_depend_on_the_number_of_processes() -> None:
    chosen = [
        Configuration("rpi4-tryboot", scenario, TINY)
        for scenario in (Scenario.NEVER_BOOTS, Scenario.HANGS)
    ]

    def rows(processes: int) -> set[tuple[object, ...]]:
        found = sweep(chosen, processes, lambda _progress: None)
        return {(one.scenario, one.operations, one.crash_states, one.distinct) for one in found}

    assert rows(1) == rows(2)


def test_a_visit_is_the_same_each_time() -> None:
    stage = make_stage(load_profile("uboot-bootcount"), Scenario.HEALTHY, scale=TINY)
    one, two = (Visitor(stage).visit(Start(stage.first), 0, traced=True) for _ in range(2))
    assert one.trace.text() == two.trace.text()
    assert one.pictures == two.pictures


def test_the_page_holds_all_it_shows(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    write_page(page, [Configuration("uboot-bootcount", Scenario.HEALTHY, TINY)])
    text = page.read_text()
    assert not re.findall(r"(?:src|href)=|https?://|@import|url\(", text)
    found = re.search(r"const data = (.*);$", text, re.MULTILINE)
    assert found
    (run,) = json.loads(found[1])["runs"]
    assert len(run["pictures"]) == len(run["operations"]) + 1
    for picture in run["pictures"]:
        for places in picture["states"].values():
            assert len(places) == len(picture["fates"])
            assert max(places) < len(run["recoveries"])
    assert all("BROKEN" not in one["ends"] for one in run["recoveries"])


def test_every_profile_that_differs_is_explored_in_what_can_happen_to_it() -> None:
    chosen = configurations(different_boards())
    boards = {one.board for one in chosen}
    assert {"rpi4-tryboot", "uboot-bootcount", "gateway-stm32", "gateway-mcuboot"} <= boards
    refused = [one for one in chosen if one.scenario is Scenario.PAIR_REFUSED]
    assert all(load_profile(one.board).microcontrollers for one in refused)
    assert configurations(["rpi4-tryboot"], [Scenario.PAIR_REFUSED]) == []


def test_a_run_through_all_reboots_is_its_boots_one_after_another() -> None:
    stage = make_stage(load_profile("uboot-bootcount"), Scenario.FAILS_CHECKS, scale=TINY)
    visitor = Visitor(stage)
    whole = visitor.visit(Start(stage.first), 0, whole=True)
    operations: list[str] = []
    start: Start | None = Start(stage.first)
    for boot in range(len(whole.boots) + 1):
        assert start is not None
        visit = visitor.visit(start, boot)
        operations += [f"{one.name} {one.detail}" for one in visit.operations]
        start = visit.following
    assert start is None
    assert operations == [f"{one.name} {one.detail}" for one in whole.operations]
