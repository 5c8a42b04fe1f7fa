"""`lockgate agent`: the process that has the disk, until there is nothing to do."""

from typing import TYPE_CHECKING

from agent.commands.output import show
from agent.commands.settings import read_basics
from agent.linux.courier.ends import Ends, ends_of
from agent.linux.lock import StateLock

if TYPE_CHECKING:  # a glance goes without it
    import argparse


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "agent",
        help="the process with the disk: started by the courier, ends when nothing is to do",
    )
    parser.set_defaults(run=run)


def run(options: "argparse.Namespace") -> int:
    """Do what there is to do; 4 when a reboot was asked for and this process must make way.

    A glance comes first: most of the time it finds nothing, and then the rest is not even loaded.
    """
    basics = read_basics(options.config)
    with StateLock(basics.paths.state):
        ends = ends_of(basics, options.config)
        if not ends.glance():
            return _serve(options, ends)
    show(options, {"ending": "resting"}, ["lockgate: resting"])
    return 0


def _serve(options: "argparse.Namespace", ends: Ends) -> int:
    from agent.commands.run import REBOOT_DUE, StopSignal  # noqa: PLC0415  # all of the agent
    from agent.commands.setup import check_devices, read_setup  # noqa: PLC0415  # as above
    from agent.linux.world import agent_world, wake_path  # noqa: PLC0415  # as above
    from agent.service import Ending, Service  # noqa: PLC0415  # as above

    setup = read_setup(options)
    world = agent_world(setup.config, ends)
    check_devices(setup.config, setup.profile, world.storage)
    stop = StopSignal(wake_path(setup.config))
    stop.listen()
    service = Service(
        world,
        setup.config,
        setup.profile,
        setup.root_of_trust,
        encryption_key=setup.encryption_key,
    )
    ending = service.run(stop=stop.asked, rest=ends.rest)
    show(options, {"ending": ending.value}, [f"lockgate: {ending.value}"])
    return REBOOT_DUE if ending is Ending.REBOOTING else stop.exit_status
