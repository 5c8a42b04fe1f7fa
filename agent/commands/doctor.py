"""`lockgate doctor`: looks at everything an update depends on, and says what to do about each fault."""

import argparse
from collections.abc import Callable, Iterator

from agent.commands.examination import Finding, Level, failure
from agent.commands.examine_board import board_findings
from agent.commands.examine_chips import chip_findings
from agent.commands.examine_network import network_findings
from agent.commands.examine_state import state_findings
from agent.commands.output import show
from agent.commands.settings import read_config
from agent.commands.setup import (
    Setup,
    read_encryption_key,
    read_profile,
    read_root_of_trust,
)
from agent.errors import ConfigError, ProfileError


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    parser = subparsers.add_parser("doctor", help="look at all that an update depends on")
    parser.add_argument(
        "--offline", action="store_true", help="leave out the broker and the repository"
    )
    parser.add_argument(
        "--chips",
        action="store_true",
        help="also ask the bootloaders of microcontrollers who they are, which restarts their firmware",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Examine; 1 when something fails. Nothing that it writes stays."""
    show_line: Callable[[Finding], None] = (lambda _: None) if options.json else _print
    findings: list[Finding] = []
    for finding in _findings(options):
        findings.append(finding)
        show_line(finding)
    failed = sum(finding.level is Level.FAIL for finding in findings)
    warned = sum(finding.level is Level.WARN for finding in findings)
    document = {
        "findings": [
            {
                "name": one.name,
                "level": one.level.value,
                "detail": one.detail,
                "next": one.next_step,
            }
            for one in findings
        ],
        "failed": failed,
        "warned": warned,
    }
    show(options, document, [f"{len(findings)} looked at, {failed} failed, {warned} warned"])
    return 1 if failed else 0


def _findings(options: argparse.Namespace) -> Iterator[Finding]:
    """One after the other; what a failed one would be needed for is left out."""
    try:
        config = read_config(options.config)
        yield Finding("settings", Level.OK, options.config)
        profile = read_profile(config, options.config)
        yield Finding("board profile", Level.OK, f"{config.device.profile}: {profile.name}")
        setup = Setup(config, profile, read_root_of_trust(config), read_encryption_key(config))
        yield Finding("root of trust", Level.OK, config.paths.root_of_trust)
    except (ConfigError, ProfileError) as error:
        name = "board profile" if isinstance(error, ProfileError) else "settings"
        yield failure(name, error)
        return
    yield from board_findings(setup)
    yield from chip_findings(setup, ask=options.chips)
    yield from state_findings(setup)
    if not options.offline:
        yield from network_findings(setup)


def _print(finding: Finding) -> None:
    print(f"{finding.level.value:<4}  {finding.name}: {finding.detail}", flush=True)
    if finding.next_step:
        print(f"      next: {finding.next_step}", flush=True)
