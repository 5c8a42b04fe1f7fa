"""`python -m simulator.wrong_things`: what is said to wrong things, and that they change nothing.

Most of it happens on a simulated board with the real agent; the wrong certificate authority and the
missing broker are tried with real TLS and a real socket. Exits with 1 if a code was not the documented
one, or if a byte of a slot or of the boot state changed.
"""

import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.text import Text

from agent.basics import RepositorySettings
from agent.board import parse_profile
from agent.config import BrokerSettings
from agent.errors import UpdateError
from agent.interfaces import Message
from agent.linux.broker import MqttBroker
from agent.linux.repository import HttpsRepository
from agent.report import Outcome, parse_status
from agent.topics import Topics
from fleet import authority
from fleet.broker_process import free_port
from fleet.certificates import Holder, identity
from fleet.initialise import Trust, initialise
from fleet.keys import KeyFolders
from fleet.publish import publish
from fleet.server import HttpsServer
from fleet.workspace import FleetSettings, Workspace
from simulator.faults import Fetch, Storing
from simulator.lab import Lab, make_lab
from simulator.profiles import load_profile

BOARD: Final = "rpi4-tryboot"
MINUTES_10: Final = 600.0
ALWAYS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Answer:
    """What was said to one wrong thing, and whether everything stayed as it was."""

    thing: str
    wanted: str
    code: str
    sentence: str
    unchanged: bool

    @property
    def right(self) -> bool:
        """The documented code, and nothing changed."""
        return self.code == self.wanted and self.unchanged


def under_signed(lab: Lab) -> None:
    """A release whose metadata one key signed where two must."""
    lab.operator.release("2", 2, lab.profile.hardware_id, lab.images(2))
    lab.operator.roll_out("rollout-2", "2")
    lab.operator.publish(signatures=1)


def expired(lab: Lab) -> None:
    """Metadata that was signed long ago."""
    lab.operator.release("2", 2, lab.profile.hardware_id, lab.images(2))
    lab.operator.roll_out("rollout-2", "2")
    lab.operator.publish(signed_at=lab.clock.true_time() - timedelta(days=40))


def older_state(lab: Lab) -> None:
    """A mirror that goes back to an older, validly signed state, with the cache of the device lost."""
    older = lab.operator.snapshot()
    lab.operator.publish()
    lab.operator.notify()
    lab.device.run(lab.clock.now_s + MINUTES_10)
    lab.repository.source = older
    for name in [name for name in lab.device.board.files.content if "/" in name]:
        del lab.device.board.files.content[name]


def older_release(lab: Lab) -> None:
    """A signed rollout of a release whose counter the device has had already."""
    lab.operator.release("0", 1, lab.profile.hardware_id, lab.images(2))
    lab.operator.roll_out("rollout-0", "0")
    lab.operator.publish()


def other_hardware(lab: Lab) -> None:
    """A release for another board."""
    lab.operator.release("2", 2, "some,other-board", lab.images(2))
    lab.operator.roll_out("rollout-2", "2")
    lab.operator.publish()


def too_large(lab: Lab) -> None:
    """An image that is larger than the slot."""
    lab.sectors *= 4
    lab.ship()


def truncated(lab: Lab) -> None:
    """A mirror whose copy of the payload ends early."""
    lab.faults.add(Fetch.TRUNCATED, "blobs/*", times=ALWAYS)
    lab.ship()


def disk_full(lab: Lab) -> None:
    """No room for the agent's own small files."""
    lab.faults.add(Storing.DISK_FULL, "*", times=ALWAYS)
    lab.ship()


ON_A_BOARD: Final[tuple[tuple[str, str, Callable[[Lab], None]], ...]] = (
    ("a release signed by too few keys", "trust", under_signed),
    ("metadata that has expired", "trust-expired", expired),
    ("an older state of the repository", "trust-rollback", older_state),
    ("an older release", "stay", older_release),
    ("a release for other hardware", "refused-hardware", other_hardware),
    ("an image larger than the slot", "install-too-large", too_large),
    ("a truncated payload", "fetch", truncated),
    ("no disk space for state", "state", disk_full),
)


def on_a_board(thing: str, wanted: str, spoil: Callable[[Lab], None]) -> Answer:
    """Let the real agent meet it on a simulated board."""
    lab = make_lab(load_profile(BOARD), seed=7)
    lab.device.run(lab.clock.now_s + MINUTES_10)
    before = lab.device.board.snapshot().devices
    spoil(lab)
    lab.operator.notify()
    lab.device.run(lab.clock.now_s + MINUTES_10)
    code, sentence = _said(lab)
    return Answer(thing, wanted, code, sentence, lab.device.board.snapshot().devices == before)


def _said(lab: Lab) -> tuple[str, str]:
    """The report of it, else what the device's retained state says."""
    for report in lab.operator.reports.values():
        if report.outcome is not Outcome.CONFIRMED:
            return report.code, report.detail
    settings = lab.device.config.device
    kept: Message = lab.hub.retained[Topics(settings.fleet, settings.id).state]
    code, colon, sentence = parse_status(kept.content).detail.partition(": ")
    return (code, sentence) if colon and " " not in code else ("stay", code + colon + sentence)


def profile_with(old: bytes, new: bytes, thing: str) -> Answer:
    """Read a shipped profile after one change."""
    path = Path(__file__).resolve().parent.parent / "board-profiles" / f"{BOARD}.toml"
    try:
        parse_profile(path.read_bytes().replace(old, new), f"{BOARD}.toml")
    except UpdateError as error:
        return Answer(thing, "profile", error.code, str(error), unchanged=True)
    return Answer(thing, "profile", "accepted", "", unchanged=True)


def over_real_tls(folder: Path) -> list[Answer]:
    """A repository of another authority, and a broker that is not there."""
    ours, theirs = _fleet(folder / "ours"), _fleet(folder / "theirs")
    publish(ours, KeyFolders((ours.keys,)), datetime.now(UTC))
    with HttpsServer(ours, port=0) as server:
        url = f"https://localhost:{server.port}"
        wrong = identity(theirs, Holder.REPOSITORY).authority
        repository = HttpsRepository(RepositorySettings((url,), str(wrong)))
        wrong_authority = _tried(
            "a server of another authority",
            "fetch-tls",
            lambda: repository.open("metadata/timestamp.json", 0, 1024).read(1),
        )
    files = identity(ours, Holder.OPERATOR)
    settings = BrokerSettings(
        host="localhost",
        port=free_port(),
        authority=str(files.authority),
        certificate=str(files.certificate),
        key=str(files.key),
        keepalive_s=60,
    )
    will = Message("lockgate/wrong/device/presence", b"")
    no_broker = _tried(
        "no broker", "broker", lambda: MqttBroker(settings, "device").connect((), will)
    )
    return [wrong_authority, no_broker]


def _fleet(root: Path) -> Workspace:
    workspace, now = Workspace(root), datetime.now(UTC)
    root.mkdir()
    settings = FleetSettings("wrong", "localhost", 8883, "https://localhost:8443")
    initialise(workspace, settings, now, Trust(classical_only=True))
    authority.create(workspace, settings, now)
    return workspace


def _tried(thing: str, wanted: str, attempt: Callable[[], object]) -> Answer:
    try:
        attempt()
    except UpdateError as error:
        return Answer(thing, wanted, error.code, str(error), unchanged=True)
    return Answer(thing, wanted, "accepted", "", unchanged=False)


def main() -> int:
    """Try everything and print what came of it."""
    answers = [on_a_board(*row) for row in ON_A_BOARD]
    answers.append(profile_with(b"[boot]", b"[boot]\ncolour = 1", "a profile with an unknown key"))
    answers.append(profile_with(b"schema = 1", b"schema = ", "a profile that is no TOML"))
    folder = Path(tempfile.mkdtemp(prefix="lockgate-wrong-"))
    try:
        answers += over_real_tls(folder)
    finally:
        shutil.rmtree(folder)
    console = Console(highlight=False, markup=False)
    for answer in answers:
        mark = Text("right" if answer.right else "WRONG", "green" if answer.right else "bold red")
        state = "unchanged" if answer.unchanged else "CHANGED"
        told = f" {answer.thing}: code {answer.code}; slots and boot state {state}"
        console.print(mark, told, soft_wrap=True)
        console.print(Text(f"       {answer.sentence}", style="dim"), soft_wrap=True)
    return 0 if all(answer.right for answer in answers) else 1


if __name__ == "__main__":
    sys.exit(main())
