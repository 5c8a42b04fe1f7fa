"""Does the deeds of a plan to a bench, each at its moment."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from fnmatch import fnmatchcase
from functools import partial
from random import Random as Generator
from types import MappingProxyType
from typing import Final

from agent.board import SlotName, other
from agent.errors import StateError
from agent.interfaces import Message
from agent.notice import Notice, encode_notice
from agent.report import Receipt, encode_receipt
from agent.request import Request, Verb, leave
from agent.rollout import BUCKETS, Phase, RolloutState
from agent.topics import Topics
from agent.update import State
from fleet.metadata import RoleName
from simulator.block_device import SimulatedBlockDevice
from simulator.faults import Delivery, Fetch, Health, Kind, Reboot, Storing
from simulator.image import Behaviour
from simulator.operator import RELEASED_BEFORE
from simulator.power import Moment
from simulator.repository import MemorySource
from simulator.storm.bench import Bench
from simulator.storm.chips import CHIP_DEEDS, Do
from simulator.storm.plan import Act, Deed, Shipment

LATE: Final = timedelta(days=40)
SLOTS: Final[tuple[SlotName, ...]] = ("a", "b")
UNAPPROVED: Final = 66
"""The release that too few people signed; no device may ever run it."""
KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {str(kind): kind for kinds in (Fetch, Delivery, Reboot, Health, Storing) for kind in kinds}
)
FORGED: Final = (
    b"",
    b"\xff" * 3000,
    b"[" * 4000,
    b'{"schema":1,"spread_s":0,"url":"https://evil.example/"}',
    b'{"schema":1,"spread_s":-1}',
    b'{"schema":1,"release":"66","force":true}',
    encode_receipt(Receipt(("0" * 32,))),
    encode_notice(Notice(0)),
)


def plan_acts(bench: Bench) -> None:
    """Put every deed of the storm at its moment."""
    for act in (*bench.plan.acts, *bench.device_plan.acts):
        bench.clock.at(act.at_s, partial(_do, bench, act))


def _do(bench: Bench, act: Act) -> None:
    if bench.clock.now_s >= bench.plan.storm_s:
        return  # the storm is over; a deed that waited too long is not done any more
    what = f"{act.number or ''} {act.word} {act.pattern if act.pattern != '*' else ''}"
    bench.device.trace.note(f"~ {act.deed}", what.strip())
    DEEDS[act.deed](bench, act)


def _ship(bench: Bench, act: Act) -> None:
    shipment = bench.plan.shipment(act.number)
    assert shipment is not None, "the plan ships what it has drawn"
    bench.ship(shipment)
    if shipment.share < BUCKETS and shipment.everyone_after_s is not None:
        now = bench.clock.true_time()
        phases = (
            Phase(shipment.share, now - RELEASED_BEFORE),
            Phase(BUCKETS, now + timedelta(seconds=shipment.everyone_after_s)),
        )
        newest = replace(bench.operator.rollouts[-1], phases=phases)
        bench.operator.rollouts = (*bench.operator.rollouts[:-1], newest)
    bench.publish()
    bench.operator.notify()


def _set_state(state: RolloutState, bench: Bench, act: Act) -> None:
    rollout_id = f"rollout-{act.number}"
    bench.operator.rollouts = tuple(
        replace(one, state=state) if one.id == rollout_id else one
        for one in bench.operator.rollouts
    )
    bench.publish()
    bench.operator.notify()


def _halt(bench: Bench, act: Act) -> None:
    if act.number in bench.rolled_out:
        bench.operator.halt(f"rollout-{act.number}")
        bench.publish()
        bench.operator.notify()


def _reissue(bench: Bench, act: Act) -> None:
    bench.operator.reissue(f"rollout-{act.number}")
    bench.publish()
    bench.operator.notify(spread_s=60)


def _publish(bench: Bench, _act: Act) -> None:
    bench.publish()


def _publish_late(bench: Bench, _act: Act) -> None:
    """Metadata that has expired already, until the next publication."""
    bench.operator.publish(signed_at=bench.clock.true_time() - LATE)
    bench.late = True
    bench.operator.notify()


def _rotate(bench: Bench, act: Act) -> None:
    bench.operator.rotate(RoleName.TIMESTAMP if act.number % 2 else RoleName.SNAPSHOT)
    bench.remember()
    bench.operator.notify()


def _mute(bench: Bench, _act: Act) -> None:
    bench.operator.answers = False


def _answer(bench: Bench, _act: Act) -> None:
    bench.operator.answer_all()


def _fault(bench: Bench, act: Act) -> None:
    bench.faults.add(KINDS[act.word], act.pattern, times=act.number, after=int(act.amount))


def _serve_old(bench: Bench, act: Act) -> None:
    bench.repository.source = bench.published[act.number % len(bench.published)]
    bench.operator.notify()


def _serve_part(bench: Bench, act: Act) -> None:
    """A mirror that has only some of the files of the newest state."""
    chance = Generator(act.number)  # noqa: S311  # repeatable on purpose
    content = bench.operator.content
    kept = {path: content[path] for path in sorted(content) if chance.random() < 0.7}
    bench.repository.source = MemorySource(kept)
    bench.operator.notify()


def _serve_unapproved(bench: Bench, _act: Act) -> None:
    """Online keys and one of the offline ones are in wrong hands, and the mirror too."""
    operator = bench.operator
    releases, rollouts, content = dict(operator.releases), operator.rollouts, dict(operator.content)
    rolled_out = set(bench.rolled_out)
    bench.ship(Shipment(UNAPPROVED, Behaviour.HEALTHY, BUCKETS, None, chips=True))
    operator.publish(signatures=1)
    bench.repository.source = operator.snapshot()
    operator.releases, operator.rollouts = releases, rollouts
    operator.content.clear()
    operator.content.update(content)
    bench.rolled_out = rolled_out
    operator.notify()


def _serve_new(bench: Bench, _act: Act) -> None:
    bench.repository.source = bench.operator.source
    bench.operator.notify()


def _broker_down(bench: Bench, _act: Act) -> None:
    bench.hub.stop()


def _broker_up(bench: Bench, _act: Act) -> None:
    bench.hub.start()


def _forge(bench: Bench, act: Act) -> None:
    """Bytes that nobody signed, sometimes as a poison that greets each new session."""
    topics = Topics(bench.operator.fleet, bench.device_plan.name)
    chance = Generator(act.number)  # noqa: S311  # repeatable on purpose
    topic = chance.choice((topics.notice, topics.fleet_notice, topics.receipt))
    content = chance.choice((*FORGED, chance.randbytes(200)))
    retain = topic != topics.receipt and chance.random() < 0.5
    bench.hub.publish(Message(topic, content, retain=retain))


def _flood(bench: Bench, act: Act) -> None:
    topic = Topics(bench.operator.fleet, bench.device_plan.name).notice
    for number in range(act.number):
        bench.hub.publish(Message(topic, FORGED[number % len(FORGED)]))


def _runs(bench: Bench) -> bool:
    """Whether the device has power and its agent runs: what is done to it elsewhere would be lost."""
    return bench.device.slot != "-" and bench.device.board.power.on


def _power_off(bench: Bench, _act: Act) -> None:
    if _runs(bench):
        bench.device.board.power.fail()


def _cut(bench: Bench, act: Act) -> None:
    power = bench.device.board.power
    power.cut_at(power.number + act.number, Moment(act.word))


def _rot(bench: Bench, act: Act) -> None:
    """One bit of a stored file is another one from now on."""
    files = bench.device.board.files
    names = sorted(name for name in files.content if fnmatchcase(name, act.pattern))
    if not names:
        return
    name = names[act.number % len(names)]
    content = bytearray(files.content[name])
    content[act.number % len(content)] ^= 0x10
    files.content[name] = bytes(content)
    bench.rotted.add(name)


def _standby(bench: Bench) -> list[SimulatedBlockDevice]:
    """The parts of the standby slot; none once a trial may need what it holds."""
    board, journal = bench.device.board, bench.device.journal
    update = None if journal is None else journal.update
    early = update is None or update.finished or update.state in (State.ACCEPTED, State.PLANNED)
    if not _runs(bench) or journal is None or not early:
        return []
    booted: SlotName = "a" if bench.device.slot == "a" else "b"
    return list(board.storage.slot(other(booted)).values())


def _write_error(bench: Bench, act: Act) -> None:
    for device in _standby(bench):
        device.faults.write_error_in = act.number


def _boot_write_error(bench: Bench, act: Act) -> None:
    """The medium of the boot state refuses one of the next writes."""
    storage = bench.device.board.storage
    slots = {device.name for slot in SLOTS for device in storage.slot(slot).values()}
    for path, device in storage.devices.items():
        if path not in slots:
            device.faults.write_error_in = act.number


def _bad_sector(bench: Bench, act: Act) -> None:
    for device in _standby(bench)[:1]:
        device.faults.bad_sectors.add(act.number)


def _jump(bench: Bench, act: Act) -> None:
    by = timedelta(seconds=act.amount)
    bench.jumped += by
    bench.clock.jump(by)


def _ask(bench: Bench, act: Act) -> None:
    """Someone at the device asks for something; when the disk is full they are told so."""
    if not _runs(bench):
        return
    verb = Verb(act.word)
    until = bench.clock.true_time() + timedelta(seconds=act.amount)
    request = Request(verb, until=until.replace(microsecond=0) if verb is Verb.DEFER else None)
    try:
        leave(bench.device.board.files, request)
    except StateError as error:
        bench.device.trace.note("! not asked", str(error))


DEEDS: Final[Mapping[Deed, Do]] = MappingProxyType(
    {
        Deed.SHIP: _ship,
        Deed.PAUSE: partial(_set_state, RolloutState.PAUSED),
        Deed.RESUME: partial(_set_state, RolloutState.ACTIVE),
        Deed.HALT: _halt,
        Deed.REISSUE: _reissue,
        Deed.PUBLISH: _publish,
        Deed.PUBLISH_LATE: _publish_late,
        Deed.ROTATE: _rotate,
        Deed.MUTE: _mute,
        Deed.ANSWER: _answer,
        Deed.FAULT: _fault,
        Deed.SERVE_OLD: _serve_old,
        Deed.SERVE_PART: _serve_part,
        Deed.SERVE_UNAPPROVED: _serve_unapproved,
        Deed.SERVE_NEW: _serve_new,
        Deed.BROKER_DOWN: _broker_down,
        Deed.BROKER_UP: _broker_up,
        Deed.FORGE: _forge,
        Deed.FLOOD: _flood,
        Deed.POWER_OFF: _power_off,
        Deed.CUT: _cut,
        Deed.ROT: _rot,
        Deed.WRITE_ERROR: _write_error,
        Deed.BAD_SECTOR: _bad_sector,
        Deed.BOOT_WRITE_ERROR: _boot_write_error,
        Deed.JUMP: _jump,
        Deed.ASK: _ask,
        **CHIP_DEEDS,
    }
)
