"""`make kill-sweep`: every durable system call of whole updates killed once, and failed in each way.

Run it as `python -m tests.witness.kill_sweep`, `--help` names its options; it ends with a table, and with
status 1 when anything was violated. Boards with microcontrollers are left out unless they are named: the
device of the witnesses has no serial line, so that they make the same calls as the board below them.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from simulator.image import Behaviour
from simulator.profiles import load_profile, profile_names
from tests.witness.sweep import Case, Tally, prepare, sweep_errors, sweep_kills

SLICES: Final = 4
MEMORY: Final = Path("/dev/shm")
KINDS: Final = ("kill", "error")
BEHAVIOURS: Final = (Behaviour.HEALTHY.value, Behaviour.FAILS_CHECKS.value)


@dataclass(frozen=True, slots=True)
class Piece:
    """One worker's share: every `step`-th call from `first` on."""

    case: Case
    kind: str
    first: int
    step: int
    seed: int
    folder: str


def main(arguments: list[str]) -> int:
    """Sweep, tell, judge."""
    options = _options(arguments)
    began_s = time.monotonic()
    totals: dict[tuple[str, str], Tally] = {}
    pieces = list(_pieces(options))
    with ProcessPoolExecutor(options.jobs) as pool:
        futures = {pool.submit(work, piece): piece for piece in pieces}
        for done, future in enumerate(as_completed(futures), start=1):
            piece = futures[future]
            tally = future.result()
            totals.setdefault((piece.case.name, piece.kind), Tally()).add(tally)
            say(
                f"[{done}/{len(pieces)}] {piece.case.name}: {tally.calls} calls, "
                f"{tally.kills} kills, {tally.faults} faults, {len(tally.violations)} violations"
            )
            for violation in tally.violations:
                say(f"  VIOLATION {violation}")
    show(totals, time.monotonic() - began_s)
    return 1 if any(tally.violations for tally in totals.values()) else 0


def work(piece: Piece) -> Tally:
    """Prepare one update and sweep a share of its calls."""
    folder = Path(tempfile.mkdtemp(prefix="lockgate-witness-", dir=piece.folder))
    try:
        prepared = prepare(folder / "bench", piece.case, piece.seed)
        points = islice(prepared.points(), piece.first, None, piece.step)
        tally = Tally()
        if piece.kind == "kill":
            sweep_kills(prepared, points, tally, quiet)
        else:
            sweep_errors(prepared, points, tally, quiet)
        tally.processes = prepared.bench.processes
        return tally
    finally:
        shutil.rmtree(folder)


def show(totals: dict[tuple[str, str], Tally], took_s: float) -> None:
    """The table."""
    row = "{:44} {:>6} {:>6} {:>7} {:>10} {:>10} {:>10}"
    say("")
    say(row.format("update", "calls", "kills", "faults", "recovered", "processes", "violations"))
    everything = Tally()
    for (name, kind), tally in sorted(totals.items()):
        say(_row(row, f"{name}, {kind}", tally))
        everything.add(tally)
    say(_row(row, "all", everything))
    ends = ", ".join(f"{count} {name}" for name, count in sorted(everything.outcomes.items()))
    say(f"ends: {ends}; {took_s:.0f} s")


def _row(row: str, name: str, tally: Tally) -> str:
    return row.format(
        name,
        tally.calls,
        tally.kills,
        tally.faults,
        tally.recoveries,
        tally.processes,
        len(tally.violations),
    )


def _pieces(options: argparse.Namespace) -> Iterator[Piece]:
    for kind in options.kinds:
        for behaviour in map(Behaviour, options.behaviours):
            if kind == "error" and behaviour is not Behaviour.HEALTHY:
                continue
            for profile in options.profiles:
                for first in range(SLICES):
                    step = SLICES * options.every
                    case = Case(profile, behaviour)
                    yield Piece(
                        case, kind, first * options.every, step, options.seed, options.folder
                    )


def without_chips() -> list[str]:
    """The boards that have slots and nothing else."""
    return [name for name in profile_names() if not load_profile(name).microcontrollers]


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="kill-sweep", description=__doc__)
    parser.add_argument("--jobs", type=int, default=2, help="workers at the same time")
    parser.add_argument("--seed", type=int, default=1, help="of images, keys and jitter")
    parser.add_argument("--every", type=int, default=1, help="only every Nth call")
    parser.add_argument("--profiles", nargs="+", choices=profile_names(), default=without_chips())
    parser.add_argument("--behaviours", nargs="+", choices=BEHAVIOURS, default=BEHAVIOURS)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument(
        "--folder",
        default=str(MEMORY) if MEMORY.is_dir() else None,
        help="where the devices' files lie; in memory unless told otherwise",
    )
    return parser.parse_args(arguments)


def say(line: str) -> None:
    """Tell how far it is."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def quiet(line: str) -> None:
    """A worker's findings are told by the one who started it."""
    del line


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
