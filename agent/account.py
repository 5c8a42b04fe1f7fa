"""What the device says of itself: reports of what ended, and its status. Says only what is durable."""

from dataclasses import replace
from typing import Final

from agent.device import Device
from agent.errors import LimitError
from agent.install import Meter
from agent.journal import Journal, Tried
from agent.report import Outcome, Report, Status, clean, report_id
from agent.strict import format_time
from agent.update import State, Update
from agent.version import VERSION as VERSION  # noqa: PLC0414  # its users know it from here

OUTCOMES: Final = {
    State.CONFIRMED: Outcome.CONFIRMED,
    State.REVERTED: Outcome.REVERTED,
    State.FAILED: Outcome.FAILED,
}


def report_of(device: Device, update: Update) -> Report:
    """The one report of how an update ended: the same id however often it is made."""
    settings = device.config.device
    return Report(
        id=report_id(settings.fleet, settings.id, update.id),
        device=settings.id,
        fleet=settings.fleet,
        outcome=OUTCOMES[update.state],
        code=update.code,
        detail=clean(update.detail),
        update=update.id,
        rollout=update.rollout,
        reissue=update.reissue,
        release=update.release,
        counter=update.counter,
        slot=device.boot.booted(),
        attempts=update.attempts,
        fetched_bytes=update.fetched_bytes,
        written_bytes=update.written_bytes,
        at=device.now(),
        time=_time_word(device),
        agent=VERSION,
    )


def alarm(device: Device, journal: Journal, code: str, detail: str) -> Report:
    """The report of something refused outside any update; the same one all day."""
    settings, running, now = device.config.device, device.running(journal), device.now()
    told = clean(detail)
    return Report(
        id=report_id(settings.fleet, settings.id, code, told, format_time(now)[:10]),
        device=settings.id,
        fleet=settings.fleet,
        outcome=Outcome.REFUSED,
        code=code,
        detail=told,
        update="",
        rollout="",
        reissue=0,
        release=running.release,
        counter=running.counter,
        slot=device.boot.booted(),
        attempts=0,
        fetched_bytes=0,
        written_bytes=0,
        at=now,
        time=_time_word(device),
        agent=VERSION,
    )


def with_hold(device: Device, journal: Journal, update: Update, error: LimitError) -> Journal:
    """The journal with why the update waits, and a report of it when that is news."""
    if update.held.startswith(f"{error.code}: "):
        return journal
    held = clean(f"{error.code}: {error}")
    told = alarm(device, journal, error.code, str(error))
    return replace(journal, update=replace(update, held=held)).with_report(told)


def past_of(device: Device, update: Update) -> Tried:
    """The line of the history for an update that ended."""
    return Tried(
        rollout=update.rollout,
        reissue=update.reissue,
        release=update.release,
        counter=update.counter,
        state=update.state,
        code=update.code,
        detail=clean(update.detail),
        at=device.now(),
    )


def status_of(device: Device, journal: Journal, meter: Meter, detail: str) -> Status:
    """What runs and what is under way."""
    settings, running, update = device.config.device, device.running(journal), journal.update
    busy = update is not None and not update.finished
    return Status(
        device=settings.id,
        fleet=settings.fleet,
        at=device.now(),
        boot_id=device.facts.boot_id,
        slot=device.boot.booted(),
        release=running.release,
        counter=running.counter,
        phase=update.state.value if update is not None and busy else "idle",
        update=update.id if update is not None and busy else "",
        target=update.release if update is not None and busy else "",
        done_bytes=meter.done_bytes if busy else 0,
        total_bytes=meter.total_bytes if busy else 0,
        detail=clean(detail),
        reports_waiting=len(journal.reports),
        agent=VERSION,
    )


def same_news(one: Status | None, another: Status) -> bool:
    """Whether two statuses differ in nothing but their date."""
    return one is not None and replace(one, at=another.at) == another


def _time_word(device: Device) -> str:
    return "synchronised" if device.world.clock.wall().synchronised else "bounded"
