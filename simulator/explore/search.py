"""Closure: recover from every state that a cut may leave, and from every state that a cut in there may.

Ends when no new durable state appears: then every chain of power cuts of any length has been tried. The
order is by the number of cuts, so a broken promise is found by as few of them as it needs.
"""

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from agent import journal as journals
from agent.update import State
from simulator.explore.audit import Audit, Rest
from simulator.explore.crash import Leaving, Picture, crash_states, leave
from simulator.explore.judge import Leg, judge_ending, judge_state, judge_way, make_leg
from simulator.explore.result import Broken, Cut, Progress, Result, Tell, unheard
from simulator.explore.scenario import Stage
from simulator.explore.start import ChipCut, Start, cut_name, name_of, outage_name
from simulator.explore.state import Fingerprints, copies_of, fingerprint
from simulator.explore.visit import BOOTS_MAX, Visit, Visitor
from simulator.explore.watch import Violation, journal_of
from simulator.power import Moment, Operation

STATES_MAX: Final = 60_000
IN_TRIAL: Final = frozenset((State.SWITCHED, State.TRIAL))
"""Between the count of an attempt and its verdict: only here a cut costs an attempt."""
TELL_EVERY: Final = 20
TRIAL: Final = 1
CHIP: Final = 2
"""What a step from one boot to another may be: a cut in a trial, a cut of a chip alone."""

WRITE: Final = "SerialLine.write"


@dataclass(slots=True)
class Node:
    """One boot, by what it begins from, and what it showed. `steps` lead to others, with what they are."""

    name: int
    parent: int | None
    cut: Cut | None
    depth: int = 0
    trial_cuts: int = 0
    chip_cuts: int = 0
    leg: Leg | None = None
    steps: dict[int, int] = field(default_factory=dict)

    def step_to(self, name: int, kind: int) -> None:
        """Remember a step; of several ways to the same boot the one with the fewest cuts counts."""
        known = self.steps.get(name)
        self.steps[name] = kind if known is None else known & kind


class Search:
    """The closure of one stage; `audit` of its merged states are run again. `prints` names states."""

    def __init__(
        self,
        stage: Stage,
        tell: Tell = unheard,
        audit: int = 0,
        prints: Fingerprints | None = None,
    ) -> None:
        self._stage = stage
        self._tell = tell
        self._prints = prints or Fingerprints(copies_of(stage.profile))
        self._visitor = Visitor(stage)
        self._nodes: dict[int, Node] = {}
        self._waiting: deque[tuple[Node, Start]] = deque()
        self._audit = Audit(audit, stage.scale.seed)
        self._outage = outage_name(stage.outage_s)
        self._cuts: dict[int, int] = {}
        self.result = Result(stage.profile.name, stage.scenario.value)

    def run(self, *, states_max: int = STATES_MAX, stop_when_broken: bool = False) -> Result:
        """Until nothing new appears, or too much has."""
        began_s = time.monotonic()
        first = Start(self._stage.first)
        self._add(Node(name_of(first, self._prints), None, None), first)
        turns = 0
        while self._waiting and self.result.distinct <= states_max:
            self._explore(*self._waiting.popleft())
            if self.result.broken and stop_when_broken:
                break
            turns += 1
            if turns % TELL_EVERY == 0:
                self._report()
        self.result.closed = not self._waiting and self.result.distinct <= states_max
        if self.result.closed:
            self._judge_endings()
            self._run_again()
        self.result.duration_s = time.monotonic() - began_s
        self._report(finished=True)
        return self.result

    def _add(self, node: Node, start: Start) -> None:
        self._nodes[node.name] = node
        self._waiting.append((node, start))
        self._audit.explored(node.name, start)
        if start.chip_cut is not None:
            self.result.chip_cuts += 1
            return
        self.result.distinct += 1
        self.result.deepest = max(self.result.deepest, node.depth)
        self._blame(node, judge_state(self._stage, start.state))

    def _explore(self, node: Node, start: Start) -> None:
        """Boot after boot, until one rests or has been run before; then the whole way is judged."""
        following: tuple[Node, Start] | None = (node, start)
        for _ in range(BOOTS_MAX):
            if following is None:
                break
            following = self._boot(*following)
        legs = self._way(node)
        result = self.result
        result.boots_max = max(result.boots_max, len(legs))
        result.replaced_max = max(result.replaced_max, sum(leg.replaced for leg in legs))
        self._blame(node, judge_way(self._stage, legs))

    def _boot(self, node: Node, start: Start) -> tuple[Node, Start] | None:
        """Run one boot; the next one if it has to be run too."""
        visit = self._visitor.visit(start, node.name if node.parent is not None else 0)
        self.result.boots += 1
        self._blame(node, visit.violations)
        rest = self._cut_everywhere(node, start, visit)
        following = visit.following
        name = None if following is None else name_of(following, self._prints)
        node.leg = make_leg(self._stage, visit, name, rest)
        if visit.rested:
            self._ended(node, visit)
        if following is None or name is None:
            return None
        node.step_to(name, 0)
        if name in self._nodes:
            self._audit.offer(name, partial(replace, following))
            return None
        cuts = node.trial_cuts, node.chip_cuts
        after = Node(name, node.name, None, node.depth, *cuts)
        self._nodes[name] = after
        self._audit.explored(name, following)
        return after, following

    def _way(self, node: Node) -> list[Leg]:
        """The boots from this one to rest, no more of them than there may be."""
        legs: list[Leg] = []
        at: Node | None = node
        while at is not None and at.leg is not None and len(legs) < BOOTS_MAX:
            legs.append(at.leg)
            at = None if at.leg.following is None else self._nodes[at.leg.following]
        return legs

    def _ended(self, node: Node, visit: Visit) -> None:
        for one in visit.ended:
            told = one.outcome if one.code == "ok" else f"{one.outcome} ({one.code})"
            self.result.outcomes[told] = self.result.outcomes.get(told, 0) + 1
        cuts = {"trial_cuts": node.trial_cuts, "chip_cuts": node.chip_cuts}
        self._blame(node, judge_ending(self._stage, visit.ended, **cuts))

    def _cut_everywhere(self, node: Node, start: Start, visit: Visit) -> int:
        """What a cut may leave at each operation: while it is under way, it has happened or not."""
        seen = 0 if start.chip_cut is None else start.chip_cut.operation - 1
        before: dict[int, Leaving] = {}
        last: Picture | None = None
        told = "before anything"
        rest = Rest(visit.operations)
        for number in range(seen, len(visit.pictures)):
            picture = visit.pictures[number]
            after = before
            if picture is not last:
                after = crash_states(picture, self._prints)
                self._leave_all(node, number, told, picture, after)
            if number > seen:
                self.result.operations += 1
                same = after is before
                self.result.crash_states += len(before if same else before.keys() | after.keys())
            if number < len(visit.operations):
                told = _told(visit.operations[number])
            rest.add(after)
            before, last = after, picture
        names = rest.names()
        if start.chip_cut is None:
            self._cut_chips(node, start, visit, names)
        return names[0]

    def _leave_all(
        self, node: Node, number: int, told: str, picture: Picture, left: dict[int, Leaving]
    ) -> None:
        kind = TRIAL if _in_trial(picture) else 0
        for state, leaving in left.items():
            name = state ^ self._outage
            if name in self._nodes:
                if name not in node.steps:
                    self._audit.offer(name, partial(self._woken, picture, leaving))
            else:
                cut = Cut(node.name, number, told, leaving.told)
                child = Node(
                    name,
                    node.name,
                    cut,
                    node.depth + 1,
                    node.trial_cuts + (kind & TRIAL),
                    node.chip_cuts,
                )
                self._add(child, self._woken(picture, leaving))
            node.step_to(name, kind)

    def _woken(self, picture: Picture, leaving: Leaving) -> Start:
        return self._stage.woken(leave(picture, leaving))

    def _cut_chips(self, node: Node, start: Start, visit: Visit, rest: list[int]) -> None:
        """The power of a chip alone, at each operation of it from when its host first speaks to it.

        Where the rest of a boot is that of another one, operation for operation and state for state, it
        was cut there already.
        """
        for cut in chip_cuts(self._stage, visit):
            woken = replace(start, chip_cut=cut)
            known = fingerprint("chip cut", cut.chip, cut.moment, b"%d" % rest[cut.operation - 1])
            name = self._cuts.setdefault(known, cut_name(node.name, cut))
            if name in self._nodes:
                if name not in node.steps:
                    self._audit.offer(name, partial(replace, woken))
            else:
                operation = _told(visit.operations[cut.operation - 1])
                told = Cut(node.name, cut.operation, operation, f"{cut.chip} alone, {cut.moment}")
                cuts = node.trial_cuts, node.chip_cuts + 1
                self._add(Node(name, node.name, told, node.depth + 1, *cuts), woken)
            node.step_to(name, CHIP)

    def chain(self, node: Node) -> tuple[Cut, ...]:
        """The cuts from the first state to this one."""
        cuts: list[Cut] = []
        at: Node | None = node
        while at is not None:
            if at.cut is not None:
                cuts.append(at.cut)
            at = None if at.parent is None else self._nodes[at.parent]
        return tuple(reversed(cuts))

    def _blame(self, node: Node, violations: "list[Violation] | tuple[Violation, ...]") -> None:
        self.result.broken.extend(Broken(one, self.chain(node)) for one in violations)

    def _judge_endings(self) -> None:
        """How few cuts inside trials, or of chips, lead to each end over all ways there."""
        trial_cuts, chip_cuts = self._fewest(TRIAL), self._fewest(CHIP)
        for node in self._nodes.values():
            if node.leg is None or not node.leg.rested:
                continue
            fewest = {"trial_cuts": trial_cuts[node.name], "chip_cuts": chip_cuts[node.name]}
            if fewest != {"trial_cuts": node.trial_cuts, "chip_cuts": node.chip_cuts}:
                self._blame(node, judge_ending(self._stage, node.leg.ended, **fewest))
            if any(one.outcome != self._stage.expected for one in node.leg.ended):
                self.result.lost_trials += 1

    def _fewest(self, kind: int) -> dict[int, int]:
        root = next(iter(self._nodes))
        fewest = {root: 0}
        waiting = deque([root])
        while waiting:
            name = waiting.popleft()
            for following, step in self._nodes[name].steps.items():
                weight = int(bool(step & kind))
                cuts = fewest[name] + weight
                if following not in fewest or cuts < fewest[following]:
                    fewest[following] = cuts
                    if weight:
                        waiting.append(following)
                    else:
                        waiting.appendleft(following)
        return fewest

    def _run_again(self) -> None:
        """The audit: as they were found, through all reboots, and compared with what is known."""
        result = self.result
        result.merged, result.other_bytes = self._audit.merged, self._audit.other_bytes
        for number, (name, start) in enumerate(self._audit.sample):
            node = self._nodes[name]
            visit = self._visitor.visit(start, name ^ (number + 1), whole=True)
            finding = self._audit.compare(start, visit, self._way(node), self._prints)
            result.audited += 1
            result.different += finding is not None
            if finding is not None:
                self._blame(node, [finding])

    def _report(self, *, finished: bool = False) -> None:
        result = self.result
        self._tell(
            Progress(
                f"{result.board} {result.scenario}",
                result.crash_states,
                result.distinct,
                result.boots,
                len(self._waiting),
                finished,
            )
        )


def chip_cuts(stage: Stage, visit: Visit) -> Iterator[ChipCut]:
    """Where a chip alone may lose its power: before a write to it, and in each operation of its flash.

    To lose it behind one is to lose it before what comes next, but for an answer that nobody hears.
    """
    every_word, spoken = stage.scale.every_word, False
    for place, operation in enumerate(visit.operations if stage.profile.microcontrollers else ()):
        spoken = spoken or operation.name == WRITE
        moments: tuple[Moment, ...] = ()
        if operation.name.startswith("Flash."):
            moments = (Moment.TORN, Moment.AFTER) if every_word else (Moment.TORN,)
        elif operation.name == WRITE and (every_word or _at_an_edge(visit, place)):
            moments = (Moment.BEFORE,)
        for chip in stage.profile.microcontrollers if spoken else ():
            for moment in moments:
                yield ChipCut(chip.name, operation.number, moment)


def _at_an_edge(visit: Visit, place: int) -> bool:
    """Whether this write is the first or the last of some between which nothing durable changes."""
    here = visit.pictures[place]
    first = place == 0 or visit.pictures[place - 1] is not here
    return first or visit.pictures[place + 1] is not here


def _told(operation: Operation) -> str:
    return f"{operation.name} {operation.detail}".strip()


def _in_trial(picture: Picture) -> bool:
    journal = journal_of(picture.files.get(journals.FILE))
    update = None if journal is None else journal.update
    return update is not None and update.state in IN_TRIAL
