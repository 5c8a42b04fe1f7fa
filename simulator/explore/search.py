"""Closure: recover from every state that a cut may leave, and from every state that a cut in there may.

Ends when no new durable state appears: then every chain of power cuts of any length has been tried. The
order is by the number of cuts, so a broken promise is found by as few of them as it needs.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from agent import journal as journals
from agent.update import State
from simulator import invariants
from simulator.explore.crash import Picture, Recipe, crash_states, leave
from simulator.explore.scenario import Stage
from simulator.explore.state import DurableState, Fingerprints, copies_of
from simulator.explore.visit import Visit, Visitor
from simulator.explore.watch import Violation, journal_of
from simulator.invariants import Ended

STATES_MAX: Final = 20_000
IN_TRIAL: Final = frozenset((State.SWITCHED, State.TRIAL))
"""Between the count of an attempt and its verdict: only here a cut costs an attempt."""
TELL_EVERY: Final = 20

Tell = Callable[["Progress"], None]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one search is."""

    configuration: str
    crash_states: int
    distinct: int
    visited: int


@dataclass(frozen=True, slots=True)
class Cut:
    """How a state came about first: from which one, at which of its operations, what survived."""

    parent: int
    operation: int
    told: str
    recipe: Recipe

    @property
    def survivors(self) -> str:
        """Which of the un-flushed writes survived, in words."""
        words = [f"{place + 1} {extent.name.lower()}" for place, extent in self.recipe]
        return ", ".join(words) or "none"


@dataclass(frozen=True, slots=True)
class Broken:
    """A violation, and the chain of cuts that leads there."""

    violation: Violation
    chain: tuple[Cut, ...]


@dataclass(slots=True)
class Result:
    """What one configuration showed."""

    board: str
    scenario: str
    operations: int = 0
    crash_states: int = 0
    distinct: int = 0
    visited: int = 0
    deepest: int = 0
    boots_max: int = 0
    replaced_max: int = 0
    closed: bool = False
    duration_s: float = 0.0
    lost_trials: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    broken: list[Broken] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether everything was seen and nothing was broken."""
        return self.closed and not self.broken


@dataclass(slots=True)
class Node:
    """One durable state to recover from, and what its recovery showed."""

    name: int
    cut: Cut | None
    depth: int
    trial_cuts: int
    ended: tuple[Ended, ...] = ()
    following: dict[int, int] = field(default_factory=dict)


class Search:
    """The closure of one stage."""

    def __init__(self, stage: Stage, tell: Tell = lambda _progress: None) -> None:
        self._stage = stage
        self._tell = tell
        self._prints = Fingerprints(copies_of(stage.profile))
        self._visitor = Visitor(stage)
        self._nodes: dict[int, Node] = {}
        self._waiting: deque[tuple[Node, DurableState]] = deque()
        self.result = Result(stage.profile.name, stage.scenario.value)

    def run(self, *, states_max: int = STATES_MAX, stop_when_broken: bool = False) -> Result:
        """Until nothing new appears, or too much has."""
        began_s = time.monotonic()
        first = self._stage.first
        self._add(Node(self._prints.state(first), None, 0, 0), first)
        while self._waiting and len(self._nodes) <= states_max:
            node, state = self._waiting.popleft()
            self._visit(node, state)
            if self.result.broken and stop_when_broken:
                break
            if self.result.visited % TELL_EVERY == 0:
                self._report()
        self.result.closed = not self._waiting and len(self._nodes) <= states_max
        if self.result.closed:
            self._judge_trials()
        self.result.duration_s = time.monotonic() - began_s
        self._report()
        return self.result

    def _add(self, node: Node, state: DurableState) -> None:
        self._nodes[node.name] = node
        self._waiting.append((node, state))

    def _visit(self, node: Node, state: DurableState) -> None:
        visit = self._visitor.visit(state, node.name if node.cut else 0)
        node.ended = visit.ended
        result = self.result
        result.visited += 1
        result.operations += len(visit.operations)
        result.deepest = max(result.deepest, node.depth)
        result.boots_max = max(result.boots_max, visit.boots)
        result.replaced_max = max(result.replaced_max, visit.replaced)
        result.broken.extend(Broken(one, self.chain(node)) for one in visit.violations)
        for one in visit.ended:
            told = one.outcome if one.code == "ok" else f"{one.outcome} ({one.code})"
            result.outcomes[told] = result.outcomes.get(told, 0) + 1
        self._judge_ending(node, node.trial_cuts)
        self._cut_everywhere(node, visit)
        result.distinct = len(self._nodes)

    def _cut_everywhere(self, node: Node, visit: Visit) -> None:
        """What a cut may leave at each operation: while it is under way, it has happened or not."""
        before: dict[int, Recipe] = {}
        for number, picture in enumerate(visit.pictures):
            after = crash_states(picture, self._prints)
            operation = visit.operations[number - 1] if number else None
            told = (
                "before anything" if operation is None else f"{operation.name} {operation.detail}"
            )
            weight = int(_in_trial(picture))
            for name, recipe in after.items():
                known = node.following.get(name)
                if known is None or weight < known:
                    node.following[name] = weight
                if name not in self._nodes:
                    cut = Cut(node.name, number, told, recipe)
                    child = Node(name, cut, node.depth + 1, node.trial_cuts + weight)
                    self._add(child, leave(picture, recipe))
            if operation is not None:
                self.result.crash_states += len(before.keys() | after.keys())
            before = after

    def chain(self, node: Node) -> tuple[Cut, ...]:
        """The cuts from the first state to this one."""
        cuts: list[Cut] = []
        at: Node | None = node
        while at is not None and at.cut is not None:
            cuts.append(at.cut)
            at = self._nodes.get(at.cut.parent)
        return tuple(reversed(cuts))

    def _judge_trials(self) -> None:
        """How few cuts inside trials lead to each state, over all ways there; then each ending."""
        fewest = self._fewest_trial_cuts()
        for node in self._nodes.values():
            if fewest[node.name] < node.trial_cuts:
                self._judge_ending(node, fewest[node.name])
            if any(one.outcome != self._stage.expected for one in node.ended):
                self.result.lost_trials += 1

    def _judge_ending(self, node: Node, trial_cuts: int) -> None:
        """Whether an update may end so after at most this many cuts inside its trials."""
        finding = invariants.ends_as_it_must(
            self._stage.expected,
            node.ended,
            trial_cuts=trial_cuts,
            attempts_max=self._stage.profile.confirm.attempts_max,
        )
        if finding is not None:
            violation = Violation(invariants.ends_as_it_must.__name__, finding)
            self.result.broken.append(Broken(violation, self.chain(node)))

    def _fewest_trial_cuts(self) -> dict[int, int]:
        root = next(iter(self._nodes))
        fewest = {root: 0}
        waiting = deque([root])
        while waiting:
            name = waiting.popleft()
            for following, weight in self._nodes[name].following.items():
                cuts = fewest[name] + weight
                if following not in fewest or cuts < fewest[following]:
                    fewest[following] = cuts
                    if weight:
                        waiting.append(following)
                    else:
                        waiting.appendleft(following)
        return fewest

    def _report(self) -> None:
        result = self.result
        self._tell(
            Progress(
                f"{result.board} {result.scenario}",
                result.crash_states,
                result.distinct,
                result.visited,
            )
        )


def _in_trial(picture: Picture) -> bool:
    journal = journal_of(picture.files.get(journals.FILE))
    update = None if journal is None else journal.update
    return update is not None and update.state in IN_TRIAL
