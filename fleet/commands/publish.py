"""`lockgate-fleet publish`: verify what is staged as a device would, then let devices see it."""

import argparse
import sys

from agent.strict import format_time
from fleet.commands.signing import add_keys, key_folders, now, print_json
from fleet.metadata import STAGED, RoleName
from fleet.publish import Publication, publish
from fleet.workspace import Workspace


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = subparsers.add_parser("publish", help="verify the stage and publish it")
    add_keys(parser)
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        choices=[*(role.value for role in STAGED), RoleName.TIMESTAMP.value],
        metavar="ROLE",
        help="publish this role and leave the others as they are; may be repeated. "
        "`--only timestamp` only signs the date anew",
    )
    parser.add_argument("--dry-run", action="store_true", help="verify, and write nothing")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, workspace: Workspace) -> int:
    """Publish and say what changed and what expires soon."""
    publication = publish(
        workspace,
        key_folders(options, workspace),
        now(),
        only=frozenset(RoleName(name) for name in options.only),
        dry_run=options.dry_run,
    )
    if options.json:
        print_json(_document(publication, dry_run=options.dry_run))
        return 0
    verb = "would be published" if options.dry_run else "published"
    for path in publication.written:
        print(f"{verb}: {path}")
    for warning in publication.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return 0


def _document(publication: Publication, *, dry_run: bool) -> dict[str, object]:
    return {
        "dry_run": dry_run,
        "files": list(publication.written),
        "versions": {role.value: version for role, version in publication.versions.items()},
        "expires": {role.value: format_time(date) for role, date in publication.expires.items()},
        "warnings": list(publication.warnings),
    }
