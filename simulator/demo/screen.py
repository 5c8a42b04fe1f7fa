"""What a person sees: events as they happen, and below them the fleet as the operator's store knows it."""

import re
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.terminal_theme import MONOKAI
from rich.text import Text

from fleet.store import DeviceRow, Store
from simulator.demo.devices import DemoDevice

BAR: Final = 16
PICTURE_WIDTH: Final = 118
FONT_FACE: Final = re.compile(r"@font-face \{.*?\}", re.DOTALL)
REFRESH_PER_S: Final = 4
COLOURS: Final = {
    "confirmed": "green",
    "reverted": "yellow",
    "unhealthy": "yellow",
    "failed": "red",
    "!": "magenta",
}


@dataclass(slots=True)
class Screen:
    """The console of the demonstration; `say` may be called from any thread."""

    record: bool = False
    devices: tuple[DemoDevice, ...] = ()
    store: Path | None = None
    console: Console = field(init=False)
    _live: Live | None = None
    _start_s: float = field(default_factory=time.monotonic)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stop: threading.Event = field(default_factory=threading.Event)
    _painter: threading.Thread | None = None

    def __post_init__(self) -> None:
        width = PICTURE_WIDTH if self.record else None
        self.console = Console(highlight=False, markup=False, record=self.record, width=width)

    def save_picture(self, path: Path) -> None:
        """Keep what was printed as an SVG that names no other server."""
        picture = self.console.export_svg(title="make demo", theme=MONOKAI)
        path.write_text(FONT_FACE.sub("", picture))

    @property
    def seconds(self) -> float:
        """Since the story began."""
        return time.monotonic() - self._start_s

    def begin(self) -> None:
        """The story begins now: what came before was set-up."""
        self._start_s = time.monotonic()

    def say(self, who: str, sentence: str) -> None:
        """One event."""
        colour = next((COLOURS[word] for word in COLOURS if sentence.startswith(word)), "")
        line = Text(f"{self.seconds:6.1f} s  {who:<10} {sentence}", style=colour)
        with self._lock:
            self.console.print(line, soft_wrap=True)

    def act(self, title: str) -> None:
        """A new part of the story."""
        with self._lock:
            self.console.print()
            self.console.print(Text(title, style="bold"))

    def typed(self, words: str) -> None:
        """A command as an operator types it."""
        with self._lock:
            self.console.print(Text(f"  $ {words}", style="dim"), soft_wrap=True)

    def __enter__(self) -> Self:
        self._live = Live(
            console=self.console, auto_refresh=False, transient=True, vertical_overflow="crop"
        )
        self._live.start()
        self._painter = threading.Thread(target=self._paint, daemon=True)
        self._painter.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._painter is not None:
            self._painter.join()
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _paint(self) -> None:
        while not self._stop.wait(1 / REFRESH_PER_S):  # until the context ends
            if self._live is not None and self.console.is_terminal and self.devices:
                with self._lock:
                    self._live.update(self.table(), refresh=True)

    def known(self, *, online: bool) -> tuple[str, ...]:
        """The devices that the collector knows to be online, or not."""
        return tuple(row.device for row in _rows(self.store) if row.online is online)

    def table(self) -> Table:
        """The fleet now."""
        rows = {row.device: row for row in _rows(self.store)}
        table = Table(title="the fleet, as its collector knows it", title_justify="left")
        for heading in ("device", "board", "slot", "runs", "phase", "progress", "last report"):
            table.add_column(heading, no_wrap=True)
        for device in self.devices:
            board = device.simulation.board.profile.name
            table.add_row(device.name, board, *_cells(rows.get(device.name)))
        return table


def _rows(path: Path | None) -> tuple[DeviceRow, ...]:
    if path is None or not path.exists():
        return ()
    store = Store(path)
    store.open()
    try:
        return store.devices()
    finally:
        store.close()


def _cells(row: DeviceRow | None) -> tuple[str | Text, ...]:
    if row is None:
        return ("-", "-", "-", "", "")
    done = row.done_bytes / row.total_bytes if row.total_bytes else 0.0
    full = round(done * BAR)
    bar = f"{'█' * full}{'·' * (BAR - full)} {done:4.0%}" if row.total_bytes else ""
    last = f"{row.last_outcome} {row.last_release}".strip()
    return (
        row.slot,
        row.release,
        row.phase,
        bar,
        Text(last, style=COLOURS.get(row.last_outcome, "")),
    )
