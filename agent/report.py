"""What a device says, and the fleet's answer that it is stored. Pure; `docs/mqtt.md`.

A report has one id for ever: the same update of the same device has the same id however often the
power fails, so the fleet stores it once however often it arrives.

report   {"schema": 1, "id": HEX, "device": NAME, "fleet": NAME, "outcome": OUTCOME, "code": NAME,
          "detail": TEXT, "update": NAME, "rollout": NAME, "reissue": N, "release": NAME, "counter": N,
          "slot": "a" | "b", "attempts": N, "fetched_bytes": N, "written_bytes": N,
          "at": DATE, "time": "synchronised" | "bounded", "agent": TEXT}
receipt  {"schema": 1, "ids": [HEX]}
status   {"schema": 1, "device": NAME, "fleet": NAME, "at": DATE, "boot_id": TEXT, "slot": "a" | "b",
          "release": NAME, "counter": N, "phase": TEXT, "update": NAME, "target": NAME,
          "done_bytes": N, "total_bytes": N, "detail": TEXT, "reports_waiting": N, "agent": TEXT}
presence {"schema": 1, "online": true | false, "session": HEX}
"""

import hashlib
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from agent.errors import NoticeError
from agent.strict import Fields, Refusal, encode_json, format_time, load_json

SCHEMA: Final = 1
MESSAGE_BYTES_MAX: Final = 16 * 1024
DETAIL_LENGTH_MAX: Final = 500
IDS_MAX: Final = 200


class Outcome(StrEnum):
    """How it ended; each says only what is durable on the device."""

    CONFIRMED = "confirmed"
    REVERTED = "reverted"
    FAILED = "failed"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Report:
    """One event that the fleet must hear of. `code` is `ok` or that of an `UpdateError`."""

    id: str
    device: str
    fleet: str
    outcome: Outcome
    code: str
    detail: str
    update: str
    rollout: str
    reissue: int
    release: str
    counter: int
    slot: str
    attempts: int
    fetched_bytes: int
    written_bytes: int
    at: datetime
    time: str
    agent: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """The ids of reports that the fleet has stored."""

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Status:
    """What runs and what is under way; complete each time, the last one counts.

    `phase` is a state of the update in lower case, or `idle`, or `waiting`: nothing can begin, and `detail`
    says why; slot and release are empty then.
    """

    device: str
    fleet: str
    at: datetime
    boot_id: str
    slot: str
    release: str
    counter: int
    phase: str
    update: str
    target: str
    done_bytes: int
    total_bytes: int
    detail: str
    reports_waiting: int
    agent: str


@dataclass(frozen=True, slots=True)
class Presence:
    """Online or not; the session tells an old will from a new session."""

    online: bool
    session: str


def report_id(*parts: str) -> str:
    """The one id of an event: 32 hexadecimal digits of what makes it that event."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def clean(text: str) -> str:
    """Text from the world, made fit for a report: printable, one line, bounded."""
    printable = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(printable.split())[:DETAIL_LENGTH_MAX]


def encode_report(report: Report) -> bytes:
    """The message of a report; `parse_report` reads it back."""
    return encode_json(report_document(report))


def report_document(report: Report) -> dict[str, object]:
    """A report as a JSON object."""
    return {"schema": SCHEMA, **asdict(report), "at": format_time(report.at)}


def parse_report(content: bytes) -> Report:
    """The report in a message from a device. Raises `NoticeError`."""
    return report_fields(_open(content, "report"))


def report_fields(fields: Fields) -> Report:
    """The report in a JSON object whose reader raises what fits the place it stands in."""
    fields.integer("schema", SCHEMA, SCHEMA)
    report = Report(
        id=fields.name("id"),
        device=fields.name("device"),
        fleet=fields.name("fleet"),
        outcome=Outcome(fields.choice("outcome", *Outcome)),
        code=fields.name("code"),
        detail=fields.text("detail", length_max=DETAIL_LENGTH_MAX),
        update=fields.text("update", length_max=300),
        rollout=fields.text("rollout", length_max=128),
        reissue=fields.integer("reissue", 0),
        release=fields.text("release", length_max=128),
        counter=fields.integer("counter", 0),
        slot=fields.text("slot", length_max=8),
        attempts=fields.integer("attempts", 0),
        fetched_bytes=fields.integer("fetched_bytes", 0),
        written_bytes=fields.integer("written_bytes", 0),
        at=fields.time("at"),
        time=fields.choice("time", "synchronised", "bounded"),
        agent=fields.text("agent", length_max=64),
    )
    fields.done()
    return report


def encode_receipt(receipt: Receipt) -> bytes:
    """The message of a receipt; `parse_receipt` reads it back."""
    return encode_json({"schema": SCHEMA, "ids": list(receipt.ids)})


def parse_receipt(content: bytes) -> Receipt:
    """The receipt in a message from the fleet. Raises `NoticeError`."""
    fields = _open(content, "receipt")
    fields.integer("schema", SCHEMA, SCHEMA)
    receipt = Receipt(ids=fields.texts("ids", length_max=IDS_MAX))
    fields.done()
    return receipt


def encode_status(status: Status) -> bytes:
    """The message of a status; `parse_status` reads it back."""
    return encode_json({"schema": SCHEMA, **asdict(status), "at": format_time(status.at)})


def parse_status(content: bytes) -> Status:
    """The status in a message from a device. Raises `NoticeError`."""
    fields = _open(content, "status")
    fields.integer("schema", SCHEMA, SCHEMA)
    status = Status(
        device=fields.name("device"),
        fleet=fields.name("fleet"),
        at=fields.time("at"),
        boot_id=fields.text("boot_id", length_max=64),
        slot=fields.text("slot", length_max=8),
        release=fields.text("release", length_max=128),
        counter=fields.integer("counter", 0),
        phase=fields.name("phase"),
        update=fields.text("update", length_max=300),
        target=fields.text("target", length_max=128),
        done_bytes=fields.integer("done_bytes", 0),
        total_bytes=fields.integer("total_bytes", 0),
        detail=fields.text("detail", length_max=DETAIL_LENGTH_MAX),
        reports_waiting=fields.integer("reports_waiting", 0),
        agent=fields.text("agent", length_max=64),
    )
    fields.done()
    return status


def encode_presence(presence: Presence) -> bytes:
    """The message of a presence; `parse_presence` reads it back."""
    return encode_json({"schema": SCHEMA, **asdict(presence)})


def parse_presence(content: bytes) -> Presence:
    """The presence in a message from a device or its will. Raises `NoticeError`."""
    fields = _open(content, "presence")
    fields.integer("schema", SCHEMA, SCHEMA)
    presence = Presence(online=fields.boolean("online"), session=fields.name("session"))
    fields.done()
    return presence


def _open(content: bytes, source: str) -> Fields:
    return load_json(content, length_max=MESSAGE_BYTES_MAX, refusal=Refusal(NoticeError, source))
