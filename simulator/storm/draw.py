"""Draws the plan of a seed, family by family."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random as Generator
from types import MappingProxyType
from typing import Final

from agent.request import Verb
from agent.rollout import BUCKETS
from simulator.faults import Delivery, Fetch, Health, Reboot, Storing
from simulator.image import Behaviour
from simulator.power import Moment
from simulator.storm.plan import (
    DAY_S,
    FIRST_RELEASE,
    HOUR_S,
    Act,
    Cut,
    Deed,
    DevicePlan,
    Family,
    Plan,
    Shipment,
    chance_of,
)

LIARS: Final = 0.02
"""The part of all seeds that have a medium which lies about flushing, and nothing else but cuts."""
EVERYWHERE: Final = tuple(family for family in Family if family is not Family.CHIPS)
"""What may happen to any board; chips are drawn apart."""
MEMORIES: Final = ("journal.json", "floor.json")
CACHES: Final = ("metadata/*", "root_history/*")
PATHS: Final = ("*", "metadata/*", "metadata/timestamp.json", "targets/*", "blobs/*")
TOPICS: Final = ("*", "*/notice", "*/report", "*/receipt", "*/state")

AFTERS: Final = (0, 0, 0, 1, 1, 2, 3, 5, 8, 13)
"""How many times a thing goes well before a fault strikes: some things happen only once or twice."""
STORM_HOURS: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 24.0, 72.0)

BYTES_PER_S: Final = (4e6, 4e6, 1000.0, 100.0)
"""A slow repository makes seconds of what is over at once otherwise, so that more falls into it."""


@dataclass(frozen=True, slots=True)
class Sky:
    """Where the acts of one storm are drawn from."""

    chance: Generator
    storm_s: float
    shipped_s: tuple[float, ...]

    def moment(self) -> float:
        """A moment of the storm, more often than not in the minutes after a release was shipped."""
        if self.chance.random() < 0.6:
            near_s = self.chance.choice((10.0, 60.0, 300.0))
            return self.chance.choice(self.shipped_s) + self.chance.uniform(0, near_s)
        return self.chance.uniform(0, self.storm_s)


Draw = Callable[[Sky], list[Act]]


def draw_plan(seed: int, board: str) -> Plan:
    """The world of this seed on this kind of board."""
    chance = chance_of(seed, board)
    lies = chance.random() < LIARS
    drawn = [family for family in EVERYWHERE if chance.random() < 0.5]
    families = frozenset([] if lies else drawn)
    storm_s = chance.choice(STORM_HOURS) * HOUR_S
    shipments = _shipments(chance, lies=lies)
    acts = _ship(chance, shipments, storm_s)
    sky = Sky(chance, storm_s, tuple(act.at_s for act in acts))
    if Family.OPERATOR in families:
        acts += _operator(sky, shipments)
    count = 1 if lies else chance.choices((1, 2, 3), (17, 2, 1))[0]
    devices = [
        _device(sky, f"device-{number}", families, lies=lies) for number in range(1, count + 1)
    ]
    return Plan(
        seed=seed,
        board=board,
        storm_s=storm_s,
        check_every_s=int(chance.choice((6, 12, 24)) * HOUR_S),
        families=families,
        shipments=shipments,
        acts=_in_order(acts),
        devices=tuple(devices),
    )


def _in_order(acts: list[Act]) -> tuple[Act, ...]:
    return tuple(sorted(acts, key=lambda act: act.at_s))


def _shipments(chance: Generator, *, lies: bool) -> tuple[Shipment, ...]:
    behaviours = list(Behaviour)
    count = 1 if lies else chance.choices((1, 2, 3), (7, 2, 1))[0]
    shipments = []
    for number in range(FIRST_RELEASE, FIRST_RELEASE + count):
        behaviour = chance.choices(behaviours, (5, 2, 1, 1))[0]
        all_at_once = lies or chance.random() < 0.7
        shipments.append(
            Shipment(
                number=number,
                behaviour=Behaviour.HEALTHY if lies else behaviour,
                share=BUCKETS if all_at_once else chance.randrange(BUCKETS),
                everyone_after_s=chance.choice((HOUR_S, 5 * HOUR_S, DAY_S, None)),
            )
        )
    return tuple(shipments)


def _ship(chance: Generator, shipments: Sequence[Shipment], storm_s: float) -> list[Act]:
    moments = sorted(chance.uniform(0, storm_s * 0.8) for _ in shipments)
    if chance.random() < 0.5:
        moments[0] = 0.0
    return [
        Act(at_s, Deed.SHIP, number=one.number)
        for at_s, one in zip(moments, shipments, strict=True)
    ]


def _operator(sky: Sky, shipments: Sequence[Shipment]) -> list[Act]:
    chance = sky.chance
    deeds = (
        *(Deed.PAUSE, Deed.RESUME, Deed.HALT, Deed.REISSUE, Deed.REISSUE),
        *(Deed.PUBLISH, Deed.PUBLISH_LATE, Deed.ROTATE, Deed.MUTE, Deed.ANSWER),
    )
    return [
        Act(sky.moment(), chance.choice(deeds), number=chance.choice(shipments).number)
        for _ in range(chance.randint(1, 4))
    ]


def _device(sky: Sky, name: str, families: frozenset[Family], *, lies: bool) -> DevicePlan:
    chance = sky.chance
    draws = [draw for family, draw in DRAWS.items() if family in families]
    acts = [act for draw in draws for act in draw(sky)]
    asked = any(act.word == Verb.REVERT for act in acts if act.deed is Deed.ASK)
    if asked:
        acts = [act for act in acts if act.deed is not Deed.BAD_SECTOR]
    lost_clock = Family.CLOCK in families and chance.random() < 0.7
    cut_trials = Family.POWER in families and chance.random() < 0.3
    if lies:
        acts = [Act(0.0, Deed.CUT, number=chance.randint(1, 80), word=_moment(chance))]
    return DevicePlan(
        name=name,
        battery=not lost_clock or chance.random() < 0.5,
        synchronise_after_s=chance.choice((None, 60.0, 900.0)) if lost_clock else 0.0,
        drift=chance.choice((0.0, 1e-4, -1e-4)) if lost_clock else 0.0,
        acts=_in_order(acts),
        bytes_per_s=4e6 if lies else chance.choice(BYTES_PER_S),
        trial_cuts=_trial_cuts(chance) if cut_trials else (),
        lies=lies,
    )


def _moment(chance: Generator) -> str:
    return str(chance.choice(list(Moment)))


def _trial_cuts(chance: Generator) -> tuple[Cut, ...]:
    return tuple(
        Cut(chance.randint(1, 4), chance.choice(list(Moment))) for _ in range(chance.randint(1, 4))
    )


def _power(sky: Sky) -> list[Act]:
    """Cuts by the operation, some in rows of several that hit the recovery too, and some by time."""
    chance = sky.chance
    acts = []
    for _ in range(chance.randint(1, 3)):
        at_s, row = sky.moment(), chance.choice((1, 1, 2, 4))
        for _ in range(row):
            operations = chance.randint(1, 60 if row == 1 else 12)
            acts.append(Act(at_s, Deed.CUT, number=operations, word=_moment(chance)))
            at_s += 12.0
    acts += [Act(sky.moment(), Deed.POWER_OFF) for _ in range(chance.choice((0, 0, 1, 2)))]
    return acts


def _network(sky: Sky) -> list[Act]:
    chance = sky.chance
    return [_fault(sky, list(Fetch), PATHS) for _ in range(chance.randint(1, 4))]


def _fault(sky: Sky, kinds: Sequence[str], patterns: Sequence[str]) -> Act:
    chance = sky.chance
    return Act(
        sky.moment() if chance.random() < 0.5 else 0.0,
        Deed.FAULT,
        number=chance.randint(1, 4),
        word=str(chance.choice(kinds)),
        pattern=chance.choice(patterns),
        amount=float(chance.choice(AFTERS)),
    )


def _mirror(sky: Sky) -> list[Act]:
    chance = sky.chance
    began_s = sky.moment()
    deeds = (Deed.SERVE_OLD, Deed.SERVE_PART, Deed.SERVE_UNAPPROVED)
    deed = chance.choice(deeds)
    return [
        Act(began_s, deed, number=chance.randrange(1000)),
        Act(began_s + chance.uniform(60, 2 * HOUR_S), Deed.SERVE_NEW),
    ]


def _broker(sky: Sky) -> list[Act]:
    chance = sky.chance
    acts = [_fault(sky, list(Delivery), TOPICS) for _ in range(chance.randint(1, 4))]
    if chance.random() < 0.4:  # nothing that a device says arrives, and the broker thanks for it
        words = str(Delivery.ACCEPTED_AND_LOST)
        acts.append(Act(sky.moment(), Deed.FAULT, number=40, word=words, pattern="*/report"))
    if chance.random() < 0.5:
        down_s = sky.moment()
        acts.append(Act(down_s, Deed.BROKER_DOWN))
        acts.append(Act(down_s + chance.choice((5.0, 120.0, HOUR_S)), Deed.BROKER_UP))
    return acts


def _forgery(sky: Sky) -> list[Act]:
    chance = sky.chance
    acts = [
        Act(sky.moment(), Deed.FORGE, number=chance.randrange(1000))
        for _ in range(chance.randint(1, 3))
    ]
    if chance.random() < 0.5:
        acts.append(Act(sky.moment(), Deed.FLOOD, number=chance.choice((50, 300))))
    return acts


def _files(sky: Sky) -> list[Act]:
    chance = sky.chance
    return [
        _fault(sky, [Storing.DISK_FULL], ("*", "journal.json", "metadata/*"))
        for _ in range(chance.randint(1, 2))
    ]


def _rot(sky: Sky) -> list[Act]:
    """Caches rot as they like; of the two memories at most one does, and in few worlds."""
    chance = sky.chance
    acts = [
        Act(sky.moment(), Deed.ROT, number=chance.randrange(1000), pattern=pattern)
        for pattern in chance.choices(CACHES, k=chance.randint(1, 2))
    ]
    if chance.random() < 0.3:
        memory = chance.choice(MEMORIES)
        acts.append(Act(sky.moment(), Deed.ROT, number=chance.randrange(1000), pattern=memory))
    return acts


def _medium(sky: Sky) -> list[Act]:
    chance = sky.chance
    deeds = (Deed.WRITE_ERROR, Deed.BAD_SECTOR, Deed.BOOT_WRITE_ERROR)
    deed = chance.choice(deeds)
    last = 3 if deed is Deed.BOOT_WRITE_ERROR else 12
    return [
        Act(sky.moment() * chance.randrange(2), deed, number=chance.randint(1, last))
        for _ in range(chance.randint(1, 2))
    ]


def _clock(sky: Sky) -> list[Act]:
    chance = sky.chance
    jumps_s = (-40 * DAY_S, -DAY_S, -HOUR_S, HOUR_S, DAY_S, 40 * DAY_S, 20_000 * DAY_S)
    return [
        Act(sky.moment(), Deed.JUMP, amount=chance.choice(jumps_s))
        for _ in range(chance.randint(0, 2))
    ]


def _system(sky: Sky) -> list[Act]:
    chance = sky.chance
    return [_fault(sky, [*Reboot, *Health], ("*",)) for _ in range(chance.randint(1, 3))]


def _owner(sky: Sky) -> list[Act]:
    chance = sky.chance
    verbs = list(Verb)
    return [
        Act(
            sky.moment(),
            Deed.ASK,
            word=str(chance.choice(verbs)),
            amount=chance.choice((600.0, 6 * HOUR_S)),
        )
        for _ in range(chance.randint(1, 3))
    ]


DRAWS: Final[Mapping[Family, Draw]] = MappingProxyType(
    {
        Family.POWER: _power,
        Family.NETWORK: _network,
        Family.MIRROR: _mirror,
        Family.BROKER: _broker,
        Family.FORGERY: _forgery,
        Family.FILES: _files,
        Family.ROT: _rot,
        Family.MEDIUM: _medium,
        Family.CLOCK: _clock,
        Family.SYSTEM: _system,
        Family.OWNER: _owner,
    }
)
