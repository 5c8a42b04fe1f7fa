"""The floor: the highest versions ever trusted here, and the latest date known to be past.

python-tuf remembers versions only in files that it does not make durable; a torn one erases its
protection against rollback. So the floor is kept on its own. A role's floor holds only while its keys
are the same, because a rotation is how a fleet recovers from a stolen key that raised a version for good.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Final

from agent.errors import RollbackError, StateError
from agent.interfaces import Files, WallTime
from agent.strict import Fields, Refusal, encode_json, format_time, load_json

SCHEMA: Final = 1
FILE: Final = "floor.json"
FILE_BYTES_MAX: Final = 64 * 1024
BUILT: Final = datetime(2026, 11, 1, tzinfo=UTC)
"""No date before this can be now: the agent itself did not exist."""


@dataclass(frozen=True, slots=True)
class RoleFloor:
    """The highest version of one role, and the ids of the keys that signed for it then."""

    keys: tuple[str, ...]
    version: int


@dataclass(frozen=True, slots=True)
class Floor:
    """What may never go down."""

    roles: Mapping[str, RoleFloor] = field(default_factory=dict)
    counter: int = 0
    time: datetime = BUILT


def now(floor: Floor, wall: WallTime) -> datetime:
    """The date to judge expiry by: never before what is known to be past."""
    return max(wall.utc, floor.time)


def raise_roles(floor: Floor, seen: Mapping[str, RoleFloor], time: datetime) -> Floor:
    """The floor after trusting these versions. Raises `RollbackError` if one is below it."""
    for role, found in seen.items():
        known = floor.roles.get(role)
        if known is not None and known.keys == found.keys and found.version < known.version:
            raise RollbackError(
                f"{role}: version {known.version} or higher was expected, {found.version} found; "
                "the repository or a mirror serves an older state than this device has seen"
            )
    return replace(floor, roles={**floor.roles, **seen}, time=max(floor.time, time))


def raise_counter(floor: Floor, counter: int) -> Floor:
    """The floor after confirming a release."""
    return replace(floor, counter=max(floor.counter, counter))


def load(files: Files) -> Floor:
    """The floor; the lowest one when there is none. Raises `StateError` when it cannot be read."""
    content = files.read(FILE)
    if content is None:
        return Floor()
    fields = load_json(content, length_max=FILE_BYTES_MAX, refusal=Refusal(StateError, FILE))
    fields.integer("schema", SCHEMA, SCHEMA)
    body = fields.table("body")
    if hashlib.sha256(encode_json(body.raw)).hexdigest() != fields.sha256("sha256"):
        fields.refuse("sha256", "the file has changed since it was written; see `lockgate doctor`")
    roles = body.table("roles")
    return Floor(
        roles={role: _role(roles.table(role)) for role in roles.keys()},  # noqa: SIM118  # not a mapping
        counter=body.integer("counter", 0),
        time=body.time("time"),
    )


def _role(fields: Fields) -> RoleFloor:
    return RoleFloor(keys=fields.texts("keys"), version=fields.integer("version", 0))


def store(files: Files, floor: Floor) -> None:
    """Make the floor durable; a cut leaves the one before or this one."""
    body = {
        "roles": {role: asdict(one) for role, one in sorted(floor.roles.items())},
        "counter": floor.counter,
        "time": format_time(floor.time),
    }
    digest = hashlib.sha256(encode_json(body)).hexdigest()
    files.replace(FILE, encode_json({"schema": SCHEMA, "body": body, "sha256": digest}))
