"""What is judged besides single operations: durable states, and whole ways from waking to rest."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agent.board import Microcontroller
from agent.report import Outcome
from simulator import invariants
from simulator.explore.chips import can_be_flashed
from simulator.explore.scenario import NUMBER, Stage
from simulator.explore.state import ChipState, DurableState
from simulator.explore.visit import Visit
from simulator.explore.watch import Violation
from simulator.invariants import Ended, Finding


@dataclass(frozen=True, slots=True)
class Leg:
    """One boot, as far as the way that it is part of is judged by it.

    `following` is the name of the next boot; `rest` names its operations and all that cuts may leave.
    """

    rested: bool
    following: int | None
    trials: int
    replaced: int
    fetched_bytes: int
    missing_bytes: int
    ended: tuple[Ended, ...]
    heard: tuple[Ended, ...]
    running: str | None
    chips: tuple[tuple[str, str | None], ...]
    rest: int


def make_leg(stage: Stage, visit: Visit, following: int | None, rest: int) -> Leg:
    """What is kept of a visit."""
    chips = visit.pictures[-1].durable.chips
    return Leg(
        rested=visit.rested,
        following=following,
        trials=visit.trials,
        replaced=visit.replaced,
        fetched_bytes=visit.fetched_bytes,
        missing_bytes=visit.missing_bytes,
        ended=visit.ended,
        heard=visit.heard,
        running=visit.running,
        chips=tuple(
            (chip.name, stage.chip_runs(chip, chips[chip.name]))
            for chip in stage.profile.microcontrollers
        ),
        rest=rest,
    )


def judge_way(stage: Stage, legs: Sequence[Leg]) -> list[Violation]:
    """All boots from waking to rest, which is where the last of them ended."""
    attempts_max = stage.profile.confirm.attempts_max
    chips = len(stage.profile.microcontrollers)
    broken = _Broken([])
    broken.judge(invariants.comes_to_rest, len(legs), attempts_max)
    trials = sum(leg.trials for leg in legs)
    broken.judge(invariants.trials_are_bounded, None, trials, attempts_max)
    replaced = sum(leg.replaced for leg in legs)
    broken.judge(invariants.state_writes_are_bounded, replaced, attempts_max, chips)
    last = legs[-1]
    if not last.rested:
        return broken.violations
    heard = [one for leg in legs for one in leg.heard]
    broken.judge(invariants.one_result_is_stored, last.ended, heard, 1)
    broken.judge(invariants.reported_is_what_runs, last.ended, last.running, str(NUMBER))
    fetched = sum(leg.fetched_bytes for leg in legs)
    broken.judge(invariants.only_the_missing_is_fetched, fetched, legs[0].missing_bytes)
    confirmed = any(one.outcome == Outcome.CONFIRMED for one in last.ended)
    for name, release in last.chips:
        expected = str(NUMBER) if confirmed else "0"
        broken.judge(invariants.chip_belongs_to_what_runs, name, expected, release)
    return broken.violations


def judge_ending(
    stage: Stage, ended: Sequence[Ended], *, trial_cuts: int, chip_cuts: int
) -> list[Violation]:
    """Whether an update may end so after at least so many cuts in its trials, and of chips alone."""
    finding = invariants.ends_as_it_must(
        stage.expected,
        ended,
        trial_cuts=trial_cuts,
        chip_cuts=chip_cuts,
        attempts_max=stage.profile.confirm.attempts_max,
    )
    name = invariants.ends_as_it_must.__name__
    return [] if finding is None else [Violation(name, finding)]


def judge_state(stage: Stage, state: DurableState) -> list[Violation]:
    """One durable state, as it lies there."""
    broken = _Broken([])
    for chip in stage.profile.microcontrollers:
        _judge_chip(stage, chip, state.chips[chip.name], broken)
    return broken.violations


def _judge_chip(stage: Stage, chip: Microcontroller, state: ChipState, broken: "_Broken") -> None:
    finding = invariants.chip_runs_or_can_be_flashed(
        chip.name,
        stage.chip_runs(chip, state),
        starts=stage.chip_starts(chip, state),
        can_be_flashed=can_be_flashed(chip.settings),
    )
    broken.add(invariants.chip_runs_or_can_be_flashed.__name__, finding)


@dataclass(frozen=True, slots=True)
class _Broken:
    violations: list[Violation]

    def judge(self, invariant: Callable[..., Finding], *given: object) -> None:
        self.add(invariant.__name__, invariant(*given))

    def add(self, name: str, finding: Finding) -> None:
        if finding is not None:
            self.violations.append(Violation(name, finding))
