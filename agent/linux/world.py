"""Builds the `World` of a real device from its settings; what is heavy is imported when it is needed."""

from typing import TYPE_CHECKING

from agent.config import Config
from agent.errors import BrokerError
from agent.interfaces import Broker, ByteStream, Message, Repository, World
from agent.linux.clock import LinuxClock
from agent.linux.files import LinuxFiles
from agent.linux.random import LinuxRandom
from agent.linux.scratch import LinuxScratch
from agent.linux.serial_ports import LinuxSerialPorts
from agent.linux.storage import LinuxStorage
from agent.linux.system import LinuxSystem
from agent.linux.wake import WAKE_SOCKET

if TYPE_CHECKING:
    from agent.linux.courier.ends import Ends


class NoBroker:
    """A `Broker` for what someone does at the device without the service: there is no session."""

    @property
    def connected(self) -> bool:
        """Never."""
        return False

    def connect(self, subscriptions: tuple[str, ...], will: Message) -> None:
        """Refuse, with `BrokerError`."""
        del subscriptions, will
        raise BrokerError("only the running service has a session with the broker; start it")

    def next_message(self, timeout_s: float) -> Message | None:
        """Nothing comes, and nobody waits for it."""
        del timeout_s
        return None

    def publish(self, message: Message) -> None:
        """Refuse, with `BrokerError`."""
        raise BrokerError(f"no session with the broker; {message.topic} was not published")

    def close(self) -> None:
        """There is nothing to close."""


def wake_path(config: Config) -> str:
    """Where the running service listens for requests of someone at the device."""
    return f"{config.paths.runtime}/{WAKE_SOCKET}"


def fetches_path(config: Config) -> str:
    """Where the courier listens for whoever wants to fetch."""
    from agent.linux.courier import sockets  # noqa: PLC0415  # as above

    return f"{config.paths.runtime}/{sockets.FETCHES}"


class NearestRepository:
    """The courier where there is one; else this process fetches by itself. Raises `FetchError`."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._chosen: Repository | None = None

    def open(self, path: str, offset: int, length_max: int) -> ByteStream:
        """The bytes of a file from offset on."""
        if self._chosen is None:
            self._chosen = self._choose()
        return self._chosen.open(path, offset, length_max)

    def _choose(self) -> Repository:
        from agent.linux.courier.sockets import answers  # noqa: PLC0415  # when there is a need

        path = fetches_path(self._config)
        return _courier_repository(self._config) if answers(path) else _https(self._config)


def local_world(config: Config) -> World:
    """The device without its broker, for commands that run beside or instead of the service."""
    return _world(config, NoBroker(), NearestRepository(config))


def service_world(config: Config) -> World:
    """The device with its broker, which also wakes for local requests at `wake_path`."""
    from agent.linux.broker import MqttBroker  # noqa: PLC0415  # most commands go without
    from agent.linux.wake import Waker  # noqa: PLC0415  # goes with the broker

    broker = MqttBroker(config.broker, config.device.id, Waker(wake_path(config)))
    return _world(config, broker, _https(config))


def agent_world(config: Config, ends: "Ends") -> World:
    """The device without a network, all of which the courier has."""
    return _world(config, ends.broker, ends.repository)


def _courier_repository(config: Config) -> Repository:
    from agent.linux.courier.repository import CourierRepository  # noqa: PLC0415  # only where used

    return CourierRepository(fetches_path(config), len(config.repository.urls))


def _https(config: Config) -> Repository:
    from agent.linux.repository import HttpsRepository  # noqa: PLC0415  # not with a courier

    return HttpsRepository(config.repository)


def _world(config: Config, broker: Broker, repository: Repository) -> World:
    return World(
        clock=LinuxClock(),
        files=LinuxFiles(config.paths.state),
        storage=LinuxStorage(),
        repository=repository,
        broker=broker,
        system=LinuxSystem(config.paths, config.reboot),
        random=LinuxRandom(),
        scratch=LinuxScratch(config.paths.runtime),
        serial=LinuxSerialPorts(),
    )
