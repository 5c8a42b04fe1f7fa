"""`lockgate agent`: the process that has the disk, until there is nothing to do."""

import argparse

from agent.commands.output import show
from agent.commands.run import REBOOT_DUE, StopSignal
from agent.commands.setup import check_devices, read_setup
from agent.linux.lock import StateLock
from agent.linux.world import agent_world, wake_path
from agent.service import Ending, Service


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "agent",
        help="the process with the disk: started by the courier, ends when nothing is to do",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Do what there is to do; 4 when a reboot was asked for and this process must make way."""
    setup = read_setup(options)
    with StateLock(setup.config.paths.state):
        world, rest = agent_world(setup.config)
        check_devices(setup.config, setup.profile, world.storage)
        stop = StopSignal(wake_path(setup.config))
        stop.listen()
        rest.attach()
        service = Service(world, setup.config, setup.profile, setup.root_of_trust)
        ending = service.run(stop=stop.asked, rest=rest)
    show(options, {"ending": ending.value}, [f"lockgate: {ending.value}"])
    return REBOOT_DUE if ending is Ending.REBOOTING else stop.exit_status
