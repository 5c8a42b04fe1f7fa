"""`python -m simulator.demo`: show the main job end to end, and check what it promised."""

import argparse
import shutil
import sys
from pathlib import Path

from rich.table import Table
from rich.text import Text

from agent.errors import UpdateError
from simulator.demo.acts import Story, StoryError
from simulator.demo.checks import Promise
from simulator.demo.fleet import CommandError
from simulator.demo.screen import Screen


def main() -> int:
    """Tell the story; 0 when every promise was kept."""
    parser = argparse.ArgumentParser(prog="lockgate demo", description=__doc__)
    parser.add_argument(
        "--folder", type=Path, default=Path("demo-run"), help="made anew (default: %(default)s)"
    )
    parser.add_argument("--svg", type=Path, metavar="FILE", help="keep a picture of the terminal")
    options = parser.parse_args()
    folder: Path = options.folder.absolute()
    if folder.exists():
        if not (folder / "operator").exists() and any(folder.iterdir()):
            parser.error(f"{folder}: not the folder of an earlier demonstration; name another one")
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    screen = Screen(record=options.svg is not None)
    try:
        promises = Story(folder, screen).tell()
    except (StoryError, CommandError, UpdateError) as error:
        screen.say("story", f"failed: {error}")
        return 1
    status = summarise(screen, promises, options.folder)
    if options.svg is not None:
        screen.save_picture(options.svg)
    return status


def summarise(screen: Screen, promises: tuple[Promise, ...], folder: Path) -> int:
    """Print the fleet and the promises; 1 when one was broken."""
    screen.console.print()
    screen.console.print(screen.table())
    table = Table(title="what was promised", title_justify="left")
    for heading in ("", "promise", "seen"):
        table.add_column(heading, overflow="fold")
    for promise in promises:
        mark = Text("kept", style="green") if promise.kept else Text("BROKEN", style="bold red")
        table.add_row(mark, promise.words, promise.seen)
    screen.console.print(table)
    broken = sum(not promise.kept for promise in promises)
    told = "every promise was kept" if not broken else f"{broken} promises were broken"
    screen.console.print(f"{told}; everything that was made lies in {folder}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
