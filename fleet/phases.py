"""Reads phases and windows as people write them, and predicts which device is in which phase. Pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

from agent.errors import ConfigError
from agent.rollout import BUCKETS, Phase, Rollout, Window, bucket
from agent.strict import NAME, TIME_FORMAT
from fleet.rollout import PhaseWish

PHASE: Final = re.compile(r"(?P<share>[0-9]{1,3}(\.[0-9]{1,2})?)%?(@(?P<begins>.+))?")
DELAY: Final = re.compile(r"\+(?P<number>[0-9]{1,7})(?P<unit>[smhd]?)")
UNIT_S: Final = {"s": 1, "": 60, "m": 60, "h": 3600, "d": 86400}
WINDOW: Final = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-3]):([0-5][0-9])")
DAY_MINUTES: Final = 24 * 60


def parse_phase(text: str) -> PhaseWish:
    """`5`, `25@+24h`, `50@+90` (minutes), `100@2026-12-01T00:00:00Z`. Raises `ConfigError`."""
    found = PHASE.fullmatch(text)
    if found is None:
        raise ConfigError(
            "--phase: PERCENT, PERCENT@+MINUTES or PERCENT@DATE was expected, as 5, 25@+24h or "
            f"100@2026-12-01T00:00:00Z; {text!r} found"
        )
    share = Decimal(found["share"]) * 100
    if share > BUCKETS:
        raise ConfigError(f"--phase: at most 100 per cent was expected, {text!r} found")
    return PhaseWish(int(share), _begins(found["begins"]))


def _begins(text: str | None) -> timedelta | datetime:
    if text is None:
        return timedelta()
    delay = DELAY.fullmatch(text)
    if delay is not None:
        return timedelta(seconds=int(delay["number"]) * UNIT_S[delay["unit"]])
    try:
        return datetime.strptime(text, TIME_FORMAT).replace(tzinfo=UTC)
    except ValueError as error:
        raise ConfigError(
            "--phase: +NUMBER with s, m, h or d, or a date like 2026-12-01T00:00:00Z was expected "
            f"after the @, {text!r} found"
        ) from error


def parse_window(text: str) -> Window:
    """`HH:MM-HH:MM` in UTC, over midnight if it must be. Raises `ConfigError`."""
    found = WINDOW.fullmatch(text)
    if found is None:
        raise ConfigError(f"--window: HH:MM-HH:MM in UTC was expected, {text!r} found")
    start = int(found[1]) * 60 + int(found[2])
    end = int(found[3]) * 60 + int(found[4])
    return Window(start_minute=start, length_minutes=(end - start) % DAY_MINUTES or DAY_MINUTES)


def parse_devices(content: str, source: str) -> tuple[str, ...]:
    """Device ids, one a line; empty lines and those that begin with # say nothing."""
    lines = [line.strip() for line in content.splitlines()]
    devices = [line for line in lines if line and not line.startswith("#")]
    for device in devices:
        if not NAME.fullmatch(device):
            raise ConfigError(f"{source}: a device id on each line was expected, {device!r} found")
    return tuple(dict.fromkeys(devices))


@dataclass(frozen=True, slots=True)
class PhasePlan:
    """A phase, and those of the known devices that come in with it."""

    phase: Phase
    devices: tuple[str, ...]


def predict(rollout: Rollout, devices: Iterable[str]) -> tuple[PhasePlan, ...]:
    """Which device comes in with which phase, by the same sum that each device does.

    Says nothing of hardware ids, which only devices know; a device outside the audience is left out.
    """
    named = rollout.audience.devices
    places = {
        device: bucket(rollout.id, device) for device in devices if not named or device in named
    }
    plans: list[PhasePlan] = []
    below = 0
    for phase in rollout.phases:
        inside = tuple(device for device, place in places.items() if below <= place < phase.share)
        plans.append(PhasePlan(phase, inside))
        below = max(below, phase.share)
    return tuple(plans)
