"""`lockgate-fleet collect`: store what the devices report, and halt what fails too often."""

import argparse
import signal
import sys
from contextlib import suppress

from fleet.collect import Collector, Event
from fleet.commands.signing import print_json
from fleet.rail import WorkspaceRail
from fleet.workspace import Workspace


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = subparsers.add_parser("collect", help="store what the devices report")
    parser.add_argument(
        "--guard",
        action="store_true",
        help="halt a rollout when more devices fail than it allows; needs the halts key here",
    )
    parser.add_argument(
        "--once-idle", type=float, metavar="SECONDS", help="stop when nothing came for so long"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, workspace: Workspace) -> int:
    """Collect until interrupted, or until nothing comes."""
    collector = Collector(
        workspace,
        tell=_json_line if options.json else _line,
        rail=WorkspaceRail(workspace) if options.guard else None,
        idle_s=options.once_idle,
    )
    signal.signal(signal.SIGTERM, lambda *_: collector.stop())
    with suppress(KeyboardInterrupt):  # the usual way to end it, at a moment that loses nothing
        collector.run()
    counts = ", ".join(f"{kind} {count}" for kind, count in sorted(collector.counts.items()))
    print(f"collected: {counts or 'nothing'}", file=sys.stderr)
    return 0


def _json_line(event: Event) -> None:
    print_json({"event": event.kind, "device": event.device, "detail": event.detail})
    sys.stdout.flush()


def _line(event: Event) -> None:
    words = (event.kind.value, event.device, event.detail)
    print(" ".join(word for word in words if word), flush=True)
