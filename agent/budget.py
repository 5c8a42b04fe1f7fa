"""How much this device has fetched today and for its update: counted durably, and never too little.

    budget.json   {"schema": 1, "day": "2026-11-21", "day_bytes": N, "update": ID, "update_bytes": N}

What will be fetched of payloads is counted before it is: `GRANT_BYTES` at a time, or a whole record where
that is more. A power cut leaves a count that is too high by what was granted and not fetched. Metadata is
counted when it has come: a cut leaves a count that is too low by less than `NOTE_BYTES`.
"""

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Final, Protocol

from agent.errors import BudgetError, StateError, UpdateBudgetError
from agent.interfaces import Files, WallTime
from agent.limits import LimitSettings
from agent.payload import WINDOW_BYTES
from agent.strict import INTEGER_MAX, Fields, Refusal, encode_json, load_json

SCHEMA: Final = 1
FILE: Final = "budget.json"
FILE_BYTES_MAX: Final = 4096
GRANT_BYTES: Final = WINDOW_BYTES
DAY_S: Final = 86_400.0
NOTE_BYTES: Final = 16 * 1024
"""At most so much of metadata is not counted yet when the power fails."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What is durable; `day` is a date of UTC."""

    day: str = ""
    day_bytes: int = 0
    update: str = ""
    update_bytes: int = 0


class Dates(Protocol):
    """Who knows the date."""

    def wall(self) -> WallTime:
        """The date, and whether anyone vouches for it."""
        ...


def load(files: Files) -> Spent | None:
    """What was spent; None when the file cannot be read."""
    try:
        content = files.read(FILE)
        if content is None:
            return Spent()
        fields = load_json(content, length_max=FILE_BYTES_MAX, refusal=Refusal(StateError, FILE))
        fields.integer("schema", SCHEMA, SCHEMA)
        spent = Spent(
            day=_day(fields),
            day_bytes=fields.integer("day_bytes", 0),
            update=fields.text("update"),
            update_bytes=fields.integer("update_bytes", 0),
        )
        fields.done()
    except StateError:
        return None
    return spent


def _day(fields: Fields) -> str:
    """A date as `on_day` compares them; empty before anything was counted."""
    day = fields.text("day", length_max=10)
    try:
        known = not day or date.fromisoformat(day).isoformat() == day
    except ValueError:
        known = False
    if not known:
        fields.refuse("day", "a date like 2026-11-21 was expected")
    return day


def on_day(spent: Spent, today: str, *, vouched: bool) -> Spent:
    """The count as it stands on this date.

    A later day begins at nothing. A date that goes back keeps the count, or a clock that is wrong after
    each boot would give a new day's worth to each; it is believed only when somebody vouches for it.
    """
    if today > spent.day:
        return replace(spent, day=today, day_bytes=0)
    return replace(spent, day=today) if vouched else spent


class Budget:
    """The count of one device. Raises `BudgetError`, `UpdateBudgetError`, `StateError`."""

    def __init__(self, files: Files, dates: Dates, settings: LimitSettings) -> None:
        self._files = files
        self._dates = dates
        self._settings = settings
        self._spent: Spent | None = None
        self._idle = 0
        self._noted = 0

    @property
    def counts(self) -> bool:
        """Whether there is any reason to count."""
        return bool(self._settings.day_bytes_max or self._settings.update_bytes_max)

    def begin(self, update: str) -> None:
        """From here on it is for this update."""
        spent = self._today()
        if spent.update != update:
            self._spent = replace(spent, update=update, update_bytes=0)

    def grant(self, wanted_bytes: int) -> int:
        """How many bytes may be fetched now, at least as many as are wanted; counted durably on return."""
        if not self.counts:
            return max(wanted_bytes, GRANT_BYTES)
        spent = self._today()
        if self._idle < wanted_bytes:
            missing = wanted_bytes - self._idle
            self._check(spent, missing, wanted_bytes)
            more = max(missing, min(self._room(spent), GRANT_BYTES - self._idle))
            self._store(_moved(spent, more))
            self._idle += more
        granted, self._idle = self._idle, 0
        return granted

    def give_back(self, unused_bytes: int) -> None:
        """So many of the granted bytes were not fetched; they go to whoever asks next, that day."""
        day = self._spent.day if self._spent else ""
        if self.counts and self._today().day == day:
            self._idle += unused_bytes

    def note(self, fetched_bytes: int) -> None:
        """So many bytes were fetched of what nothing may hold up: metadata says what must stop."""
        if self.counts:
            self._noted += fetched_bytes
            if self._noted >= NOTE_BYTES:
                self.settle()

    def settle(self) -> None:
        """Count what was noted, give back what was granted and not used; durable on return."""
        if self._noted or self._idle:
            spent = self._today()
            self._store(_moved(spent, self._noted - self._idle))
        self._noted = self._idle = 0

    def _room(self, spent: Spent) -> int:
        """How much may still be granted."""
        day, update = self._settings.day_bytes_max, self._settings.update_bytes_max
        rooms = [INTEGER_MAX]
        rooms += [day - spent.day_bytes] if day else []
        rooms += [update - spent.update_bytes] if update else []
        return max(0, min(rooms))

    def _check(self, spent: Spent, missing: int, wanted: int) -> None:
        day, update = self._settings.day_bytes_max, self._settings.update_bytes_max
        if update and spent.update_bytes + missing > update:
            raise UpdateBudgetError(
                f"limits.update_bytes_max: at most {update} bytes were expected for one update, "
                "it needs more; allow more, or release a smaller delta"
            )
        if day and wanted > day:
            raise UpdateBudgetError(
                f"limits.day_bytes_max: {day} bytes a day are too few for one record of {wanted}; "
                "allow more"
            )
        if day and spent.day_bytes + missing > day:
            raise BudgetError(
                f"limits.day_bytes_max: the {day} bytes of {spent.day} are spent; it goes on the day "
                "after",
                again_s=self._until_tomorrow_s(spent.day),
            )

    def _until_tomorrow_s(self, day: str) -> float:
        """From now to the end of the day that is counted, which may be later than the clock's."""
        now = self._dates.wall().utc
        begun = datetime.fromisoformat(day).replace(tzinfo=UTC)
        left_s = (begun - now).total_seconds() + DAY_S  # the last day of all has none after it
        return min(max(left_s, 1.0), DAY_S)

    def _today(self) -> Spent:
        """What is spent of the day that it is now."""
        wall = self._dates.wall()
        today = wall.utc.astimezone(UTC).date().isoformat()
        spent = self._spent or load(self._files)
        if spent is None:  # nobody knows any more: as if all of today's were spent
            spent = Spent(day=today, day_bytes=self._settings.day_bytes_max)
        now = on_day(spent, today, vouched=wall.synchronised)
        if now.day != spent.day:
            self._idle = 0  # it was counted on a day that is over
        self._spent = now
        return now

    def _store(self, spent: Spent) -> None:
        document = {
            "schema": SCHEMA,
            "day": spent.day,
            "day_bytes": spent.day_bytes,
            "update": spent.update,
            "update_bytes": spent.update_bytes,
        }
        self._files.replace(FILE, encode_json(document))
        self._spent = spent


def _moved(spent: Spent, by_bytes: int) -> Spent:
    update = spent.update_bytes + by_bytes if spent.update else spent.update_bytes
    return replace(spent, day_bytes=max(0, spent.day_bytes + by_bytes), update_bytes=max(0, update))
