"""The signed rollouts and halts: who gets which release when. Pure.

`rollouts/FLEET.json`, signed by a threshold of the people who approve:

    {"schema": 1, "fleet": NAME, "rollouts": [
        {"id": NAME, "release": NAME, "counter": N, "state": "active" | "paused" | "finished",
         "reissue": N, "failures_max": N,
         "audience": {"hardware_ids": [TEXT], "devices": [NAME]},
         "phases": [{"share": 0..10000, "not_before": DATE}],
         "window": {"start_minute": 0..1439, "length_minutes": 1..1440}}]}

Empty lists in an audience mean everyone; `window`, in UTC, may be missing. `share` is in hundredths of a
per cent. `halts/FLEET.json`, signed by one online key:

    {"schema": 1, "fleet": NAME, "halts": [{"rollout": NAME, "reissue": N, "reason": TEXT, "at": DATE}]}

A halt names the issue of the rollout that it stops, so that a re-issue after a repair is not stopped.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from agent.errors import TrustError
from agent.strict import Fields, Refusal, encode_json, format_time, load_json

SCHEMA: Final = 1
DOCUMENT_BYTES_MAX: Final = 1024 * 1024
BUCKETS: Final = 10_000


class RolloutState(StrEnum):
    """What the people who approve want of a rollout."""

    ACTIVE = "active"
    PAUSED = "paused"
    FINISHED = "finished"


@dataclass(frozen=True, slots=True)
class Phase:
    """From this date on, devices whose bucket is below `share` may take the release."""

    share: int
    not_before: datetime


@dataclass(frozen=True, slots=True)
class Window:
    """The part of each UTC day in which devices may install and reboot."""

    start_minute: int
    length_minutes: int


@dataclass(frozen=True, slots=True)
class Audience:
    """Which devices a rollout is for; an empty tuple leaves the choice open."""

    hardware_ids: tuple[str, ...]
    devices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rollout:
    """One release for one audience, in phases. `failures_max` is what the fleet tolerates."""

    id: str
    release: str
    counter: int
    state: RolloutState
    reissue: int
    failures_max: int
    audience: Audience
    phases: tuple[Phase, ...]
    window: Window | None


@dataclass(frozen=True, slots=True)
class Rollouts:
    """All the rollouts of a fleet, oldest first."""

    fleet: str
    rollouts: tuple[Rollout, ...]


@dataclass(frozen=True, slots=True)
class Halt:
    """One issue of a rollout must stop: no device begins it or goes on with it."""

    rollout: str
    reissue: int
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Halts:
    """All the halts of a fleet."""

    fleet: str
    halts: tuple[Halt, ...]


def rollouts_path(fleet: str) -> str:
    """The TUF target that holds a fleet's rollouts."""
    return f"rollouts/{fleet}.json"


def halts_path(fleet: str) -> str:
    """The TUF target that holds a fleet's halts."""
    return f"halts/{fleet}.json"


def bucket(rollout_id: str, device_id: str) -> int:
    """The device's place in this rollout, 0 to 9,999: other devices are canaries each time."""
    digest = hashlib.sha256(f"{rollout_id}\n{device_id}".encode()).digest()
    return int.from_bytes(digest, "big") % BUCKETS


def parse_rollouts(content: bytes, fleet: str) -> Rollouts:
    """The rollouts in a document whose signature has been verified. Raises `TrustError`."""
    fields = _open(content, "rollouts", fleet)
    rollouts = tuple(_rollout(row) for row in fields.tables("rollouts"))
    fields.done()
    if len({rollout.id for rollout in rollouts}) != len(rollouts):
        fields.refuse("rollouts", "two rollouts have the same id")
    return Rollouts(fleet=fleet, rollouts=rollouts)


def parse_halts(content: bytes, fleet: str) -> Halts:
    """The halts in a document whose signature has been verified. Raises `TrustError`."""
    fields = _open(content, "halts", fleet)
    halts = tuple(_halt(row) for row in fields.tables("halts", length_max=10_000))
    fields.done()
    return Halts(fleet=fleet, halts=halts)


def _open(content: bytes, source: str, fleet: str) -> Fields:
    refusal = Refusal(TrustError, source)
    fields = load_json(content, length_max=DOCUMENT_BYTES_MAX, refusal=refusal)
    fields.integer("schema", SCHEMA, SCHEMA)
    if fields.name("fleet") != fleet:
        fields.refuse("fleet", f"{fleet!r} was expected; this document is for another fleet")
    return fields


def _rollout(fields: Fields) -> Rollout:
    audience = fields.table("audience")
    rollout = Rollout(
        id=fields.name("id"),
        release=fields.name("release"),
        counter=fields.integer("counter", 1),
        state=RolloutState(fields.choice("state", *RolloutState)),
        reissue=fields.integer("reissue", 0),
        failures_max=fields.integer("failures_max", 0),
        audience=Audience(
            hardware_ids=audience.texts("hardware_ids"), devices=audience.texts("devices")
        ),
        phases=tuple(_phase(row) for row in fields.tables("phases", length_max=100)),
        window=_window(fields.table("window")) if "window" in fields else None,
    )
    audience.done()
    fields.done()
    return rollout


def _phase(fields: Fields) -> Phase:
    phase = Phase(share=fields.integer("share", 0, BUCKETS), not_before=fields.time("not_before"))
    fields.done()
    return phase


def _window(fields: Fields) -> Window:
    window = Window(
        start_minute=fields.integer("start_minute", 0, 1439),
        length_minutes=fields.integer("length_minutes", 1, 1440),
    )
    fields.done()
    return window


def _halt(fields: Fields) -> Halt:
    halt = Halt(
        rollout=fields.name("rollout"),
        reissue=fields.integer("reissue", 0),
        reason=fields.text("reason"),
        at=fields.time("at"),
    )
    fields.done()
    return halt


def encode_rollouts(rollouts: Rollouts) -> bytes:
    """The document of a fleet's rollouts; `parse_rollouts` reads it back."""
    return encode_json(
        {
            "schema": SCHEMA,
            "fleet": rollouts.fleet,
            "rollouts": [_rollout_document(rollout) for rollout in rollouts.rollouts],
        }
    )


def _rollout_document(rollout: Rollout) -> dict[str, object]:
    document: dict[str, object] = {
        "id": rollout.id,
        "release": rollout.release,
        "counter": rollout.counter,
        "state": rollout.state,
        "reissue": rollout.reissue,
        "failures_max": rollout.failures_max,
        "audience": {
            "hardware_ids": list(rollout.audience.hardware_ids),
            "devices": list(rollout.audience.devices),
        },
        "phases": [
            {"share": phase.share, "not_before": format_time(phase.not_before)}
            for phase in rollout.phases
        ],
    }
    if rollout.window is not None:
        document["window"] = {
            "start_minute": rollout.window.start_minute,
            "length_minutes": rollout.window.length_minutes,
        }
    return document


def encode_halts(halts: Halts) -> bytes:
    """The document of a fleet's halts; `parse_halts` reads it back."""
    return encode_json(
        {
            "schema": SCHEMA,
            "fleet": halts.fleet,
            "halts": [
                {
                    "rollout": halt.rollout,
                    "reissue": halt.reissue,
                    "reason": halt.reason,
                    "at": format_time(halt.at),
                }
                for halt in halts.halts
            ],
        }
    )
