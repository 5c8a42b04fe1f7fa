"""The floor: the highest versions ever trusted here, and the latest date known to be past.

python-tuf remembers versions only in files that it does not make durable; a torn one erases its
protection against rollback. So the floor is kept on its own, in two copies against rotten bits. A role's
floor, and the date, hold only while the keys behind them are the same, because a rotation is how a fleet
recovers from a stolen key that raised them for good. Root's floor holds for ever: root says which keys are
the role's, so an old one would undo all others, and its version can only be raised one by one.
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
SPARE: Final = "floor.spare.json"
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
    """What may never go down. `time_keys` are those of the timestamp role that vouches for `time`."""

    roles: Mapping[str, RoleFloor] = field(default_factory=dict)
    counter: int = 0
    time: datetime = BUILT
    time_keys: tuple[str, ...] = ()


def now(floor: Floor, wall: WallTime, keys: tuple[str, ...] | None = None) -> datetime:
    """The date to judge expiry by: never before what is known to be past.

    `keys` are those of the timestamp role in the newest root, once that is known: when they are others
    than those that vouched for the floor's date, what they said may have been a thief's word.
    """
    rotated = keys is not None and floor.time_keys not in ((), keys)
    return max(wall.utc, BUILT if rotated else floor.time)


def raise_roles(floor: Floor, seen: Mapping[str, RoleFloor], time: datetime) -> Floor:
    """The floor after trusting these versions. Raises `RollbackError` if one is below it."""
    for role, found in seen.items():
        known = floor.roles.get(role)
        bound = known is not None and (role == "root" or known.keys == found.keys)
        if known is not None and bound and found.version < known.version:
            raise RollbackError(
                f"{role}: version {known.version} or higher was expected, {found.version} found; "
                "the repository or a mirror serves an older state than this device has seen"
            )
    keys = seen["timestamp"].keys if "timestamp" in seen else floor.time_keys
    past = floor.time if floor.time_keys in ((), keys) else BUILT
    return replace(floor, roles={**floor.roles, **seen}, time=max(past, time), time_keys=keys)


def raise_counter(floor: Floor, counter: int) -> Floor:
    """The floor after confirming a release."""
    return replace(floor, counter=max(floor.counter, counter))


def load(files: Files) -> Floor:
    """The floor; the lowest one when there is none. Raises `StateError` when it cannot be read.

    The spare copy stands in for a file that is lost or rotten, or that the medium does not give back.
    """
    lost: StateError | None = None
    try:
        content = files.read(FILE)
        if content is not None:
            return _decode(content)
    except StateError as error:
        lost = error
    spare = files.read(SPARE)
    if spare is not None:
        return _decode(spare)
    if lost is not None:
        raise lost
    return Floor()


def _decode(content: bytes) -> Floor:
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
        time_keys=body.texts("time_keys"),
    )


def _role(fields: Fields) -> RoleFloor:
    return RoleFloor(keys=fields.texts("keys"), version=fields.integer("version", 0))


def store(files: Files, floor: Floor) -> None:
    """Make the floor durable; a cut leaves the one before or this one, or this one without its spare."""
    body = {
        "roles": {role: asdict(one) for role, one in sorted(floor.roles.items())},
        "counter": floor.counter,
        "time": format_time(floor.time),
        "time_keys": list(floor.time_keys),
    }
    digest = hashlib.sha256(encode_json(body)).hexdigest()
    content = encode_json({"schema": SCHEMA, "body": body, "sha256": digest})
    files.replace(FILE, content)
    files.replace(SPARE, content)
