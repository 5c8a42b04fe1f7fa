"""What is ahead of this device: the decision with its reasons, and what it would fetch and write."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, assert_never

from agent import journal as journals
from agent.board import SlotName, other
from agent.commands.output import size_words
from agent.commands.overlay import OverlayFiles
from agent.device import Device
from agent.errors import StateError
from agent.firmware import AS_IT_CAME
from agent.journal import Journal
from agent.limits import Wish
from agent.planning import SECURITY, plan_parts
from agent.policy import Decision, Defer, Proceed, Stay, decide
from agent.restraint import Restraint
from agent.strict import format_time
from agent.update import ChipInstallation, Installation

NOTHING_TO_DO: Final = 3


@dataclass(frozen=True, slots=True)
class ChipOutlook:
    """One microcontroller for which the release has an image; one that `holds_it` is not flashed."""

    port: str
    planned: ChipInstallation
    holds_it: bool


@dataclass(frozen=True, slots=True)
class Outlook:
    """The decision at one moment; `plan` and `chips` are empty unless an update is open."""

    decision: Decision
    now: datetime
    target: SlotName
    plan: tuple[Installation, ...]
    under_way: str
    chips: tuple[ChipOutlook, ...] = ()
    held: str = ""
    """Why the owner's limits would hold it up now."""

    @property
    def exit_status(self) -> int:
        """Whether there is something to do."""
        return 0 if isinstance(self.decision, Proceed) or self.under_way else NOTHING_TO_DO


def without_traces(device: Device) -> Device:
    """The same device, whose own files are only written in memory."""
    world = replace(device.world, files=OverlayFiles(device.world.files))
    if device.restraint is None:
        return replace(device, world=world)
    world = replace(world, repository=device.restraint.unlimited)  # the service counts, not we
    return replace(device, world=world, restraint=Restraint(world, device.config.limits))


def load_journal(device: Device) -> Journal:
    """The journal. Raises `StateError` when it cannot be read, because the service settles that."""
    journal = journals.load(device.world.files)
    if journal is None:
        raise StateError(
            f"{device.config.paths.state}/{journals.FILE}: a journal was expected, something else "
            "found; `lockgate run` sets it aside and settles the device, start the service"
        )
    return journal


def look(device: Device, *, hurry: bool) -> Outlook:
    """Refresh and decide as the service would. Raises `TrustError`, `FetchError`, `RefusedError`."""
    journal = load_journal(device)
    target = other(device.boot.booted())
    with device.session() as session:
        now = device.now()
        facts = device.policy_facts(journal, hurry=hurry)
        decision = decide(session.rollouts(), session.halts(), facts, now)
        plan: tuple[Installation, ...] = ()
        chips: tuple[ChipOutlook, ...] = ()
        held = ""
        if isinstance(decision, Proceed):
            release, _ = session.release(decision.rollout.release)
            plan, planned = plan_parts(device, journal, release, decision.rollout, target)
            chips = _chips(device, journal, planned)
            held = _held(device, Wish(release.kind == SECURITY, hurry))
    update = journal.update
    under_way = "" if update is None or update.finished else update.state.value
    if update is not None and under_way:
        held = _held(device, Wish(update.security, update.consented or hurry)) or update.held
    return Outlook(decision, now, target, plan, under_way, chips, held)


def _chips(
    device: Device, journal: Journal, planned: tuple[ChipInstallation, ...]
) -> tuple[ChipOutlook, ...]:
    """What the release brings to chips, and whether they hold it by the journal."""
    ports = {chip.name: chip.settings.port for chip in device.profile.microcontrollers}
    return tuple(
        ChipOutlook(
            ports[one.chip],
            one,
            journal.chips.get(one.chip, AS_IT_CAME).is_settled_on(one.firmware),
        )
        for one in planned
    )


def _held(device: Device, wish: Wish) -> str:
    hold = None if device.restraint is None else device.restraint.hold_for(wish)
    return "" if hold is None else f"{hold.code}: {hold}"


def document(device: Device, outlook: Outlook) -> dict[str, object]:
    """The outlook as JSON, as `docs/commands.md` has it."""
    decision = outlook.decision
    rollout = None if isinstance(decision, Stay) else decision.rollout
    until = decision.until if isinstance(decision, Defer) else None
    return {
        "decision": decision_word(decision),
        "at": format_time(outlook.now),
        "under_way": outlook.under_way,
        "held": outlook.held,
        "rollout": "" if rollout is None else rollout.id,
        "release": "" if rollout is None else rollout.release,
        "counter": 0 if rollout is None else rollout.counter,
        "until": "" if until is None else format_time(until),
        "reasons": [
            {"rollout": reason.rollout, "sentence": reason.sentence} for reason in decision.reasons
        ],
        "images": [_image(device, outlook.target, one) for one in outlook.plan],
        "chips": [_chip(one) for one in outlook.chips],
    }


def decision_word(decision: Decision) -> str:
    """One word for the decision."""
    match decision:
        case Proceed():
            return "update"
        case Defer():
            return "later"
        case Stay():
            return "nothing"
        case _ as never:
            assert_never(never)


def lines(device: Device, outlook: Outlook) -> list[str]:
    """The outlook for people."""
    told = [_headline(outlook.decision)]
    if outlook.under_way:
        told.append(f"an update is under way already: {outlook.under_way}")
    if outlook.held:
        told.append(f"it waits: {outlook.held}")
    told += [
        f"  {reason.rollout}: {reason.sentence}" if reason.rollout else f"  {reason.sentence}"
        for reason in outlook.decision.reasons
    ]
    for one in outlook.plan:
        path = device.profile.slots[outlook.target].parts[one.part]
        told.append(
            f"  {one.part}: {size_words(one.length_bytes)} onto {path} (slot {outlook.target}), "
            f"{_forecast(one)}"
        )
    return told + [_chip_line(one) for one in outlook.chips]


def _chip_line(one: ChipOutlook) -> str:
    chip, image = one.planned.chip, one.planned.installation
    if one.holds_it or image is None:
        return f"  chip {chip}: {one.port} holds its image already"
    return f"  chip {chip}: {size_words(image.length_bytes)} flashed through {one.port}, {_forecast(image)}"


def _forecast(one: Installation) -> str:
    """How much is fetched. A delta serves as far as the running slot is what was installed there."""
    whole = size_words(one.payload.length_bytes)
    if one.delta is None:
        return f"at most {whole} to fetch"
    return (
        f"{size_words(one.delta.length_bytes)} to fetch as a delta from what runs, {whole} without"
    )


def _headline(decision: Decision) -> str:
    match decision:
        case Proceed(rollout=rollout):
            return f"an update is open: release {rollout.release}"
        case Defer(rollout=rollout, until=until):
            return f"an update comes later: release {rollout.release}, from {format_time(until)}"
        case Stay():
            return "there is nothing for this device"
        case _ as never:
            assert_never(never)


def _image(device: Device, target: SlotName, one: Installation) -> dict[str, object]:
    return {
        "part": one.part,
        "slot": target,
        "device": device.profile.slots[target].parts[one.part],
        "length_bytes": one.length_bytes,
        "sha256": one.sha256,
        "payload_bytes": one.payload.length_bytes,
        "delta_bytes": one.delta.length_bytes if one.delta else 0,
        "blob": one.payload.blob,
    }


def _chip(one: ChipOutlook) -> dict[str, object]:
    image = one.planned.installation
    return {
        "chip": one.planned.chip,
        "port": one.port,
        "holds_it": one.holds_it,
        "sha256": one.planned.firmware.sha256,
        "length_bytes": image.length_bytes if image else 0,
        "payload_bytes": image.payload.length_bytes if image else 0,
    }
