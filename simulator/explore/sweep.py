"""All configurations, each in one process of several; the results do not depend on how many there are."""

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from queue import Empty
from typing import TYPE_CHECKING, Final

from simulator.explore.scenario import SCALE, Scale, Scenario, make_stage
from simulator.explore.search import Progress, Result, Search
from simulator.profiles import load_profile, profile_names

if TYPE_CHECKING:
    from multiprocessing.managers import SyncManager
    from multiprocessing.queues import Queue

POLL_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Configuration:
    """One board profile, by name or file, in one scenario."""

    board: str
    scenario: Scenario
    scale: Scale = SCALE


def configurations(boards: Iterable[str], scenarios: Iterable[Scenario]) -> list[Configuration]:
    """Every board in every scenario."""
    chosen = list(scenarios)
    return [Configuration(board, scenario) for board in boards for scenario in chosen]


def different_boards() -> list[str]:
    """The installed profiles that differ in bootloader, slots or trial: the others explore the same.

    What is attached to a board is not part of an explored update.
    """
    chosen: list[str] = []
    seen: list[tuple[object, ...]] = []
    for name in sorted(
        profile_names(), key=lambda one: (len(load_profile(one).microcontrollers), one)
    ):
        profile = load_profile(name)
        kind = (profile.boot, profile.slots, profile.confirm)
        if kind not in seen:
            seen.append(kind)
            chosen.append(name)
    return chosen


def explore(
    configuration: Configuration, tell: Callable[[Progress], None] = lambda _progress: None
) -> Result:
    """The closure of one configuration. Raises `ConfigError`, `ProfileError`."""
    stage = make_stage(
        load_profile(configuration.board), configuration.scenario, scale=configuration.scale
    )
    return Search(stage, tell).run()


def sweep(
    chosen: list[Configuration], processes: int, tell: Callable[[Progress], None]
) -> Iterator[Result]:
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
            pool.submit(explore, configuration, told.put) for configuration in chosen
        }
        while running:
            done, running = wait(running, timeout=POLL_S, return_when=FIRST_COMPLETED)
            _drain(told, tell)
            for future in done:
                yield future.result()


def _drain(told: "Queue[Progress]", tell: Callable[[Progress], None]) -> None:
    for _ in range(told.qsize()):
        try:
            tell(told.get_nowait())
        except Empty:
            return
