"""The findings of `lockgate doctor`, and how an error becomes one."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from agent.commands.explanations import next_step
from agent.errors import UpdateError


class Level(StrEnum):
    """How bad it is; a warning stops no update."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `next_step` is empty when it is well."""

    name: str
    level: Level
    detail: str
    next_step: str = ""


def failure(name: str, error: UpdateError) -> Finding:
    """An error as a finding: our errors end with what to do."""
    detail, semicolon, advice = " ".join(str(error).split()).rpartition("; ")
    if not semicolon:
        detail, advice = advice, next_step(error.code)
    return Finding(name, Level.FAIL, f"{error.code}: {detail}", advice)


def examined(name: str, examine: Callable[[], Finding]) -> Finding:
    """What an examination finds, or how it failed."""
    try:
        return examine()
    except UpdateError as error:
        return failure(name, error)
