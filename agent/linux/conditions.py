"""How things are on a Linux system just now: memory, heat, and what the link costs. Never raises."""

from pathlib import Path
from typing import Final

from agent.linux.child import run_bounded

FILE_BYTES_MAX: Final = 16 * 1024
ZONES_MAX: Final = 64
KIB: Final = 1024
MILLI: Final = 1000
ANSWERS: Final = {"yes": True, "no": False}
ASK: Final = ("busctl", "get-property", "org.freedesktop.NetworkManager")
QUESTION: Final = (
    *ASK,
    "/org/freedesktop/NetworkManager",
    "org.freedesktop.NetworkManager",
    "Metered",
)
PROPERTY: Final = {"u 1": True, "u 2": False, "u 3": True, "u 4": False}
"""NMMetered: yes, no, guessed yes, guessed no, of the connection that has the default route; 0 is unknown."""
ASK_TIMEOUT_S: Final = 5.0


def read_memory(meminfo: Path) -> int | None:
    """`MemAvailable` of proc(5), in bytes."""
    for line in _read(meminfo).splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "MemAvailable:" and words[1].isdecimal():
            return int(words[1]) * KIB
    return None


def read_temperature(thermal: Path) -> float | None:
    """The hottest of the kernel's thermal zones, in degrees Celsius."""
    found = []
    for zone in sorted(thermal.glob("thermal_zone*"))[:ZONES_MAX]:
        text = _read(zone / "temp").strip()
        if text.removeprefix("-").isdecimal():
            found.append(int(text) / MILLI)
    return max(found, default=None)


def read_link(flag: Path, question: tuple[str, ...] = QUESTION) -> bool | None:
    """Whether the link is metered: what the flag file says, `yes` or `no`, else NetworkManager."""
    told = ANSWERS.get(_read(flag).strip())
    if told is not None:
        return told
    try:
        outcome = run_bounded(question, ASK_TIMEOUT_S)
    except OSError:
        return None
    return PROPERTY.get(outcome.last_line) if outcome.exit_status == 0 else None


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(FILE_BYTES_MAX).decode(errors="replace")
    except (OSError, ValueError):  # some zones refuse while their sensor sleeps
        return ""
