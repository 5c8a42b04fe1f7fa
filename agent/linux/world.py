"""Builds the `World` of a real device from its settings; what is heavy is imported when it is needed."""

from typing import Final

from agent.config import Config
from agent.errors import BrokerError
from agent.interfaces import Broker, Message, World
from agent.linux.clock import LinuxClock
from agent.linux.files import LinuxFiles
from agent.linux.random import LinuxRandom
from agent.linux.repository import HttpsRepository
from agent.linux.scratch import LinuxScratch
from agent.linux.serial_ports import LinuxSerialPorts
from agent.linux.storage import LinuxStorage
from agent.linux.system import LinuxSystem

WAKE_SOCKET: Final = "wake"


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


def local_world(config: Config) -> World:
    """The device without its broker, for commands that run beside or instead of the service."""
    return _world(config, NoBroker())


def service_world(config: Config) -> World:
    """The device with its broker, which also wakes for local requests at `wake_path`."""
    from agent.linux.broker import MqttBroker  # noqa: PLC0415  # 12 MiB that most commands go without
    from agent.linux.wake import Waker  # noqa: PLC0415  # goes with the broker

    waker = Waker(wake_path(config))
    return _world(config, MqttBroker(config.broker, config.device.id, waker))


def _world(config: Config, broker: Broker) -> World:
    return World(
        clock=LinuxClock(),
        files=LinuxFiles(config.paths.state),
        storage=LinuxStorage(),
        repository=HttpsRepository(config.repository),
        broker=broker,
        system=LinuxSystem(config.paths, config.reboot),
        random=LinuxRandom(),
        scratch=LinuxScratch(config.paths.runtime),
        serial=LinuxSerialPorts(),
    )
