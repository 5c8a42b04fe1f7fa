"""Opens one device for one boot: its world behind the owner's limits, its boot control, its profile."""

from dataclasses import replace

from agent.board import BoardProfile
from agent.config import Config
from agent.device import Device
from agent.interfaces import World
from agent.limits import NO_LIMITS
from agent.pieces import PIECES, Pieces
from agent.restraint import Restraint


def open_device(
    world: World,
    config: Config,
    profile: BoardProfile,
    root_of_trust: bytes,
    pieces: Pieces = PIECES,
    *,
    encryption_key: bytes = b"",
) -> Device:
    """The device as it runs now. Raises `ProfileError` when this is another board."""
    facts = world.system.facts()
    restraint = None if config.limits == NO_LIMITS else Restraint(world, config.limits)
    if restraint is not None:
        world = replace(world, repository=restraint.repository)
    device = pieces.device(
        world=world,
        config=config,
        profile=profile,
        root_of_trust=root_of_trust,
        boot=pieces.boot_control(profile, world.storage, facts),
        facts=facts,
        encryption_key=encryption_key,
        restraint=restraint,
    )
    device.check_board()
    return device
