"""Reads JSON and tables as strictly as they are signed: what is not expected is refused.

Python's own reader takes duplicate keys, NaN, integers of any length, byte-order marks and nesting
until the stack ends. None of that reaches anything that decides.
"""

import json
import re
import reprlib
import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, NoReturn

from agent.errors import UpdateError

DEPTH_MAX: Final = 32
INTEGER_MAX: Final = 2**53 - 1
NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")
SHA256: Final = re.compile(r"[0-9a-f]{64}")
STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
"""A string, or what never became one: each byte is looked at once, however the quotes are set."""
SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
BRACKET: Final = re.compile(rb"[\[\]{}]")
TIME_FORMAT: Final = "%Y-%m-%dT%H:%M:%SZ"
TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}Z"  # 24 is an hour of ISO 8601
)


def format_time(time: datetime) -> str:
    """A date as it is written in every signed or published document: UTC, whole seconds."""
    whole = time.astimezone(UTC).replace(microsecond=0, tzinfo=None)
    return f"{whole.isoformat()}Z"  # strftime leaves years before 1000 short, and unreadable


def encode_json(document: Mapping[str, object]) -> bytes:
    """The one way in which the product's own documents are written: sorted, compact, UTF-8."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode() + b"\n"


class Refusal:
    """What to raise, and the name of what is being read, for every sentence about it."""

    def __init__(self, kind: type[UpdateError], source: str) -> None:
        self._kind = kind
        self._source = source

    def raise_it(self, where: str, sentence: str) -> NoReturn:
        """Raise with the source, the key and what was expected."""
        place = f"{self._source}: {where}: " if where else f"{self._source}: "
        raise self._kind(place + sentence)


def load_toml(content: bytes, *, length_max: int, refusal: Refusal) -> "Fields":
    """The table in a TOML file of at most `length_max` bytes, or the refusal."""
    if len(content) > length_max:
        refusal.raise_it("", f"at most {length_max} bytes were expected, {len(content)} found")
    try:
        table = tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:  # also numbers and nesting without end
        refusal.raise_it("", f"not the TOML that was expected: {error}")
    return Fields(table, refusal)


def load_json(content: bytes, *, length_max: int, refusal: Refusal) -> "Fields":
    """The object in a JSON document of at most `length_max` bytes, or the refusal."""
    if len(content) > length_max:
        refusal.raise_it("", f"at most {length_max} bytes were expected, {len(content)} found")
    if _depth(content) > DEPTH_MAX:  # before a recursive reader sees it
        refusal.raise_it("", f"nested more than {DEPTH_MAX} deep")
    try:
        document = json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_no_duplicates,
            parse_int=_small_integer,
            parse_float=_no_number,
            parse_constant=_no_number,
        )
        if SURROGATE.search(content):  # a lone one is no text: nothing could write it again
            json.dumps(document, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        refusal.raise_it("", f"not the strict JSON that was expected: {error}")
    if not isinstance(document, dict):
        refusal.raise_it("", f"a JSON object was expected, {type(document).__name__} found")
    return Fields(document, refusal)


def _depth(content: bytes) -> int:
    depth = deepest = 0
    for bracket in BRACKET.findall(STRING.sub(b"", content)):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _no_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return document


def _small_integer(digits: str) -> int:
    if len(digits) > 17 or abs(int(digits)) > INTEGER_MAX:
        raise ValueError("an integer is larger than 2^53")
    return int(digits)


def _shown(value: object) -> str:
    """A value for an error's sentence: short, however deep or long it is."""
    try:
        return reprlib.repr(value)
    except ValueError:  # Python refuses to write an integer of thousands of digits
        return "a number without end"


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"only integers are numbers here, {text[:20]} is not one")


class Fields:
    """One table whose keys are taken out one by one; `done` refuses what nobody asked for."""

    def __init__(self, table: Mapping[str, Any], refusal: Refusal, where: str = "") -> None:
        self._table = table
        self._refusal = refusal
        self._where = where
        self._taken: set[str] = set()

    def __contains__(self, key: str) -> bool:
        return key in self._table

    @property
    def raw(self) -> Mapping[str, Any]:
        """The table itself, for a checksum over it."""
        return self._table

    def refuse(self, key: str, sentence: str) -> NoReturn:
        """Raise the refusal for one key of this table."""
        self._refusal.raise_it(f"{self._where}{key}", sentence)

    def _take(self, key: str, kind: type, words: str) -> Any:  # noqa: ANN401  # where JSON enters
        self._taken.add(key)
        if key not in self._table:
            self.refuse(key, f"missing; {words} was expected")
        value = self._table[key]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            self.refuse(key, f"{words} was expected, {_shown(value)} found"[:200])
        return value

    def text(self, key: str, default: str | None = None, *, length_max: int = 1024) -> str:
        """A string without control characters."""
        if default is not None and key not in self._table:
            return default
        value: str = self._take(key, str, "a string")
        if len(value) > length_max or not value.isprintable():
            self.refuse(key, f"at most {length_max} printable characters were expected")
        return value

    def name(self, key: str) -> str:
        """A name that matches `[A-Za-z0-9._-]{1,128}` and is not `.` or `..`."""
        value = self.text(key)
        if not NAME.fullmatch(value) or value in (".", ".."):
            self.refuse(key, f"a name of letters, digits, . _ - was expected, {value!r} found")
        return value

    def choice(self, key: str, *choices: str) -> str:
        """One of these words."""
        value = self.text(key)
        if value not in choices:
            self.refuse(key, f"one of {', '.join(choices)} was expected, {value!r} found")
        return value

    def sha256(self, key: str) -> str:
        """A SHA-256 in 64 lower-case hexadecimal digits."""
        value = self.text(key)
        if not SHA256.fullmatch(value):
            self.refuse(key, f"64 hexadecimal digits were expected, {value[:80]!r} found")
        return value

    def integer(
        self, key: str, low: int, high: int = INTEGER_MAX, default: int | None = None
    ) -> int:
        """An integer between low and high, both included."""
        if default is not None and key not in self._table:
            return default
        value: int = self._take(key, int, "an integer")
        if not low <= value <= high:
            self.refuse(key, f"an integer from {low} to {high} was expected, {_shown(value)} found")
        return value

    def boolean(self, key: str, *, default: bool | None = None) -> bool:
        """True or false."""
        if default is not None and key not in self._table:
            return default
        value: bool = self._take(key, bool, "true or false")
        return value

    def time(self, key: str) -> datetime:
        """A date in UTC, as `2026-11-21T12:00:00Z`."""
        value = self.text(key)
        try:
            # All else that this reads as a date is refused, and the time of strptime is saved.
            return datetime.fromisoformat(value if TIME.fullmatch(value) else "")
        except ValueError:
            self.refuse(key, f"a date like 2026-11-21T12:00:00Z was expected, {value!r} found")

    def table(self, key: str) -> "Fields":
        """A table inside this one."""
        return self._inside(key, self._take(key, dict, "a table"))

    def tables(self, key: str, *, length_max: int = 1024) -> list["Fields"]:
        """A list of tables."""
        rows: list[Any] = self._take(key, list, "a list of tables")
        if len(rows) > length_max:
            self.refuse(key, f"at most {length_max} entries were expected, {len(rows)} found")
        for position, row in enumerate(rows):
            if not isinstance(row, dict):
                self.refuse(
                    f"{key}[{position}]", f"a table was expected, {_shown(row)} found"[:200]
                )
        return [self._inside(f"{key}[{position}]", row) for position, row in enumerate(rows)]

    def texts(self, key: str, *, length_max: int = 100_000) -> tuple[str, ...]:
        """A list of strings."""
        values: list[Any] = self._take(key, list, "a list of strings")
        if len(values) > length_max:
            self.refuse(key, f"at most {length_max} entries were expected, {len(values)} found")
        for value in values:
            if not isinstance(value, str) or not value.isprintable():
                self.refuse(key, f"a list of strings was expected, {_shown(value)} found"[:200])
        return tuple(values)

    def keys(self) -> tuple[str, ...]:
        """The keys, for a table whose keys are data; each must still be taken."""
        return tuple(self._table)

    def done(self) -> None:
        """Refuse a key that nobody took: it is a mistake, or from a newer schema."""
        for key in self._table:
            if key not in self._taken:
                known = ", ".join(sorted(self._taken))
                self.refuse(key, f"unknown key; known here are: {known}")

    def _inside(self, key: str, table: Mapping[str, Any]) -> "Fields":
        return Fields(table, self._refusal, f"{self._where}{key}.")
