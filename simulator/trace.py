"""What happened, one line per event in fixed columns, for people; the same seed gives the same bytes.

boot  slot  op     time      state       event                  detail
   1  a        11       8.0  PLANNED     planned                2 in slot b
   1  a        19       8.0  PLANNED     ! power cut            at BlockDevice.write /dev/mmcblk0p6 0+4096
"""

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from itertools import groupby
from typing import Final

Note = Callable[[str, str], None]
"""How a simulated part tells the trace: an event and its detail."""

HEADING: Final = "boot  slot  op     time      state       event                  detail"
DETAIL_LENGTH_MAX: Final = 160
HASH: Final = re.compile(r"[0-9a-f]{32,}")


def silent(_event: str, _detail: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class Line:
    """One event. `slot` and `state` are `-` while nothing runs or nothing is under way."""

    boot: int
    slot: str
    op: int
    time_s: float
    state: str
    event: str
    detail: str


@dataclass(slots=True)
class Trace:
    """All events of one device, and the place where the next one happens."""

    lines: list[Line] = field(default_factory=list)
    boot: int = 0
    slot: str = "-"
    state: str = "-"
    op: Callable[[], int] = lambda: 0
    time_s: Callable[[], float] = lambda: 0.0
    sink: Callable[[Line], None] | None = None

    def note(self, event: str, detail: str = "") -> None:
        """Something happened here and now."""
        line = Line(
            boot=self.boot,
            slot=self.slot,
            op=self.op(),
            time_s=self.time_s(),
            state=self.state,
            event=event,
            detail=short(detail)[:DETAIL_LENGTH_MAX].rstrip(),
        )
        self.lines.append(line)
        if self.sink is not None:
            self.sink(line)

    def events(self) -> list[str]:
        """The names of the events in order."""
        return [line.event for line in self.lines]

    def text(self) -> str:
        """The whole trace for people; what happens again and again stands there once."""
        rows = [HEADING]
        for _, same in groupby(self.lines, key=_what):
            first, *others = same
            times = f"  ({len(others) + 1} times)" if others else ""
            rows.append(format_line(first) + times)
        return "\n".join(rows) + "\n"


def short(text: str) -> str:
    """Text in which long hashes are cut to what people compare."""
    return HASH.sub(lambda found: found[0][:8] + "..", text)


def _what(line: Line) -> tuple[object, ...]:
    return (line.boot, line.slot, line.op, line.state, line.event, line.detail)


def format_line(line: Line) -> str:
    """One event in fixed columns."""
    row = (
        f"{line.boot:4d}  {line.slot:4}  {line.op:5d}  {line.time_s:8.1f}  {line.state:10}  "
        f"{line.event:21}  {line.detail}"
    )
    return row.rstrip()


def line_document(line: Line) -> dict[str, object]:
    """One event as a JSON object."""
    return {**asdict(line), "time_s": round(line.time_s, 3)}
