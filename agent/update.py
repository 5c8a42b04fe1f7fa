"""The update: its states, its events and the one table of transitions. Pure.

A state names what is already durable, so waking up means looking at it and taking the next step.
Everything that changes a state is in this file; `docs/architecture.md` draws the table.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from agent.board import SlotName
from agent.firmware import Firmware
from agent.release import Payload


class State(StrEnum):
    """What is durable about an update."""

    ACCEPTED = "accepted"  # the signed policy says that this device takes the release now
    PLANNED = "planned"  # which image goes where, from the verified manifest
    INSTALLED = "installed"  # the standby slot was flushed, read back and matched
    SWITCHED = "switched"  # an attempt is counted; the trial is armed, or about to be
    TRIAL = "trial"  # the new slot has started
    UNHEALTHY = "unhealthy"  # the verdict on the trial: it must go back
    CONFIRMED = "confirmed"
    REVERTED = "reverted"
    FAILED = "failed"


class Event(StrEnum):
    """What can happen to an update."""

    PLAN_MADE = "plan-made"
    IMAGES_INSTALLED = "images-installed"
    TRIAL_STARTING = "trial-starting"
    BOOTED_STANDBY = "booted-standby"
    BOOTED_PREVIOUS = "booted-previous"
    TRIALS_USED_UP = "trials-used-up"
    HEALTH_CONFIRMED = "health-confirmed"
    HEALTH_FAILED = "health-failed"
    GAVE_UP = "gave-up"


# fmt: off
TRANSITIONS: Final[Mapping[State, Mapping[Event, State]]] = MappingProxyType({
    State.ACCEPTED:  {Event.PLAN_MADE:        State.PLANNED,   Event.GAVE_UP:         State.FAILED},
    State.PLANNED:   {Event.IMAGES_INSTALLED: State.INSTALLED, Event.GAVE_UP:         State.FAILED},
    State.INSTALLED: {Event.TRIAL_STARTING:   State.SWITCHED,  Event.GAVE_UP:         State.FAILED,
                      Event.TRIALS_USED_UP:   State.REVERTED},
    State.SWITCHED:  {Event.BOOTED_STANDBY:   State.TRIAL,     Event.BOOTED_PREVIOUS: State.INSTALLED,
                      Event.GAVE_UP:          State.FAILED},
    State.TRIAL:     {Event.HEALTH_CONFIRMED: State.CONFIRMED, Event.HEALTH_FAILED:   State.UNHEALTHY,
                      Event.BOOTED_PREVIOUS:  State.INSTALLED, Event.GAVE_UP:         State.FAILED},
    State.UNHEALTHY: {Event.BOOTED_PREVIOUS:  State.REVERTED,  Event.GAVE_UP:         State.FAILED},
    State.CONFIRMED: {},
    State.REVERTED:  {},
    State.FAILED:    {},
})
# fmt: on

FINISHED: Final = frozenset(state for state, moves in TRANSITIONS.items() if not moves)


@dataclass(frozen=True, slots=True)
class Installation:
    """One image for one part of the standby slot, and how its bytes travel.

    `payload` is the full one; what `delta` cannot give comes from there. `windows_sha256` is as in `Image`.
    """

    part: str
    length_bytes: int
    sha256: str
    payload: Payload
    delta: Payload | None = None
    windows_sha256: str = ""


@dataclass(frozen=True, slots=True)
class ChipInstallation:
    """One image for one microcontroller; without `installation` its bytes are on the device already."""

    chip: str
    firmware: Firmware
    installation: Installation | None


@dataclass(frozen=True, slots=True)
class Update:
    """One attempt to bring one issue of a rollout onto this device.

    `manifest_sha256` pins the release: the same name cannot come to mean something else in between.
    `boot_id` is that of the boot in which the trial was armed, or of the last one that was asked to
    leave it. `failures` counts installations that did not end, or boots into an unhealthy trial;
    `attempts` counts trials. `security` is what the signed release says of itself, `consented` means that
    someone at the device asked for it, `held` says why it waits, if it does.
    """

    id: str
    rollout: str
    reissue: int
    release: str
    counter: int
    state: State
    target: SlotName
    manifest_sha256: str = ""
    installations: tuple[Installation, ...] = ()
    attempts: int = 0
    failures: int = 0
    boot_id: str = ""
    code: str = "ok"
    detail: str = ""
    fetched_bytes: int = 0
    written_bytes: int = 0
    chips: tuple[ChipInstallation, ...] = ()
    security: bool = False
    consented: bool = False
    held: str = ""

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in FINISHED


class IllegalTransitionError(AssertionError):
    """An event that cannot happen in this state: our mistake, so the process ends and resumes."""


def advance(update: Update, event: Event) -> Update:
    """The update after this event; nothing else moves a state."""
    following = TRANSITIONS[update.state].get(event)
    if following is None:
        raise IllegalTransitionError(f"{event} cannot happen to an update that is {update.state}")
    attempts = update.attempts + 1 if event is Event.TRIAL_STARTING else update.attempts
    return replace(update, state=following, attempts=attempts)


def resume(
    update: Update,
    *,
    booted: SlotName,
    default: SlotName,
    same_boot: bool,
    chips_settled: bool = True,
) -> Event | None:
    """What the hardware says has happened since the state was recorded; None when nothing has.

    The hardware is right, the record is intent. `same_boot` means that the trial was armed in this
    very boot: the reboot has not happened yet, so nothing can be read from the slot that runs.
    While the microcontrollers do not hold what belongs to the slot that is here to stay, it has not
    ended: a step brings them there.
    """
    in_target, confirmed = booted == update.target, default == update.target
    match update.state:
        case State.ACCEPTED | State.PLANNED | State.INSTALLED:
            # Somebody else chose the target: it runs now or starts next, and must not be written.
            return Event.GAVE_UP if in_target or confirmed else None
        case State.SWITCHED:
            if in_target:
                return Event.BOOTED_STANDBY
            if confirmed:
                return Event.GAVE_UP
            return None if same_boot else Event.BOOTED_PREVIOUS
        case State.TRIAL:
            if in_target:
                return Event.HEALTH_CONFIRMED if confirmed and chips_settled else None
            return Event.GAVE_UP if confirmed else Event.BOOTED_PREVIOUS
        case State.UNHEALTHY:
            if in_target:
                return (
                    Event.GAVE_UP if confirmed else None
                )  # the default cannot be left by a reboot
            return Event.BOOTED_PREVIOUS if chips_settled else None
        case State.CONFIRMED | State.REVERTED | State.FAILED:
            return None
