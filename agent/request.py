"""What someone at the device asks of the running agent: one small file, then a wake-up. Pure.

    {"schema": 1, "verb": "check" | "install" | "confirm" | "revert" | "defer", "until": DATE}

`until` stands only with `defer`. The agent removes the file once it has read it, so a request that
comes while another waits replaces it.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from agent.errors import NoticeError
from agent.interfaces import Files
from agent.strict import Refusal, encode_json, format_time, load_json

SCHEMA: Final = 1
FILE: Final = "request.json"
FILE_BYTES_MAX: Final = 4096


class Verb(StrEnum):
    """What can be asked."""

    CHECK = "check"
    INSTALL = "install"
    CONFIRM = "confirm"
    REVERT = "revert"
    DEFER = "defer"


@dataclass(frozen=True, slots=True)
class Request:
    """One wish; `until` is None unless it is to defer."""

    verb: Verb
    until: datetime | None = None


def leave(files: Files, request: Request) -> None:
    """Leave a request where the agent looks."""
    document: dict[str, object] = {"schema": SCHEMA, "verb": request.verb}
    if request.until is not None:
        document["until"] = format_time(request.until)
    files.replace(FILE, encode_json(document))


def take(files: Files) -> Request | None:
    """The waiting request, removed. Raises `NoticeError` when it is not one; it is removed then too."""
    content = files.read(FILE)
    if content is None:
        return None
    files.remove(FILE)
    fields = load_json(content, length_max=FILE_BYTES_MAX, refusal=Refusal(NoticeError, FILE))
    fields.integer("schema", SCHEMA, SCHEMA)
    verb = Verb(fields.choice("verb", *Verb))
    request = Request(verb=verb, until=fields.time("until") if verb is Verb.DEFER else None)
    fields.done()
    return request
