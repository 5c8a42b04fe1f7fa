"""What is explored: a board, what goes on around it, and one release that its operator ships.

Images are small, windows smaller and what was written is made durable after a few of them: every feature
of a large update occurs, and the states can be counted out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import Final

from agent.board import BoardProfile, Microcontroller, SlotName
from agent.config import Config
from agent.install import install
from agent.interfaces import Message
from agent.payload import PayloadIndex, parse_index
from agent.pieces import PIECES, Pieces
from agent.release import Hosts
from agent.report import Outcome
from agent.runner import Runner
from simulator.board import make_board
from simulator.chips import image_file
from simulator.explore.chips import (
    chip_image,
    factory_chip,
    first_piece_bytes,
    small_profile,
    started,
)
from simulator.explore.start import Start
from simulator.explore.state import CHECKSUM_BYTES, ChipState, DurableState, copies_of
from simulator.image import Behaviour
from simulator.lab import EXPECTED, Lab, make_images, make_lab
from simulator.operator import ChipFile
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
    CHIP_UNPLUGGED = "chip-unplugged"  # in the middle of its writing, until the old system is back
    PAIR_REFUSED = "pair-refused"  # the chip's new image does not work with the old system


SYSTEM_SCENARIOS: Final = (
    Scenario.HEALTHY,
    Scenario.NEVER_BOOTS,
    Scenario.HANGS,
    Scenario.FAILS_CHECKS,
    Scenario.CACHE_LOST,
    Scenario.NETWORK_DIES,
)
"""What boards without chips are explored in."""
GATEWAY_SCENARIOS: Final = (
    Scenario.HEALTHY,
    Scenario.NEVER_BOOTS,
    Scenario.FAILS_CHECKS,
    Scenario.CHIP_UNPLUGGED,
    Scenario.PAIR_REFUSED,
)
"""What boards with chips are explored in; their systems are those of other boards."""
ONLY_WITH_CHIPS: Final = frozenset((Scenario.CHIP_UNPLUGGED, Scenario.PAIR_REFUSED))
OUTAGE_S: Final = 60.0
"""How long the network stays away after a power cut that took it too."""
BOTH_SYSTEMS: Final = Hosts(1, 2)
NEW_SYSTEM: Final = Hosts(2, 2)
ENDINGS: Final[Mapping[Scenario, Outcome]] = {
    Scenario.CHIP_UNPLUGGED: Outcome.REVERTED,
    Scenario.PAIR_REFUSED: Outcome.FAILED,
}
"""How an update ends where that does not follow from what its image does."""
BEHAVIOURS: Final[Mapping[Scenario, Behaviour]] = {
    Scenario.NEVER_BOOTS: Behaviour.NEVER_BOOTS,
    Scenario.HANGS: Behaviour.HANGS,
    Scenario.FAILS_CHECKS: Behaviour.FAILS_CHECKS,
}


@dataclass(frozen=True, slots=True)
class Scale:
    """How small everything is. Every `flush_bytes` fetched bytes are made durable.

    A chip alone loses its power at `every_word` to it and behind every operation of its flash, or at the
    first and the last of the words between which nothing durable changes.
    """

    sectors: int = 16
    window_bytes: int = 1024
    flush_bytes: int = 4200
    every_word: bool = False
    seed: int = 5

    @property
    def part_bytes(self) -> int:
        """A part has two sectors that no image covers."""
        return (self.sectors + 2) * 512


SCALE: Final = Scale()
GATEWAY_SCALE: Final = Scale(sectors=4, flush_bytes=2600)


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything that stays the same while one configuration is explored.

    `images` are those of all releases that were ever signed for this board, by release and part;
    `indexes` those of the payloads of the new one by part. `chip_images` are what flashes begin with, by
    chip and release, `hosts` the systems with which the new ones are said to work, `chip_payloads` their
    files' names and the lengths of what is fetched for them.
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
    chip_images: Mapping[str, Mapping[str, bytes]]
    chip_payloads: Mapping[str, int]
    hosts: Hosts

    @property
    def expected(self) -> Outcome:
        """How the update ends when the power stays on."""
        if self.scenario in ENDINGS:
            return ENDINGS[self.scenario]
        return EXPECTED[BEHAVIOURS.get(self.scenario, Behaviour.HEALTHY)]

    def whole(self, devices: Mapping[str, bytes], slot: SlotName) -> str | None:
        """The release whose images a slot holds byte for byte, None when there is no such one."""
        parts = self.profile.slots[slot].parts
        for release, images in self.images.items():
            if all(devices[parts[part]].startswith(image) for part, image in images.items()):
                return release
        return None

    @property
    def outage_s(self) -> float:
        """How long the network is away when the power comes back."""
        return OUTAGE_S if self.scenario is Scenario.NETWORK_DIES else 0.0

    def woken(self, state: DurableState) -> Start:
        """How the boot begins after a cut that has left this state."""
        return Start(state, outage_s=self.outage_s)

    def chip_runs(self, chip: Microcontroller, state: ChipState) -> str | None:
        """The release whose image a chip runs, whole; None when it runs none."""
        content = started(chip.settings, state)
        for release, image in self.chip_images[chip.name].items():
            if content is not None and content.startswith(image):
                return release
        return None

    def chip_starts(self, chip: Microcontroller, state: ChipState) -> bool:
        """Whether what starts an image is whole: the first of its pieces that are written as one."""
        content = started(chip.settings, state) or b""
        length = first_piece_bytes(chip.settings)
        return any(
            content[:length] == image[:length] for image in self.chip_images[chip.name].values()
        )

    def survivors(self, files: Mapping[str, bytes]) -> Mapping[str, bytes]:
        """The small files that a power cut leaves."""
        if self.scenario is Scenario.CACHE_LOST:
            return {name: content for name, content in files.items() if "/" not in name}
        return files


def make_stage(
    profile: BoardProfile, scenario: Scenario, *, scale: Scale = SCALE, pieces: Pieces | None = None
) -> Stage:
    """A fleet whose operator has just shipped, and a device that has not heard of it yet."""
    profile = small_profile(profile)
    chips = profile.microcontrollers
    bare = replace(profile, microcontrollers=())
    lab = make_lab(bare, seed=scale.seed, sectors=scale.sectors, part_bytes=scale.part_bytes)
    lab.operator.window_bytes = scale.window_bytes
    images = _images(profile, scenario, scale)
    hosts = NEW_SYSTEM if scenario is Scenario.PAIR_REFUSED else BOTH_SYSTEMS
    _ship(lab, images[str(NUMBER)], chips, hosts)
    factory = Factory(scale.part_bytes, images["1"], standby=images["0"])
    board = make_board(bare, factory).snapshot()
    return Stage(
        profile=profile,
        scenario=scenario,
        scale=scale,
        config=lab.device.config,
        root_of_trust=lab.operator.root_of_trust,
        content=dict(lab.operator.content),
        notice=lab.hub.retained[f"lockgate/{lab.operator.fleet}/notice"],
        images=images,
        indexes=_indexes(lab),
        first=DurableState(
            files=board.files,
            devices=_near_the_last_serial(profile, board.devices),
            chips={chip.name: factory_chip(chip, scale.seed) for chip in chips},
        ),
        pieces=pieces or small_pieces(scale),
        chip_images={
            chip.name: {str(number): chip_image(chip, scale.seed, number) for number in (0, NUMBER)}
            for chip in chips
        },
        chip_payloads={
            f"chips/{image.sha256}": image.payloads[0].length_bytes
            for image in lab.operator.releases[str(NUMBER)].images
            if image.hosts is not None
        },
        hosts=hosts,
    )


def _images(
    profile: BoardProfile, scenario: Scenario, scale: Scale
) -> dict[str, Mapping[str, bytes]]:
    behaviour = BEHAVIOURS.get(scenario, Behaviour.HEALTHY)
    behaviours = [Behaviour.HEALTHY] * NUMBER + [behaviour]
    return {
        str(number): make_images(profile, scale.seed, number, one, scale.sectors)
        for number, one in enumerate(behaviours)
    }


def _ship(
    lab: Lab, images: Mapping[str, bytes], chips: tuple[Microcontroller, ...], hosts: Hosts
) -> None:
    """What an operator does on a release day, with an image for every chip."""
    files = [
        ChipFile(
            chip.name,
            chip.hardware_id,
            image_file(chip.settings, chip_image(chip, lab.seed, NUMBER)),
            hosts,
        )
        for chip in chips
    ]
    name = str(NUMBER)
    lab.operator.release(name, NUMBER, lab.profile.hardware_id, images, files)
    lab.operator.roll_out(f"rollout-{name}", name)
    lab.operator.publish()
    lab.operator.notify()


def _indexes(lab: Lab) -> dict[str, PayloadIndex]:
    """Those of the new release's payloads for the slots, by part."""
    indexes = {}
    for image in lab.operator.releases[str(NUMBER)].images:
        payload = image.payloads[0]
        if image.hosts is None:
            indexes[image.part] = parse_index(
                lab.operator.content[payload.path][: payload.index_bytes],
                sha256=payload.index_sha256,
                image_bytes=image.length_bytes,
                payload_bytes=payload.length_bytes,
            )
    return indexes


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
