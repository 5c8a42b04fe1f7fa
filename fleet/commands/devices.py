"""`lockgate-fleet devices`: what the devices said of themselves."""

import argparse
import sys
from collections.abc import Iterable
from dataclasses import asdict

from rich.console import Console
from rich.table import Table
from rich.text import Text

from agent.errors import ConfigError
from agent.report import report_document
from agent.strict import format_time
from fleet.commands.signing import print_json
from fleet.store import DeviceRow, Store, StoredReport
from fleet.workspace import Workspace

COLUMNS = ("device", "online", "slot", "release", "phase", "last report")
PIPE_COLUMNS = 1000
REPORT_COLUMNS = ("received", "times", "outcome", "release", "code", "detail")


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = subparsers.add_parser("devices", help="show what the devices said")
    actions = parser.add_subparsers(dest="action", metavar="list | show DEVICE")
    actions.add_parser("list", help="every device, one line each (the default)")
    show = actions.add_parser("show", help="one device and its reports")
    show.add_argument("device")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, workspace: Workspace) -> int:
    """Print the table, or one device."""
    workspace.settings()  # says so when this is not a fleet's folder
    store = Store(workspace.store)
    store.open()
    try:
        rows = store.devices()
        if options.action == "show":
            rows = tuple(row for row in rows if row.device == options.device)
            if not rows:
                raise ConfigError(
                    f"{options.device}: a device that has said something was expected, none of this name "
                    "has; is `lockgate-fleet collect` running? `lockgate-fleet devices` shows all"
                )
            _show(rows[0], store.reports(options.device), as_json=options.json)
        elif options.json:
            print_json({"devices": [asdict(row) for row in rows]})
        else:
            _console().print(device_table(rows))
        if not rows:
            print(
                "no device has said anything yet; `lockgate-fleet collect` stores what they say",
                file=sys.stderr,
            )
    finally:
        store.close()
    return 0


def _table(columns: Iterable[str]) -> Table:
    """Columns of which only the words of the last one go on in another line."""
    *names, last = columns
    table = Table(box=None, pad_edge=False)
    for name in names:
        table.add_column(name, no_wrap=True)
    table.add_column(last)
    return table


def device_table(rows: Iterable[DeviceRow]) -> Table:
    """The table of devices. Text from devices is never read as markup."""
    table = _table(COLUMNS)
    for row in rows:
        cells = (
            row.device,
            _online(row),
            row.slot,
            row.release,
            _progress(row),
            f"{row.last_outcome} {row.last_release} {row.last_received}".strip(),
        )
        table.add_row(*(Text(cell) for cell in cells))
    return table


def report_table(reports: Iterable[StoredReport]) -> Table:
    """The table of one device's reports, oldest first."""
    table = _table(REPORT_COLUMNS)
    for stored in reports:
        report = stored.report
        cells = (
            format_time(stored.first_received),
            str(stored.times_received),
            report.outcome.value,
            report.release,
            report.code,
            report.detail,
        )
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _show(row: DeviceRow, reports: tuple[StoredReport, ...], *, as_json: bool) -> None:
    if as_json:
        print_json({**asdict(row), "reports": [_report_document(stored) for stored in reports]})
        return
    console = _console()
    console.print(device_table([row]))
    console.print()
    console.print(report_table(reports))


def _report_document(stored: StoredReport) -> dict[str, object]:
    return {
        **report_document(stored.report),
        "first_received": format_time(stored.first_received),
        "times_received": stored.times_received,
    }


def _console() -> Console:
    """As wide as the terminal; in a file or a pipe, where nobody sees an end of line, wide enough."""
    console = Console()
    return console if console.is_terminal else Console(width=PIPE_COLUMNS)


def _online(row: DeviceRow) -> str:
    if row.online is None:
        return "unknown"
    return "online" if row.online else "offline"


def _progress(row: DeviceRow) -> str:
    if not row.total_bytes:
        return row.phase
    return f"{row.phase} {100 * row.done_bytes // row.total_bytes} %"
