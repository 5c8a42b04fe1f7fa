"""`lockgate run`: the service, until it is told to stop or the device must reboot."""

import signal
from types import FrameType
from typing import TYPE_CHECKING, Final

from agent import journal as journals
from agent.commands.output import show
from agent.commands.settings import check_certificates
from agent.commands.setup import Setup, check_devices, read_setup
from agent.errors import ConfigError
from agent.interfaces import World
from agent.linux.lock import StateLock
from agent.linux.wake import Waker
from agent.linux.world import service_world, wake_path
from agent.service import Ending, Service

if TYPE_CHECKING:  # an agent that the courier starts goes without it
    import argparse

REBOOT_DUE: Final = 4
INTERRUPTED: Final = 130


class StopSignal:
    """Remembers that the process was asked to stop, and wakes the service so that it looks."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._number = 0

    @property
    def exit_status(self) -> int:
        """That of a process which stopped because it was asked to."""
        return INTERRUPTED if self._number == signal.SIGINT else 0

    def listen(self) -> None:
        """Take the signals of a service manager and of a keyboard."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._take)

    def asked(self) -> bool:
        """Whether one has come."""
        return self._number != 0

    def _take(self, number: int, _frame: FrameType | None) -> None:
        self._number = number
        Waker.send(self._path)


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "run", help="the service: listen, check, install, judge, report, until stopped"
    )
    parser.set_defaults(run=run)


def run(options: "argparse.Namespace") -> int:
    """Serve; 4 when a reboot was asked for and this process must make way."""
    setup = read_setup(options)
    with StateLock(setup.config.paths.state):
        world = service_world(setup.config)
        check_devices(setup.config, setup.profile, world.storage)
        _check_certificates(setup, world)
        stop = StopSignal(wake_path(setup.config))
        stop.listen()
        service = Service(
            world,
            setup.config,
            setup.profile,
            setup.root_of_trust,
            encryption_key=setup.encryption_key,
        )
        ending = service.run(stop=stop.asked)
    show(options, {"ending": ending.value}, [f"lockgate: {ending.value}"])
    return REBOOT_DUE if ending is Ending.REBOOTING else stop.exit_status


def _check_certificates(setup: Setup, world: World) -> None:
    """Refuse to start without them, except in the middle of an update.

    A trial whose certificates are missing must be judged, so that it reverts; without the service it
    would run until something resets it.
    """
    try:
        check_certificates(setup.config)
    except ConfigError:
        journal = journals.load(world.files)
        if journal is None or journal.update is None or journal.update.finished:
            raise
