"""What the last check saw, so that the next one can be short when nothing has changed. Pure.

Bytes that are identical to those that were verified are as good as verified: while the repository has no
newer root and its timestamp is the one that python-tuf accepted last, every signed document is the one that
was decided upon. So the same decision stands, until a date comes that it, or a signature, depends on.
Anything else, an error included, calls for a whole check.
"""

import hashlib
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from agent.errors import NotFoundError
from agent.strict import Fields, format_time

if TYPE_CHECKING:  # a glance has no time for all of the seams
    from agent.interfaces import Files, Repository

TIMESTAMP: Final = "metadata/timestamp.json"
JOURNAL: Final = "journal.json"
REQUEST: Final = "request.json"
ROOT_BYTES_MAX: Final = 131_072
TIMESTAMP_BYTES_MAX: Final = 16_384


class Looked(NamedTuple):
    """One check: its date, the first version of root that was not there, and how long it holds.

    Something signed expires at `expires`; the decision may be another one at `until`, if that is known.
    """

    seen_at: datetime
    next_root: int
    expires: datetime
    until: datetime | None

    def holds_at(self, now: datetime) -> bool:
        """Whether no date has come meanwhile that matters."""
        return self.seen_at <= now < self.expires and (self.until is None or now < self.until)


class Outlook(NamedTuple):
    """A decision that there is nothing to do now, and what it rests on.

    Hashes are SHA-256; `journal` is that of the journal, which a decision depends on as well.
    """

    timestamp: str
    journal: str
    looked: Looked


def digest(content: bytes | None) -> str:
    """The SHA-256 of a file, also of one that is not there."""
    return hashlib.sha256(content or b"").hexdigest()


def is_untouched(outlook: Outlook, files: "Files") -> bool:
    """Whether nobody at the device has asked for anything, or changed what is remembered."""
    if files.read(REQUEST) is not None:
        return False
    return digest(files.read(JOURNAL)) == outlook.journal


def still_holds(outlook: Outlook, files: "Files", repository: "Repository", now: datetime) -> bool:
    """Whether a check now would see what the last one saw. Raises `FetchError`, `StateError`."""
    trusted = files.read(TIMESTAMP)
    if digest(trusted) != outlook.timestamp or not outlook.looked.holds_at(now):
        return False
    try:
        _fetch(repository, f"metadata/{outlook.looked.next_root}.root.json", ROOT_BYTES_MAX)
    except NotFoundError:
        return _fetch(repository, TIMESTAMP, TIMESTAMP_BYTES_MAX) == trusted
    return False


def _fetch(repository: "Repository", path: str, length_max: int) -> bytes:
    stream = repository.open(path, 0, length_max + 1)
    try:
        parts: list[bytes] = []
        left = length_max + 1
        while left > 0 and (part := stream.read(left)):
            parts.append(part)
            left -= len(part)
        return b"".join(parts)
    finally:
        stream.close()


def outlook_document(outlook: Outlook | None) -> dict[str, object] | None:
    """For a JSON object."""
    if outlook is None:
        return None
    looked = outlook.looked
    return {
        "timestamp": outlook.timestamp,
        "journal": outlook.journal,
        "seen_at": format_time(looked.seen_at),
        "next_root": looked.next_root,
        "expires": format_time(looked.expires),
        "until": None if looked.until is None else format_time(looked.until),
    }


def outlook_fields(fields: Fields, key: str) -> Outlook | None:
    """From a JSON object."""
    if fields.raw.get(key) is None:
        return None
    table = fields.table(key)
    until = None if table.raw.get("until") is None else table.time("until")
    looked = Looked(
        seen_at=table.time("seen_at"),
        next_root=table.integer("next_root", 1),
        expires=table.time("expires"),
        until=until,
    )
    return Outlook(table.sha256("timestamp"), table.sha256("journal"), looked)
