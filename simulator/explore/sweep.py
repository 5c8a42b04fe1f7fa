"""All configurations, each in one process of several; the results do not depend on how many there are."""

import multiprocessing
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
from queue import Empty
from typing import TYPE_CHECKING, Final

from simulator.explore.chips import is_played
from simulator.explore.result import Progress, Result, Tell, unheard
from simulator.explore.scenario import (
    GATEWAY_SCALE,
    GATEWAY_SCENARIOS,
    ONLY_WITH_CHIPS,
    SCALE,
    SYSTEM_SCENARIOS,
    Scale,
    Scenario,
    make_stage,
)
from simulator.explore.search import Search
from simulator.profiles import load_profile, profile_names

if TYPE_CHECKING:
    from multiprocessing.managers import SyncManager
    from multiprocessing.queues import Queue

POLL_S: Final = 0.2
LONGEST_FIRST: Final = (
    Scenario.FAILS_CHECKS,
    Scenario.HEALTHY,
    Scenario.CHIP_UNPLUGGED,
    Scenario.CACHE_LOST,
    Scenario.NETWORK_DIES,
    Scenario.NEVER_BOOTS,
    Scenario.HANGS,
    Scenario.PAIR_REFUSED,
)


@dataclass(frozen=True, slots=True)
class Configuration:
    """One board profile, by name or file, in one scenario; `audit` of its merged states are run again."""

    board: str
    scenario: Scenario
    scale: Scale = SCALE
    audit: int = 0


def configurations(
    boards: Iterable[str],
    scenarios: Collection[Scenario] = (),
    *,
    audit: int = 0,
    every_word: bool = False,
) -> list[Configuration]:
    """Every board in each of these scenarios that fits it, or in all that do. Raises `ProfileError`."""
    chosen = []
    for board in boards:
        chips = bool(load_profile(board).microcontrollers)
        scale = replace(GATEWAY_SCALE, every_word=every_word) if chips else SCALE
        fitting = GATEWAY_SCENARIOS if chips else SYSTEM_SCENARIOS
        chosen += [
            Configuration(board, scenario, scale, audit)
            for scenario in (scenarios or fitting)
            if chips or scenario not in ONLY_WITH_CHIPS
        ]
    return chosen


def different_boards() -> list[str]:
    """The installed profiles that differ in bootloader, slots, trial or chips; others explore the same.

    A board with a chip of which there is no model here is not among them.
    """
    chosen: list[str] = []
    seen: list[tuple[object, ...]] = []
    for name in sorted(
        profile_names(), key=lambda one: (len(load_profile(one).microcontrollers), one)
    ):
        profile = load_profile(name)
        chips = [(chip.settings.protocol, chip.settings.entry) for chip in profile.microcontrollers]
        kind = (profile.boot, profile.slots, profile.confirm, chips)
        if kind not in seen and all(is_played(protocol) for protocol, _ in chips):
            seen.append(kind)
            chosen.append(name)
    return chosen


def explore(configuration: Configuration, tell: Tell = unheard) -> Result:
    """The closure of one configuration. Raises `ConfigError`, `ProfileError`."""
    stage = make_stage(
        load_profile(configuration.board), configuration.scenario, scale=configuration.scale
    )
    return Search(stage, tell, configuration.audit).run()


def sweep(chosen: list[Configuration], processes: int, tell: Tell) -> Iterator[Result]:
    """The result of each configuration as it is done. Raises what `explore` raises."""
    if processes <= 1 or len(chosen) == 1:
        for configuration in chosen:
            yield explore(configuration, tell)
        return
    context = multiprocessing.get_context("spawn")
    manager: SyncManager = context.Manager()
    with manager, ProcessPoolExecutor(processes, mp_context=context) as pool:
        told: Queue[Progress] = manager.Queue()  # type: ignore[assignment]  # a proxy of the same methods
        running: set[Future[Result]] = {
            pool.submit(explore, configuration, told.put)
            for configuration in sorted(chosen, key=_length)
        }
        while running:
            done, running = wait(running, timeout=POLL_S, return_when=FIRST_COMPLETED)
            _drain(told, tell)
            for future in done:
                yield future.result()


def _length(configuration: Configuration) -> int:
    """The long ones first, so that no process is left alone with one at the end."""
    return LONGEST_FIRST.index(configuration.scenario)


def _drain(told: "Queue[Progress]", tell: Tell) -> None:
    for _ in range(told.qsize()):
        try:
            tell(told.get_nowait())
        except Empty:
            return
