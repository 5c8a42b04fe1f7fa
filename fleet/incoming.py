"""Sorts what the broker delivered into what is stored; what is not in order is left out and named. Pure.

The broker's access rules tie a topic to a certificate, so the topic says who spoke. A message that says
something else of itself is refused.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from agent.errors import NoticeError
from agent.report import Presence, Report, Status, parse_presence, parse_report, parse_status
from agent.strict import NAME
from fleet.session import Received
from fleet.store import Batch

Spoken = TypeVar("Spoken", Report, Status)


@dataclass(frozen=True, slots=True)
class Ignored:
    """A message that was left out: whose it seemed to be, and why."""

    device: str
    reason: str


@dataclass(frozen=True, slots=True)
class Sorted:
    """What can be stored, and what cannot."""

    batch: Batch
    ignored: tuple[Ignored, ...]


def sort(messages: Iterable[Received], fleet: str) -> Sorted:
    """Read each message by its topic."""
    reports: list[Report] = []
    statuses: list[Status] = []
    presences: list[tuple[str, Presence]] = []
    ignored: list[Ignored] = []
    for message in messages:
        device, leaf = _place(message.topic, fleet)
        try:
            match leaf:
                case "report":
                    reports.append(_own(parse_report(message.content), device, fleet))
                case "state":
                    statuses.append(_own(parse_status(message.content), device, fleet))
                case "presence":
                    presences.append((device, parse_presence(message.content)))
                case _:
                    raise NoticeError(f"no message was expected on topic {message.topic!r}")  # noqa: TRY301  # said below
        except NoticeError as error:
            ignored.append(Ignored(device, str(error)))
    batch = Batch(reports=tuple(reports), statuses=tuple(statuses), presences=tuple(presences))
    return Sorted(batch=batch, ignored=tuple(ignored))


def _place(topic: str, fleet: str) -> tuple[str, str]:
    match topic.split("/"):
        case ["lockgate", found, device, leaf] if found == fleet and NAME.fullmatch(device):
            return device, leaf
        case _:
            return "", ""


def _own(message: Spoken, device: str, fleet: str) -> Spoken:
    if message.device != device or message.fleet != fleet:
        raise NoticeError(
            f"a message of {fleet}/{device} was expected, as its topic says; "
            f"{message.fleet}/{message.device} found"
        )
    return message
