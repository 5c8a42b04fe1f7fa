"""The date on a board that nobody tells it: the last signed one, and the time that has passed since. Pure.

Without a battery and network time a board knows only the floor's date, which stands still until newer
metadata is signed; a phase or a window that opens in between would never open. So what the monotonic clock
has counted since that date was read is added, for at most `PASSED_MAX` after each newer signed date. The
floor itself stays as it was signed: a clock that runs wild must not make metadata look expired for ever.

    {"schema": 1, "body": {"boot_id": TEXT, "read_s": N, "signed": DATE, "past": DATE}, "sha256": HEX}
"""

import hashlib
import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from agent.errors import StateError
from agent.interfaces import Files
from agent.strict import Refusal, encode_json, format_time, load_json

SCHEMA: Final = 1
FILE: Final = "date.json"
FILE_BYTES_MAX: Final = 4096
PASSED_MAX: Final = timedelta(days=30)
"""For so long without a newer signed date the monotonic clock is believed."""
LAST_DATE: Final = datetime.max.replace(microsecond=0, tzinfo=UTC)
MONOTONIC_S_MAX: Final = 2**40


@dataclass(frozen=True, slots=True)
class Reading:
    """At `read_s` of the monotonic clock of this boot `past` was over; `signed` was the floor's date."""

    boot_id: str
    read_s: int
    signed: datetime
    past: datetime


def noted(known: Reading | None, signed: datetime, boot_id: str, monotonic_s: float) -> Reading:
    """The reading that counts now; the known one when it does so still.

    A date lower than before means that the keys behind it were replaced: what they said is forgotten.
    """
    if known is not None and known.boot_id == boot_id and known.signed == signed:
        return known
    past = date_of(known, signed, boot_id, monotonic_s)
    return Reading(boot_id, math.ceil(monotonic_s), signed, past)


def date_of(known: Reading | None, signed: datetime, boot_id: str, monotonic_s: float) -> datetime:
    """The latest date known to be past, given the floor's date."""
    if known is None or known.boot_id != boot_id or signed < known.signed:
        return signed
    passed = timedelta(seconds=max(0.0, monotonic_s - known.read_s))
    return max(signed, known.past + min(passed, PASSED_MAX, LAST_DATE - known.past))


def load(files: Files) -> Reading | None:
    """The reading, None when there is none that can be read: then the date only stands still."""
    try:
        content = files.read(FILE)
        return None if content is None else _decode(content)
    except StateError:
        return None


def store(files: Files, reading: Reading) -> None:
    """Make it durable; a cut leaves the one before, of which the boot is over. Raises `StateError`."""
    body = {
        "boot_id": reading.boot_id,
        "read_s": reading.read_s,
        "signed": format_time(reading.signed),
        "past": format_time(reading.past),
    }
    digest = hashlib.sha256(encode_json(body)).hexdigest()
    files.replace(FILE, encode_json({"schema": SCHEMA, "body": body, "sha256": digest}))


def _decode(content: bytes) -> Reading:
    fields = load_json(content, length_max=FILE_BYTES_MAX, refusal=Refusal(StateError, FILE))
    fields.integer("schema", SCHEMA, SCHEMA)
    body = fields.table("body")
    if hashlib.sha256(encode_json(body.raw)).hexdigest() != fields.sha256("sha256"):
        fields.refuse("sha256", "the file has changed since it was written")
    return Reading(
        boot_id=body.text("boot_id", length_max=64),
        read_s=body.integer("read_s", 0, MONOTONIC_S_MAX),
        signed=body.time("signed"),
        past=body.time("past"),
    )
