"""What the signing commands have in common: where keys are, and how far a role is signed."""

import argparse
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from agent.strict import encode_json
from fleet.keys import KeyFolders, label
from fleet.verify import SigningStatus
from fleet.workspace import Workspace


def add_keys(parser: argparse.ArgumentParser) -> None:
    """Add `--keys`."""
    parser.add_argument(
        "--keys",
        type=Path,
        action="append",
        metavar="DIR",
        help="look for private keys here, in DIR/ROLE/*.pem and DIR/*.pem; may be repeated "
        "(default: keys/ of the fleet's folder)",
    )


def key_folders(options: argparse.Namespace, workspace: Workspace) -> KeyFolders:
    """The folders that `--keys` names, or the workspace's own. Raises `ConfigError`."""
    named = KeyFolders(tuple(options.keys or ()))
    named.check()
    return named if named.folders else KeyFolders((workspace.keys,))


def now() -> datetime:
    """The date; only commands ask for it."""
    return datetime.now(UTC)


def print_json(document: dict[str, object]) -> None:
    """One JSON document on one line."""
    print(encode_json(document).decode(), end="")


def print_statuses(statuses: Iterable[SigningStatus], *, as_json: bool) -> None:
    """How far roles are signed, and what to do next."""
    found = tuple(statuses)
    if as_json:
        print_json({"roles": [status_document(status) for status in found]})
        return
    for status in found:
        print(status.sentence)
    if all(status.complete for status in found):
        print("devices see it after `lockgate-fleet publish`")


def status_document(status: SigningStatus) -> dict[str, object]:
    """A signing status for machines."""
    return {
        "role": status.role,
        "version": status.version,
        "complete": status.complete,
        "threshold": status.threshold,
        "signed": [label(key) for key in status.signed],
        "unsigned": [label(key) for key in status.unsigned],
    }
