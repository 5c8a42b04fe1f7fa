"""What may hold an update up besides its rollout: the link, memory, heat. Pure.

The owner of a device sets these in `agent.toml`; `docs/configuration.md`. What is not set holds nothing up.
How much has been fetched is counted in `agent/budget.py`.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, assert_never

from agent.errors import HeatError, LimitError, LowMemoryError, MeteredError
from agent.interfaces import Conditions

MIB: Final = 1024 * 1024
LINK_AGAIN_S: Final = 600.0
MEMORY_AGAIN_S: Final = 300.0
HEAT_AGAIN_S: Final = 60.0
COOLER_CELSIUS: Final = 5
"""So much cooler than the limit it must be before an update goes on that was too hot."""


class Metered(StrEnum):
    """How it is known whether the link costs money by the byte."""

    NO = "no"
    YES = "yes"
    ASK_SYSTEM = "ask-system"


class OnMetered(StrEnum):
    """What is fetched over such a link."""

    ALLOW = "allow"
    SECURITY = "security"
    ASK = "ask"
    DEFER = "defer"


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """What the owner of a device allows; 0 stands for no limit.

    `day_bytes_max` is for all that is fetched in a day of UTC, `update_bytes_max` for one update.
    `low_priority` makes an installation give way to everything else on the device.
    """

    day_bytes_max: int = 0
    update_bytes_max: int = 0
    rate_bytes_per_s: int = 0
    metered: Metered = Metered.NO
    on_metered: OnMetered = OnMetered.SECURITY
    memory_min_mib: int = 0
    temperature_max_celsius: int = 0
    low_priority: bool = False


NO_LIMITS: Final = LimitSettings()


@dataclass(frozen=True, slots=True)
class Wish:
    """What matters of an update: that its release is for security, or that someone asked for it here."""

    security: bool = False
    consented: bool = False


def find_hold(
    settings: LimitSettings, conditions: Conditions, wish: Wish, *, was_hot: bool
) -> LimitError | None:
    """What stands against beginning or going on now, if anything does."""
    return (
        find_link_hold(settings, conditions, wish)
        or _memory_hold(settings, conditions)
        or find_heat_hold(settings, conditions, was_hot=was_hot)
    )


def find_link_hold(
    settings: LimitSettings, conditions: Conditions, wish: Wish
) -> LimitError | None:
    """What stands against fetching over this link; one of which nobody knows anything counts as metered."""
    match settings.metered:
        case Metered.NO:
            metered = False
        case Metered.YES:
            metered = True
        case Metered.ASK_SYSTEM:
            metered = conditions.metered is not False
        case _:
            assert_never(settings.metered)
    if not metered or wish.consented:
        return None
    unknown = settings.metered is Metered.ASK_SYSTEM and conditions.metered is None
    why = "nobody says whether the link is metered" if unknown else "the link is metered"
    match settings.on_metered:
        case OnMetered.ALLOW:
            return None
        case OnMetered.SECURITY:
            if wish.security:
                return None
            told = "only security releases are fetched then, and this is none"
        case OnMetered.ASK:
            told = "someone at the device is asked first: `lockgate install` says yes"
        case OnMetered.DEFER:
            told = "it waits for another link"
        case _:
            assert_never(settings.on_metered)
    return MeteredError(f"{why}; {told}", again_s=LINK_AGAIN_S)


def find_heat_hold(
    settings: LimitSettings, conditions: Conditions, *, was_hot: bool
) -> LimitError | None:
    """Whether it is too hot; once it was, until it is cooler by a few degrees. Unknown is not hot."""
    limit, found = settings.temperature_max_celsius, conditions.temperature_celsius
    if not limit or found is None or found <= limit - (COOLER_CELSIUS if was_hot else 0):
        return None
    return HeatError(
        f"at most {limit} degrees Celsius were expected, {found:.0f} found; it goes on when it is "
        f"{COOLER_CELSIUS} degrees cooler than that",
        again_s=HEAT_AGAIN_S,
    )


def _memory_hold(settings: LimitSettings, conditions: Conditions) -> LimitError | None:
    limit, found = settings.memory_min_mib, conditions.memory_available_bytes
    if not limit or found is None or found >= limit * MIB:
        return None
    return LowMemoryError(
        f"{limit} MiB of available memory were expected, {found // MIB} found; it goes on when other "
        "programs have given some back",
        again_s=MEMORY_AGAIN_S,
    )
