"""One page on which a person cuts the power at an operation and sees what the device does next.

All that the page can show is computed here and put into it as JSON; it asks nobody for anything. It has
the first cut of each configuration: the run that is shown is the one that nothing interrupts.
"""

import json
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Final

from simulator.explore.crash import Extent, Picture, Recipe, crash_states, leave, recipes
from simulator.explore.scenario import make_stage
from simulator.explore.state import Fingerprints, copies_of
from simulator.explore.sweep import Configuration
from simulator.explore.visit import Visit, Visitor
from simulator.profiles import load_profile
from simulator.trace import format_line

TEMPLATE: Final = "page.html"
PLACE: Final = "/*DATA*/null"
LETTERS: Final = {Extent.WHOLE: "w", Extent.HEAD: "h", Extent.TAIL: "t"}


@dataclass(slots=True)
class _Lines:
    """Lines of traces, each kept once."""

    lines: list[str] = field(default_factory=list)
    _places: dict[str, int] = field(default_factory=dict)

    def keep(self, visit: Visit) -> list[int]:
        """A trace as the numbers of its lines; what happens again and again stands there once."""
        numbers: list[int] = []
        for line in visit.trace.lines:
            text = format_line(line)
            place = self._places.setdefault(text, len(self._places))
            if place == len(self.lines):
                self.lines.append(text)
            if not numbers or numbers[-1] != place:
                numbers.append(place)
        return numbers


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
    visitor = Visitor(stage)
    prints = Fingerprints(copies_of(stage.profile))
    first = visitor.visit(stage.first, 0, traced=True)
    places: dict[int, int] = {}
    recoveries: list[dict[str, object]] = []
    pictures = []
    for picture in first.pictures:
        for name, recipe in crash_states(picture, prints).items():
            if name not in places:
                places[name] = len(recoveries)
                visit = visitor.visit(leave(picture, recipe), name, traced=True)
                recoveries.append({"trace": lines.keep(visit), "ends": _ending(visit)})
        pictures.append(_picture(picture, places, prints))
    return {
        "board": stage.profile.name,
        "scenario": stage.scenario.value,
        "trace": lines.keep(first),
        "ends": _ending(first),
        "operations": [f"{one.name} {one.detail}".strip() for one in first.operations],
        "pictures": pictures,
        "recoveries": recoveries,
    }


def _picture(picture: Picture, places: dict[int, int], prints: Fingerprints) -> dict[str, object]:
    base = crash_states(picture, prints)
    by_recipe = {_key(recipe): places[name] for name, recipe in base.items()}
    states = {}
    for recipe in recipes(len(picture.pending)):
        key = _key(recipe)
        states[key] = (
            by_recipe[key] if key in by_recipe else _place(picture, recipe, places, prints)
        )
    return {
        "pending": [
            f"{one.path} {one.write.offset}+{len(one.write.content)}" for one in picture.pending
        ],
        "states": states,
    }


def _place(picture: Picture, recipe: Recipe, places: dict[int, int], prints: Fingerprints) -> int:
    return places[prints.state(leave(picture, recipe))]


def _key(recipe: Recipe) -> str:
    return "".join(f"{place}{LETTERS[extent]}" for place, extent in recipe)


def _ending(visit: Visit) -> str:
    words = [
        one.outcome if one.code == "ok" else f"{one.outcome} ({one.code})" for one in visit.ended
    ]
    broken = [f"BROKEN {one.invariant}: {one.told}" for one in visit.violations]
    return "; ".join([*words, *broken]) or "nothing ended"
