"""One seed from its first moment to its rest, and what it showed."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from agent.errors import UpdateError
from agent.pieces import PIECES, Pieces
from simulator.board import BrokenImageError
from simulator.storm.acts import plan_acts
from simulator.storm.bench import Bench, get_profile, make_bench
from simulator.storm.draw import draw_plan
from simulator.storm.draw_chips import draw_chips
from simulator.storm.judge import calm, judge, settle, ship_last
from simulator.storm.plan import DevicePlan, Plan
from simulator.storm.watch import Watch
from simulator.world import DarkBoardError

MISTAKES: Final = (
    *(AssertionError, UpdateError, ArithmeticError, AttributeError, LookupError),
    *(OSError, RuntimeError, TypeError, ValueError),
)
"""What an agent with a mistake in it may end with; any of these fails a seed."""


@dataclass(frozen=True, slots=True)
class Storm:
    """What one seed showed; `trace` is the same text in every run of it."""

    seed: int
    board: str
    violations: tuple[str, ...]
    trace: str
    devices: int
    boots: int
    cuts: int
    faults: int
    operations: int
    simulated_s: float
    endings: Mapping[str, int]

    @property
    def digest(self) -> str:
        """The SHA-256 of the trace."""
        return hashlib.sha256(self.trace.encode()).hexdigest()

    @property
    def replay(self) -> str:
        """The command that shows this seed again."""
        return f"lockgate-sim storm --seed {self.seed} --board {self.board}"


@dataclass(frozen=True, slots=True)
class _Lived:
    """What became of one device."""

    bench: Bench
    violations: tuple[str, ...]

    @property
    def trace(self) -> str:
        """What happened to this device, under its name."""
        return f"{self.bench.device_plan.name}\n{self.bench.device.trace.text()}"


def run_storm(seed: int, board: str, pieces: Pieces = PIECES) -> Storm:
    """Live through one seed on one kind of board."""
    plan = draw_chips(draw_plan(seed, board), get_profile(board))
    lived = [_live(plan, device, pieces) for device in plan.devices]
    endings = Counter(
        f"{report.outcome} {report.code}"
        for one in lived
        for report in one.bench.operator.reports.values()
    )
    return Storm(
        seed=seed,
        board=board,
        violations=tuple(
            f"{one.bench.device_plan.name}: {violation}"
            for one in lived
            for violation in one.violations
        ),
        trace="\n".join(one.trace for one in lived),
        devices=len(lived),
        boots=sum(one.bench.device.board.boots for one in lived),
        cuts=sum(one.bench.device.board.power.cuts for one in lived),
        faults=sum(len(one.bench.faults.happened) for one in lived),
        operations=sum(one.bench.device.board.power.number for one in lived),
        simulated_s=sum(one.bench.clock.now_s for one in lived),
        endings=dict(sorted(endings.items())),
    )


def _live(plan: Plan, device_plan: DevicePlan, pieces: Pieces) -> _Lived:
    bench = make_bench(plan, device_plan, pieces)
    watch = Watch(bench)
    watch.attach()
    plan_acts(bench)
    found: list[str] = []
    try:
        found = _weather(bench, watch)
    except MISTAKES as error:
        if not _lied(bench, error):
            found = [f"{type(error).__name__}: {error}"]
    return _Lived(bench, (*watch.violations, *found))


def _weather(bench: Bench, watch: Watch) -> list[str]:
    """Safety while the faults go on, then liveness."""
    if bench.device_plan.lies:
        for device in bench.device.board.storage.slot("b").values():
            device.faults.lying_flush = True
    bench.device.run(bench.plan.storm_s)
    bench.device.trace.note("~ calm", "the faults have stopped")
    calm(bench, watch)
    complaints = settle(bench, watch)
    complaints += ship_last(bench, watch)
    watch.check_rest()
    return complaints + judge(bench, watch)


def _lied(bench: Bench, error: BaseException) -> bool:
    """Whether a lying medium ended the run in the way that is foretold: the old slot is whole.

    A trial may have been confirmed on what the medium said it kept, also by a confirmation that a cut
    parted from its record; then nothing but hands can bring the old slot back.
    """
    if not bench.device_plan.lies or not isinstance(error, (BrokenImageError, DarkBoardError)):
        return False
    return bench.number_in("a") == 1
