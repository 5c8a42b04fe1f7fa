"""One page on which a person cuts the power at an operation and sees what the device does next.

All that the page can show is computed here and put into it as JSON; it asks nobody for anything. It has
the first cut of each configuration: the run that is shown is the one that nothing interrupts.
"""

import json
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Final

from agent import journal as journals
from simulator.explore.crash import Extent, Leaving, Picture, Recipe, leave, recipes
from simulator.explore.scenario import Stage, make_stage
from simulator.explore.search import chip_cuts
from simulator.explore.start import Start, name_of
from simulator.explore.state import Fingerprints, copies_of
from simulator.explore.sweep import Configuration
from simulator.explore.visit import Visit, Visitor
from simulator.explore.watch import journal_of
from simulator.profiles import load_profile
from simulator.trace import Line

TEMPLATE: Final = "page.html"
PLACE: Final = "/*DATA*/null"
LETTERS: Final = {Extent.WHOLE: "w", Extent.HEAD: "h", Extent.TAIL: "t"}


@dataclass(slots=True)
class _Lines:
    """Lines of traces, each kept once."""

    lines: list[list[object]] = field(default_factory=list)
    _places: dict[str, int] = field(default_factory=dict)

    def keep(self, visit: Visit, since: int = 0) -> list[int]:
        """A trace from this operation on, as the numbers of its lines; what is repeated stands there once."""
        numbers: list[int] = []
        for line in visit.trace.lines:
            if line.op < since:
                continue
            cells = _cells(line)
            place = self._places.setdefault(repr(cells), len(self._places))
            if place == len(self.lines):
                self.lines.append(cells)
            if not numbers or numbers[-1] != place:
                numbers.append(place)
        return numbers


@dataclass(slots=True)
class _Recoveries:
    """What follows each cut; a state that several cuts leave is recovered from once."""

    visitor: Visitor
    prints: Fingerprints
    lines: _Lines
    found: list[dict[str, object]] = field(default_factory=list)
    _places: dict[int, int] = field(default_factory=dict)

    def place(self, start: Start) -> int:
        """The number of the recovery from here."""
        name = name_of(start, self.prints)
        if name not in self._places:
            self._places[name] = len(self.found)
            visit = self.visitor.visit(start, name, traced=True, whole=True)
            since = 0 if start.chip_cut is None else start.chip_cut.operation - 1
            self.found.append({"trace": self.lines.keep(visit, since), **_ending(visit)})
        return self._places[name]


def write_page(path: Path, chosen: list[Configuration]) -> None:
    """Write the page for these configurations."""
    lines = _Lines()
    runs = [_run(configuration, lines) for configuration in chosen]
    data = json.dumps({"runs": runs, "lines": lines.lines}, separators=(",", ":"))
    template = files("simulator.explore").joinpath(TEMPLATE).read_text()
    path.write_text(template.replace(PLACE, data.replace("</", "<\\/")))


def _run(configuration: Configuration, lines: _Lines) -> dict[str, object]:
    stage = make_stage(
        load_profile(configuration.board), configuration.scenario, scale=configuration.scale
    )
    recoveries = _Recoveries(Visitor(stage), Fingerprints(copies_of(stage.profile)), lines)
    first = recoveries.visitor.visit(Start(stage.first), 0, traced=True, whole=True)
    pictures: list[dict[str, object]] = []
    for number, picture in enumerate(first.pictures):
        same = number and picture is first.pictures[number - 1]
        pictures.append(pictures[-1] if same else _picture(stage, picture, recoveries))
    return {
        "board": stage.profile.name,
        "scenario": stage.scenario.value,
        "chips": len(stage.profile.microcontrollers),
        "trace": lines.keep(first),
        **_ending(first),
        "operations": _operations(first),
        "pictures": pictures,
        "alone": _alone(stage, first, recoveries),
        "recoveries": recoveries.found,
    }


def _operations(visit: Visit) -> list[list[object]]:
    """Of each operation its boot, the state of the update, its name and its detail."""
    rows: list[list[object]] = []
    for number, operation in enumerate(visit.operations):
        boot = 1 + sum(begin <= number for begin in visit.boots)
        journal = journal_of(visit.pictures[number].files.get(journals.FILE))
        update = None if journal is None else journal.update
        state = "no update yet" if update is None else update.state.value
        rows.append([boot, state, operation.name, operation.detail])
    return rows


def _picture(stage: Stage, picture: Picture, recoveries: _Recoveries) -> dict[str, object]:
    states = {
        _key(recipe): [
            recoveries.place(stage.woken(leave(picture, Leaving(recipe, fate))))
            for fate in picture.fates
        ]
        for recipe in recipes(len(picture.pending))
    }
    pending = [f"{one.path} {one.write.offset}+{len(one.write.content)}" for one in picture.pending]
    return {"pending": pending, "fates": [fate.told for fate in picture.fates], "states": states}


def _alone(stage: Stage, first: Visit, recoveries: _Recoveries) -> dict[int, dict[str, int]]:
    """What follows when only a chip loses its power, by operation and moment."""
    found: dict[int, dict[str, int]] = {}
    for cut in chip_cuts(stage, first):
        place = recoveries.place(Start(stage.first, chip_cut=cut))
        found.setdefault(cut.operation - 1, {})[cut.moment.value] = place
    return found


def _key(recipe: Recipe) -> str:
    return "".join(f"{place}{LETTERS[extent]}" for place, extent in recipe)


def _cells(line: Line) -> list[object]:
    time_s = round(line.time_s, 1)
    return [line.boot, line.slot, line.op, time_s, line.state, line.event, line.detail]


def _ending(visit: Visit) -> dict[str, object]:
    words = [
        one.outcome if one.code == "ok" else f"{one.outcome} ({one.code})" for one in visit.ended
    ]
    broken = [f"BROKEN {one.invariant}: {one.told}" for one in visit.violations]
    return {"ends": "; ".join([*words, *broken]) or "nothing ended", "good": not broken}
