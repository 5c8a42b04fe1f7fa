"""What an update's moves change in the journal beside its state. Pure."""

from collections.abc import Mapping
from dataclasses import replace

from agent.board import SlotName
from agent.chip_memory import beside_confirmed
from agent.journal import Installed, Journal
from agent.report import DETAIL_LENGTH_MAX, clean
from agent.rollout import Rollout
from agent.update import State, Update


def issue(rollout: Rollout) -> tuple[int, str, int]:
    """What must be the same for an update to go on."""
    return rollout.reissue, rollout.release, rollout.counter


def accepted(rollout: Rollout, target: SlotName) -> Update:
    """The beginning of an update to a rollout's release."""
    return Update(
        id=f"{rollout.id}/{rollout.reissue}/{rollout.release}",  # names have dots, and no slash
        rollout=rollout.id,
        reissue=rollout.reissue,
        release=rollout.release,
        counter=rollout.counter,
        state=State.ACCEPTED,
        target=target,
    )


def consented(journal: Journal) -> Journal:
    """Someone at the device asks for the update that is under way, if one is."""
    update = journal.update
    if update is None or update.finished:
        return journal
    return replace(journal, update=replace(update, consented=True))


def going_back(previous: Installed, target: SlotName, token: str) -> Update:
    """The beginning of a trial of what ran before; no rollout asked for it."""
    return Update(
        id=f"revert.{token}",
        rollout="",
        reissue=0,
        release=previous.release,
        counter=previous.counter,
        state=State.INSTALLED,
        target=target,
        detail="someone at the device asked to go back",
    )


def without_target(journal: Journal, update: Update) -> dict[SlotName, Installed]:
    """From here on the standby slot holds nothing to go back to."""
    return {slot: one for slot, one in journal.installed.items() if slot != update.target}


def with_target(journal: Journal, update: Update) -> dict[SlotName, Installed]:
    """The update's slot holds its release, with all that belongs beside it."""
    images: Mapping[str, str] = {one.part: one.sha256 for one in update.installations}
    known = journal.installed.get(update.target)
    if not images and known:  # gone back to, not installed
        images = known.images
    chips = beside_confirmed(journal, update)
    installed = Installed(update.release, update.counter, images, chips)
    return {**journal.installed, update.target: installed}


def blamed(update: Update, code: str, detail: str) -> Update:
    """The update with the reason why it ends."""
    return replace(update, code=code, detail=clean(detail))


def with_summary(detail: str, summary: str) -> str:
    """What the report says of the microcontrollers, behind the rest or instead of its end."""
    if not summary:
        return detail
    room = max(0, DETAIL_LENGTH_MAX - len(summary) - 2)
    told = "; ".join(part for part in (detail[:room], summary) if part)
    return told[:DETAIL_LENGTH_MAX]  # many chips with long names say more than a journal takes
