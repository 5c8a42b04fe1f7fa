"""What the device remembers, in one file that is replaced whole.

The update, the reports that wait for their receipts, and what is installed live in the same file, so
that a state and the report of it can never disagree, wherever the power fails.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Final

from agent.board import SlotName
from agent.errors import StateError
from agent.firmware import ChipRecord, Firmware, firmware_fields, firmwares_fields, records_fields
from agent.interfaces import Files
from agent.release import Payload, encryption_fields
from agent.report import Outcome, Report, report_document, report_fields
from agent.strict import Fields, Refusal, encode_json, format_time, load_json
from agent.update import ChipInstallation, Installation, State, Update

SCHEMA: Final = 1
FILE: Final = "journal.json"
FILE_BYTES_MAX: Final = 1024 * 1024
HISTORY_MAX: Final = 50
REPORTS_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class Installed:
    """What a slot holds, as far as this device has confirmed or reverted it.

    `images` are the SHA-256 of the images, by part; empty when they were not recorded. `chips` are the
    images that belong beside this system, by microcontroller; one that is not named is as it came.
    """

    release: str
    counter: int
    images: Mapping[str, str] = field(default_factory=dict)
    chips: Mapping[str, Firmware] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Tried:
    """One issue of a rollout that has ended here, and how."""

    rollout: str
    reissue: int
    release: str
    counter: int
    state: State
    code: str
    detail: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Journal:
    """Everything that must outlive a power cut, except the trusted metadata and its floor."""

    update: Update | None = None
    reports: tuple[Report, ...] = ()
    installed: Mapping[SlotName, Installed] = field(default_factory=dict)
    history: tuple[Tried, ...] = ()
    deferred_until: datetime | None = None
    chips: Mapping[str, ChipRecord] = field(default_factory=dict)
    withdrawn_in: str = ""
    """The boot that began as a trial of which nothing is recorded, once that was withdrawn; it must end."""

    def tried(self, rollout: str, reissue: int) -> bool:
        """Whether this issue of a rollout has already ended on this device."""
        return any(past.rollout == rollout and past.reissue == reissue for past in self.history)

    def with_report(self, report: Report) -> "Journal":
        """With this report waiting; the same id is never queued twice.

        When there are too many, the oldest alarms make room before the end of any update does: whoever
        can cause alarms must not be able to push out what became of an update.
        """
        if any(waiting.id == report.id for waiting in self.reports):
            return self
        reports = [*self.reports, report]
        while len(reports) > REPORTS_MAX:
            alarms = (one for one in reports if one.outcome is Outcome.REFUSED)
            reports.remove(next(alarms, reports[0]))
        return replace(self, reports=tuple(reports))

    def without_reports(self, ids: tuple[str, ...]) -> "Journal":
        """Without the reports that the fleet has stored."""
        return replace(self, reports=tuple(one for one in self.reports if one.id not in ids))

    def with_history(self, past: Tried) -> "Journal":
        """With one more ended update."""
        return replace(self, history=(*self.history, past)[-HISTORY_MAX:])


def load(files: Files) -> Journal | None:
    """The journal, a new one when there is none; None when there is one that cannot be read.

    An unreadable journal is not "no update": the caller trusts the hardware and says so.
    """
    content = files.read(FILE)
    if content is None:
        return Journal()
    try:
        return decode(content)
    except StateError:
        return None


def store(files: Files, journal: Journal) -> None:
    """Make the journal durable; a cut leaves the one before or this one."""
    files.replace(FILE, encode(journal))


def encode(journal: Journal) -> bytes:
    """The file of a journal: its body, and the SHA-256 of that, against rotten bits."""
    body = {
        "update": None if journal.update is None else asdict(journal.update),
        "reports": [report_document(report) for report in journal.reports],
        "installed": {slot: asdict(one) for slot, one in journal.installed.items()},
        "history": [{**asdict(past), "at": format_time(past.at)} for past in journal.history],
        "deferred_until": format_time(journal.deferred_until) if journal.deferred_until else "",
        "chips": {name: asdict(record) for name, record in journal.chips.items()},
        "withdrawn_in": journal.withdrawn_in,
    }
    digest = hashlib.sha256(encode_json(body)).hexdigest()
    return encode_json({"schema": SCHEMA, "body": body, "sha256": digest})


def decode(content: bytes) -> Journal:
    """The journal in a file. Raises `StateError`."""
    fields = load_json(content, length_max=FILE_BYTES_MAX, refusal=Refusal(StateError, FILE))
    fields.integer("schema", SCHEMA, SCHEMA)
    body = fields.table("body")
    if hashlib.sha256(encode_json(body.raw)).hexdigest() != fields.sha256("sha256"):
        fields.refuse("sha256", "the file has changed since it was written")
    fields.done()
    installed = body.table("installed")
    slots: tuple[SlotName, ...] = ("a", "b")
    deferred = body.text("deferred_until")
    journal = Journal(
        update=_update(body.table("update")) if body.raw.get("update") is not None else None,
        reports=tuple(report_fields(row) for row in body.tables("reports")),
        installed={slot: _installed(installed.table(slot)) for slot in slots if slot in installed},
        history=tuple(_tried(row) for row in body.tables("history")),
        deferred_until=body.time("deferred_until") if deferred else None,
        chips=records_fields(body, "chips"),
        withdrawn_in=body.text("withdrawn_in", ""),  # older journals have none
    )
    installed.done()
    return journal


def _installed(fields: Fields) -> Installed:
    images = fields.table("images") if "images" in fields else None  # older journals have none
    return Installed(
        release=fields.text("release"),
        counter=fields.integer("counter", 0),
        images={part: images.sha256(part) for part in images.raw} if images else {},
        chips=firmwares_fields(fields, "chips"),
    )


def _tried(fields: Fields) -> Tried:
    return Tried(
        rollout=fields.text("rollout"),
        reissue=fields.integer("reissue", 0),
        release=fields.text("release"),
        counter=fields.integer("counter", 0),
        state=State(fields.choice("state", *State)),
        code=fields.text("code"),
        detail=fields.text("detail"),
        at=fields.time("at"),
    )


def _update(fields: Fields) -> Update:
    return Update(
        id=fields.text("id"),
        rollout=fields.text("rollout"),
        reissue=fields.integer("reissue", 0),
        release=fields.text("release"),
        counter=fields.integer("counter", 0),
        state=State(fields.choice("state", *State)),
        target="a" if fields.choice("target", "a", "b") == "a" else "b",
        manifest_sha256=fields.text("manifest_sha256"),
        installations=tuple(_installation(row) for row in fields.tables("installations")),
        attempts=fields.integer("attempts", 0),
        failures=fields.integer("failures", 0),
        boot_id=fields.text("boot_id"),
        code=fields.text("code"),
        detail=fields.text("detail"),
        fetched_bytes=fields.integer("fetched_bytes", 0),
        written_bytes=fields.integer("written_bytes", 0),
        chips=tuple(_chip(row) for row in fields.tables("chips")) if "chips" in fields else (),
        security=fields.boolean("security", default=False),  # older journals lack these three
        consented=fields.boolean("consented", default=False),
        held=fields.text("held", ""),
    )


def _chip(fields: Fields) -> ChipInstallation:
    firmware = firmware_fields(fields, "firmware")
    if firmware is None:
        fields.refuse("firmware", "an image was expected")
    there = fields.raw.get("installation") is not None
    return ChipInstallation(
        chip=fields.name("chip"),
        firmware=firmware,
        installation=_installation(fields.table("installation")) if there else None,
    )


def _installation(fields: Fields) -> Installation:
    return Installation(
        part=fields.name("part"),
        length_bytes=fields.integer("length_bytes", 1),
        sha256=fields.sha256("sha256"),
        payload=_payload(fields.table("payload")),
        delta=_payload(fields.table("delta")) if fields.raw.get("delta") is not None else None,
        windows_sha256=fields.text("windows_sha256", ""),  # older journals have no such key
    )


def _payload(fields: Fields) -> Payload:
    return Payload(
        kind=fields.name("kind"),
        blob=fields.sha256("blob"),
        length_bytes=fields.integer("length_bytes", 1),
        index_bytes=fields.integer("index_bytes", 1),
        index_sha256=fields.sha256("index_sha256"),
        base_sha256=fields.text("base_sha256", ""),
        base_bytes=fields.integer("base_bytes", 0, default=0),
        encryption=None
        if fields.raw.get("encryption") is None  # older journals have no such key
        else encryption_fields(fields.table("encryption")),
    )
