"""Liveness: what a device has become once the faults have stopped, and what the fleet has heard of it."""

from collections import Counter
from typing import Final

from agent import request
from agent.account import OUTCOMES
from agent.policy import DeviceFacts, Proceed, decide
from agent.report import Outcome, Report, parse_status
from agent.request import Verb
from agent.rollout import Halts, Rollouts
from agent.topics import Topics
from agent.update import State
from simulator.faults import Reboot
from simulator.image import Behaviour
from simulator.invariants import comes_to_rest
from simulator.storm.bench import Bench
from simulator.storm.chips import heal
from simulator.storm.plan import HOUR_S, Deed, Family
from simulator.storm.watch import Watch

SLICES_S: Final = (45.0, 75.0, 480.0, *[HOUR_S] * 30)
"""How long the device may run between two looks at whether it rests; most do within a minute."""
SIGN_EVERY_SLICES: Final = 12
SAY_S: Final = 60.0
"""A device says what has changed once a second."""

EXCUSES: Final = {
    "install": {Family.MEDIUM},
    "boot-control": {Family.MEDIUM},
    "payload": {Family.NETWORK, Family.MIRROR},
    "trust": {Family.NETWORK, Family.MIRROR},
    "trust-rollback": {Family.NETWORK, Family.MIRROR},
    "fetch": {Family.NETWORK, Family.MIRROR},
    "state": {Family.FILES},
    "flash": {Family.CHIPS},
    "flash-identity": {Family.CHIPS},
    "flash-line": {Family.CHIPS},
    "flash-mixed": {Family.CHIPS},
    "flash-refused": {Family.CHIPS},
    "flash-verify": {Family.CHIPS},
}
"""Which weather may end an update to a healthy release otherwise than confirmed, by the report's code."""


def calm(bench: Bench, watch: Watch) -> None:
    """The faults stop, and all that was in the way of them is put right."""
    watch.trial_cuts.clear()
    bench.faults.clear()
    heal(bench)
    bench.device.board.power.keep_on()
    for device in bench.device.board.storage.devices.values():
        device.faults.write_error_in, device.faults.lying_flush = 0, False
        device.faults.bad_sectors.clear()
        if bench.device_plan.lies:
            device.settle(device.pending_writes())  # in the end even such a medium has written it
    bench.hub.start()
    bench.repository.source = bench.operator.source
    bench.clock.jump(-bench.jumped)
    bench.device.board.files.content.pop(request.FILE, None)
    bench.operator.answer_all()
    bench.publish()
    bench.operator.notify()


def settle(bench: Bench, watch: Watch) -> list[str]:
    """Let time pass until the device rests, has nothing more to begin, and its chips are in place."""
    began_s, boots = bench.clock.now_s, bench.device.board.boots
    attempts_max = bench.device.board.profile.confirm.attempts_max
    trials_max = attempts_max * (1 + len(bench.operator.rollouts))  # one may be to go back by hand
    misplaced: list[str] = []
    for number, slice_s in enumerate(SLICES_S, start=1):
        bench.device.run(bench.clock.now_s + slice_s)
        restless = comes_to_rest(bench.device.board.boots - boots, trials_max)
        if restless is not None:
            return [restless]
        misplaced = _misplaced(bench, watch)
        if bench.device.quiet and not _has_more(bench) and not misplaced:
            return []
        if number % SIGN_EVERY_SLICES == 0:
            bench.publish()  # as every fleet does, or its signed dates would be past some day
    what = "it has more to begin" if bench.device.quiet else "it is not quiet"
    what = "; ".join(misplaced) or what
    hours = (bench.clock.now_s - began_s) / HOUR_S
    return [f"{hours:.0f} hours after the faults had stopped {what}"]


def _misplaced(bench: Bench, watch: Watch) -> list[str]:
    slot = bench.device.slot
    if slot == "-" or watch.chips.blind:
        return []
    return watch.chips.misplaced("a" if slot == "a" else "b")


def ship_last(bench: Bench, watch: Watch) -> list[str]:
    """A healthy release for everyone must arrive as on any other day, whatever was before."""
    number = bench.plan.last_release
    bench.ship(bench.shipment_of(number))
    bench.publish()
    bench.operator.notify()
    complaints = settle(bench, watch)
    name = str(number)
    reports = [report for report in _endings(bench) if report.release == name]
    found = [f"{report.outcome} {report.code}: {report.detail}" for report in reports]
    if [report.outcome for report in reports] != [Outcome.CONFIRMED]:
        complaints.append(f"the last release ended {found or 'not at all'}")
    slot = bench.device.slot
    if slot == "-" or bench.number_in("a" if slot == "a" else "b") != number:
        complaints.append(f"slot {slot} runs, and not the last release")
    complaints += [
        f"chip {chip.name} does not hold the last release"
        for chip in bench.device.board.chips
        if watch.chips.held(chip) != number
    ]
    return complaints + _untold(bench, name)


def _untold(bench: Bench, release: str) -> list[str]:
    """What the broker keeps of the device's status is what runs, once it had the time to say so."""
    bench.device.run(bench.clock.now_s + SAY_S)
    topic = Topics(bench.operator.fleet, bench.device_plan.name).state
    kept = bench.hub.retained.get(topic)
    if kept is None:
        return ["nobody was told what runs"]
    status = parse_status(kept.content)
    told, found = (status.phase, status.slot, status.release), ("idle", bench.device.slot, release)
    return [] if told == found else [f"the fleet is told {told}, and it is {found}"]


def judge(bench: Bench, watch: Watch) -> list[str]:
    """What the fleet has stored against what happened."""
    reports = _endings(bench)
    complaints = [complaint for report in reports for complaint in _lies_of(report, bench, watch)]
    if "journal.json" in bench.rotted:
        return complaints
    results: dict[str, set[tuple[str, str, str]]] = {}
    for report in bench.operator.reports_heard:
        if report.update:
            results.setdefault(report.update, set()).add((report.id, report.outcome, report.code))
    complaints += [
        f"update {update} has {len(found)} results: {sorted(found)}"
        for update, found in results.items()
        if len(found) > 1
    ]
    return complaints + _unheard(bench, reports)


def _unheard(bench: Bench, reports: list[Report]) -> list[str]:
    """Every update that ended here is stored by the fleet exactly once, and nothing else is."""
    journal = bench.device.journal
    if journal is None:
        return ["the journal cannot be read although nothing rotted"]
    ended = Counter(
        (past.rollout, past.reissue, past.release, OUTCOMES[past.state]) for past in journal.history
    )
    stored = Counter(
        (report.rollout, report.reissue, report.release, report.outcome) for report in reports
    )
    return [
        f"{key} ended {ended[key]} times here, and is stored {stored[key]} times"
        for key in sorted(ended.keys() | stored.keys())
        if ended[key] != stored[key]
    ]


def _endings(bench: Bench) -> list[Report]:
    return [report for report in bench.operator.reports.values() if report.update]


def _has_more(bench: Bench) -> bool:
    """Whether this device would begin an update now, by the rule that it shares with the operator."""
    journal = bench.device.journal
    if journal is None:
        return True
    fleet = bench.operator.fleet
    ended = max((past.counter for past in journal.history), default=0)
    confirmed = [one.counter for one in journal.installed.values()]
    confirmed += [past.counter for past in journal.history if past.state is State.CONFIRMED]
    facts = DeviceFacts(
        device=bench.device_plan.name,
        hardware_id=bench.device.board.profile.hardware_id,
        counter=max(1, *confirmed, ended if bench.rotted else 0),
        tried=frozenset((past.rollout, past.reissue) for past in journal.history),
        deferred_until=None,
    )
    rollouts = Rollouts(fleet, bench.operator.rollouts)
    halts = Halts(fleet, bench.operator.halts)
    return isinstance(decide(rollouts, halts, facts, bench.clock.true_time()), Proceed)


def _lies_of(report: Report, bench: Bench, watch: Watch) -> list[str]:
    """What a report says that cannot be, given the release and the weather."""
    if not report.release.isdecimal():
        return []
    number = int(report.release)
    behaviour = bench.behaviour_of(number)
    told = f"update {report.update} is told to be {report.outcome} ({report.code})"
    if report.outcome is Outcome.CONFIRMED:
        asked = any(act.word == Verb.CONFIRM for act in bench.device_plan.acts)
        if number not in watch.ran or bench.shipment_of(number).fussy:
            return [f"{told}, and it never ran or never should have"]
        if behaviour is not Behaviour.HEALTHY and not (
            behaviour is Behaviour.FAILS_CHECKS and asked
        ):
            return [f"{told}, and it is one that {behaviour}"]
        return []
    if behaviour is Behaviour.HEALTHY and not _excused(report, bench):
        return [f"{told}: {report.detail}; and nothing in this storm explains it"]
    return []


def _excused(report: Report, bench: Bench) -> bool:
    """Whether the weather explains why a healthy release was not confirmed."""
    if bench.device_plan.lies:
        return True
    if report.code == "trial-lost":
        dropped = sum(kind is Reboot.ARGUMENT_DROPPED for kind, _ in bench.faults.happened)
        lost = bench.device.board.power.cuts + dropped
        rotten = any(act.deed is Deed.BAD_SECTOR for act in bench.device_plan.acts)
        return rotten or lost >= bench.device.board.profile.confirm.attempts_max
    if report.code == "unhealthy":
        unheard = any(act.deed is Deed.BROKER_DOWN for act in bench.device_plan.acts)
        refused = any(act.word == Verb.REVERT for act in bench.device_plan.acts)
        return unheard or refused
    if report.code == "refused-pair":
        return bench.shipment_of(int(report.release)).fussy
    if report.code == "halted":
        return len(bench.operator.rollouts) > 1 or bool(bench.operator.halts)
    return bool(EXCUSES.get(report.code, set()) & bench.plan.families)
