"""What a device may have to remember, made small: one of each, and a file of each."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from agent.floor import Floor, RoleFloor
from agent.journal import Installed, Journal, Tried
from agent.release import Image, Payload, Release
from agent.report import Outcome, Report
from agent.rollout import (
    Audience,
    Halt,
    Halts,
    Phase,
    Rollout,
    Rollouts,
    RolloutState,
    Window,
)
from agent.update import Installation, State, Update

NOON: Final = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
PAYLOAD: Final = Payload("full", "ab" * 32, 5000, 96, "cd" * 32)
UPDATE: Final = Update(
    id="spring/0/2026.2",
    rollout="spring",
    reissue=0,
    release="2026.2",
    counter=2,
    state=State.INSTALLED,
    target="b",
    manifest_sha256="ef" * 32,
    installations=(Installation("root", 8192, "12" * 32, PAYLOAD, windows_sha256="56" * 32),),
    attempts=1,
    failures=2,
    boot_id="boot-1",
    code="fetch",
    detail="the network went away",
    fetched_bytes=4000,
    written_bytes=8192,
)
REPORT: Final = Report(
    id="a1" * 16,
    device="pump-7",
    fleet="water",
    outcome=Outcome.CONFIRMED,
    code="ok",
    detail="",
    update="spring/0/2026.2",
    rollout="spring",
    reissue=0,
    release="2026.2",
    counter=2,
    slot="b",
    attempts=1,
    fetched_bytes=4000,
    written_bytes=8192,
    at=NOON,
    time="synchronised",
    agent="0.1.0",
)
ALARM: Final = replace(REPORT, outcome=Outcome.REFUSED, code="trust", update="", rollout="")
TRIED: Final = Tried("winter", 3, "2026.1", 1, State.REVERTED, "unhealthy", "no network", NOON)
JOURNAL: Final = Journal(
    update=UPDATE,
    reports=(REPORT, replace(ALARM, id="b2" * 16)),
    installed={"a": Installed("2026.1", 1), "b": Installed("2025.9", 0)},
    history=(TRIED, replace(TRIED, reissue=4, state=State.FAILED)),
    deferred_until=NOON,
)
FLOOR: Final = Floor(
    roles={
        "root": RoleFloor(("k1", "k2"), 3),
        "timestamp": RoleFloor(("k3",), 900),
        "halts": RoleFloor(("k4",), 12),
    },
    counter=7,
    time=NOON,
    time_keys=("k3",),
)
IMAGE: Final = Image("rpi4", "slots", "root", 8192, "12" * 32, (PAYLOAD,), windows_sha256="56" * 32)
RELEASE: Final = Release("2026.2", 2, "security", NOON, "mends the pump", (IMAGE,))
ROLLOUT: Final = Rollout(
    id="spring",
    release="2026.2",
    counter=2,
    state=RolloutState.ACTIVE,
    reissue=1,
    failures_max=3,
    audience=Audience(("rpi4",), ("pump-7",)),
    phases=(Phase(100, NOON), Phase(10_000, NOON)),
    window=Window(60, 120),
)
ROLLOUTS: Final = Rollouts("water", (ROLLOUT, replace(ROLLOUT, id="summer", window=None)))
HALTS: Final = Halts("water", (Halt("spring", 1, "smoke", NOON),))
