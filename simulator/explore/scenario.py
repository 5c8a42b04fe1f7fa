"""What is explored: a board, what goes on around it, and one release that its operator ships.

Images are small, windows smaller and what was written is made durable after a few of them: every feature
of a large update occurs, and the states can be counted out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Final

from agent.board import BoardProfile, SlotName
from agent.config import Config
from agent.install import install
from agent.interfaces import Message
from agent.payload import PayloadIndex, parse_index
from agent.pieces import PIECES, Pieces
from agent.report import Outcome
from agent.runner import Runner
from simulator.board import make_board
from simulator.explore.state import CHECKSUM_BYTES, DurableState, copies_of
from simulator.image import Behaviour
from simulator.lab import EXPECTED, make_images, make_lab
from simulator.storage import Factory

NUMBER: Final = 2
"""The release that is shipped; slot a holds release 1, slot b what was there before it."""
SERIAL: Final = 252
"""The first serial numbers of a U-Boot environment: 252 and 253."""


class Scenario(StrEnum):
    """What the new release does, or what goes wrong around the device."""

    HEALTHY = "healthy"
    NEVER_BOOTS = "never-boots"
    HANGS = "hangs"
    FAILS_CHECKS = "fails-checks"
    CACHE_LOST = "cache-lost"  # every power cut takes the copies of the signed metadata with it
    NETWORK_DIES = "network-dies"  # with every power cut for a while, and in every download


BEHAVIOURS: Final[Mapping[Scenario, Behaviour]] = {
    Scenario.NEVER_BOOTS: Behaviour.NEVER_BOOTS,
    Scenario.HANGS: Behaviour.HANGS,
    Scenario.FAILS_CHECKS: Behaviour.FAILS_CHECKS,
}


@dataclass(frozen=True, slots=True)
class Scale:
    """How small everything is. Every `flush_bytes` fetched bytes are made durable."""

    sectors: int = 16
    window_bytes: int = 1024
    flush_bytes: int = 4200
    seed: int = 5

    @property
    def part_bytes(self) -> int:
        """A part has two sectors that no image covers."""
        return (self.sectors + 2) * 512


SCALE: Final = Scale()


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything that stays the same while one configuration is explored.

    `images` are those of all releases that were ever signed for this board, by release and part;
    `indexes` those of the payloads of the new one by part.
    """

    profile: BoardProfile
    scenario: Scenario
    scale: Scale
    config: Config
    root_of_trust: bytes
    content: Mapping[str, bytes]
    notice: Message
    images: Mapping[str, Mapping[str, bytes]]
    indexes: Mapping[str, PayloadIndex]
    first: DurableState
    pieces: Pieces

    @property
    def expected(self) -> Outcome:
        """How the update ends when the power stays on."""
        return EXPECTED[BEHAVIOURS.get(self.scenario, Behaviour.HEALTHY)]

    def whole(self, devices: Mapping[str, bytes], slot: SlotName) -> str | None:
        """The release whose images a slot holds byte for byte, None when there is no such one."""
        parts = self.profile.slots[slot].parts
        for release, images in self.images.items():
            if all(devices[parts[part]].startswith(image) for part, image in images.items()):
                return release
        return None

    def survivors(self, files: Mapping[str, bytes]) -> Mapping[str, bytes]:
        """The small files that a power cut leaves."""
        if self.scenario is Scenario.CACHE_LOST:
            return {name: content for name, content in files.items() if "/" not in name}
        return files


def make_stage(
    profile: BoardProfile, scenario: Scenario, *, scale: Scale = SCALE, pieces: Pieces | None = None
) -> Stage:
    """A fleet whose operator has just shipped, and a device that has not heard of it yet."""
    behaviour = BEHAVIOURS.get(scenario, Behaviour.HEALTHY)
    lab = make_lab(profile, seed=scale.seed, sectors=scale.sectors, part_bytes=scale.part_bytes)
    lab.operator.window_bytes = scale.window_bytes
    lab.ship(behaviour, NUMBER)
    images = {
        str(number): make_images(
            profile,
            scale.seed,
            number,
            behaviour if number == NUMBER else Behaviour.HEALTHY,
            scale.sectors,
        )
        for number in range(NUMBER + 1)
    }
    factory = Factory(scale.part_bytes, images["1"], standby=images["0"])
    board = make_board(profile, factory).snapshot()
    indexes = {}
    for image in lab.operator.releases[str(NUMBER)].images:
        payload = image.payloads[0]
        indexes[image.part] = parse_index(
            lab.operator.content[payload.path][: payload.index_bytes],
            sha256=payload.index_sha256,
            image_bytes=image.length_bytes,
            payload_bytes=payload.length_bytes,
        )
    return Stage(
        profile=profile,
        scenario=scenario,
        scale=scale,
        config=lab.device.config,
        root_of_trust=lab.operator.root_of_trust,
        content=dict(lab.operator.content),
        notice=lab.hub.retained[f"lockgate/{lab.operator.fleet}/notice"],
        images=images,
        indexes=indexes,
        first=DurableState(
            files=board.files, devices=_near_the_last_serial(profile, board.devices)
        ),
        pieces=pieces or small_pieces(scale),
    )


def _near_the_last_serial(
    profile: BoardProfile, devices: Mapping[str, bytes]
) -> Mapping[str, bytes]:
    """The devices with the serial numbers of an environment a few writes before they start again."""
    changed = {path: bytearray(content) for path, content in devices.items()}
    for path, offset in copies_of(profile).places:
        changed[path][offset + CHECKSUM_BYTES] += SERIAL  # the checksum does not cover it
    return {path: bytes(content) for path, content in changed.items()}


def small_pieces(scale: Scale) -> Pieces:
    """The agent's own pieces; only the interval between two flushes fits the small images."""
    return Pieces(
        device=PIECES.device,
        boot_control=PIECES.boot_control,
        runner=partial(Runner, install=partial(install, flush_bytes=scale.flush_bytes)),
    )
