"""How every verb speaks: lines for people, or one JSON object whose shape `docs/commands.md` has."""

import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from agent.errors import UpdateError
from agent.strict import encode_json

if TYPE_CHECKING:  # a glance goes without it
    import argparse

SCHEMA: Final = 1
UNITS: Final = ("KiB", "MiB", "GiB", "TiB")


def show(
    options: "argparse.Namespace", document: Mapping[str, object], lines: Iterable[str]
) -> None:
    """Print the result of a verb, once."""
    if options.json:
        sys.stdout.write(encode_json({"schema": SCHEMA, **document}).decode())
        return
    for line in lines:
        print(line)


def print_error(options: "argparse.Namespace", error: UpdateError) -> None:
    """One line on the standard error: the code, then what was expected, found and to do."""
    message = " ".join(str(error).split())
    if options.json:
        told = {"code": error.code, "message": message, "retry": error.retry.value}
        sys.stderr.write(encode_json({"schema": SCHEMA, "error": told}).decode())
    else:
        print(f"lockgate: {error.code}: {message}", file=sys.stderr)


def rows(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """Names and values, one pair a line, in two columns."""
    kept = [(name, value) for name, value in pairs if value]
    width = max((len(name) for name, _ in kept), default=0)
    return [f"{name:<{width}}  {value}" for name, value in kept]


def size_words(length_bytes: float) -> str:
    """A number of bytes for people."""
    if length_bytes < 1024:
        return f"{length_bytes:.0f} bytes"
    power = next(
        (one for one in range(1, len(UNITS)) if length_bytes < 1024 ** (one + 1)), len(UNITS)
    )
    return f"{length_bytes / 1024**power:.1f} {UNITS[power - 1]}"


def time_words(duration_s: float) -> str:
    """A duration for people: its two largest units."""
    seconds = max(0, round(duration_s))
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if days:
        return f"{days} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min {seconds % 60} s" if minutes else f"{seconds} s"
