"""`lockgate courier`: becomes the process that has the network, and waits."""

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

from agent.commands.settings import check_certificates, read_config
from agent.config import Config
from agent.linux.courier.orders import Orders, to_words
from agent.linux.courier.sockets import listen
from agent.linux.wake import WAKE_SOCKET

RESIDENT: Final = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from agent.linux.courier.resident import main; main(sys.argv[2:])"
)
LEAN: Final = ("-I", "-S", "-X", "frozen_modules=on")
PACKAGES: Final = Path(__file__).parents[2]
CREDENTIAL: Final = "device.key"


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "courier", help="the process with the network: waits, fetches, starts the agent"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Check the settings, then become an interpreter that has loaded nothing of what this one has."""
    config = _with_key(read_config(options.config))
    check_certificates(config)
    words = to_words(orders(config, *listen(config.paths.runtime, os.environ)))
    command = [sys.executable, *LEAN, "-c", RESIDENT, str(PACKAGES), *words]
    os.execv(sys.executable, command)  # noqa: S606  # without a shell on purpose


def orders(config: Config, session: int, fetches: int) -> Orders:
    """What the resident process must know."""
    broker, repository = config.broker, config.repository
    return Orders(
        device=config.device.id,
        host=broker.host,
        port=broker.port,
        authority=str(Path(broker.authority).absolute()),
        certificate=str(Path(broker.certificate).absolute()),
        key=str(Path(broker.key).absolute()),
        keepalive_s=broker.keepalive_s,
        retry_max_s=config.timing.retry_max_s,
        repository_authority=str(Path(repository.authority).absolute()),
        urls=repository.urls,
        session=session,
        fetches=fetches,
        wake=f"{config.paths.runtime}/{WAKE_SOCKET}",
        agent=config.courier.agent,
    )


def _with_key(config: Config) -> Config:
    """With the copy of the key that a service manager gives to a user who may not read the key itself."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY", "")
    given = Path(folder) / CREDENTIAL
    if not folder or not given.is_file():
        return config
    return replace(config, broker=replace(config.broker, key=str(given)))
