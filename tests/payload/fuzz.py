"""`make fuzz`: payloads with seeded lies in them, as many as fit into the time; status 1 for any finding.

    python -m tests.payload.fuzz [--seconds 180] [--seed 0]

A finding is an end without the right image and without an `UpdateError`, any other exception, a write
although every index lies, a failed installation that leaves a slot able to start, or too much memory.
"""

import argparse
import re
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Final

from tests.payload.hostile import LIES, Offer, Outcome, make_offer, take

MEMORY_MIB_MAX: Final = 24
"""More than an honest installation of this size needs, and less than a bomb holds."""


def case(offer: Offer, name: str, seed: int) -> Outcome:
    """One lie of one kind; where it is in the full payload, that one is mostly alone."""
    chance = Random(f"{name} {seed}")
    lying, harmless = LIES[name](offer, chance)
    if not harmless and chance.randrange(4):
        lying = lying.without_delta()
    return take(lying, harmless=harmless)


def measured_case(offer: Offer, name: str, seed: int) -> tuple[Outcome, int]:
    """The same, and by how many MiB the process grew meanwhile."""
    before_mib = memory_mib("VmRSS")
    forget_peak()
    outcome = case(offer, name, seed)
    return outcome, memory_mib("VmHWM") - before_mib


def memory_mib(key: str) -> int:
    """`VmRSS` or its peak `VmHWM` of this process."""
    found = re.search(rf"{key}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None, "the kernel says it"
    return int(found[1]) // 1024


def forget_peak() -> None:
    """Let the peak begin at what is used now (proc_pid_clear_refs(5))."""
    Path("/proc/self/clear_refs").write_text("5")


def main() -> int:
    """Fuzz, tell, judge."""
    parser = argparse.ArgumentParser(prog="fuzz", description="payloads with lies in them")
    parser.add_argument("--seconds", type=float, default=180.0, help="how long (default: 180)")
    parser.add_argument("--seed", type=int, default=0, help="the first seed (default: 0)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lockgate-fuzz-") as name:
        offer = make_offer(Path(name))
    ends: dict[str, Counter[str]] = {name: Counter() for name in LIES}
    findings = grown_mib = 0
    deadline_s = time.monotonic() + options.seconds
    seed = options.seed
    while time.monotonic() < deadline_s:
        for name in LIES:
            outcome, peak_mib = measured_case(offer, name, seed)
            grown_mib = max(grown_mib, peak_mib)
            ends[name][end_of(outcome)] += 1
            for finding in outcome.findings:
                findings += 1
                say(f"{name} {seed}: {finding}")
        seed += 1
    show(ends)
    say(
        f"{seed - options.seed} seeds, {findings} findings, {grown_mib} MiB of memory for one at most"
    )
    return 1 if findings or grown_mib > MEMORY_MIB_MAX else 0


def say(line: str) -> None:
    """Tell how far it is."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def end_of(outcome: Outcome) -> str:
    """How it ended, in a word or two."""
    if outcome.error is None:
        return "the image"
    return f"{outcome.error.code}, {'some' if outcome.written else 'nothing'} written"


def show(ends: dict[str, Counter[str]]) -> None:
    """A line for each kind of lie."""
    for name, counts in ends.items():
        told = "; ".join(f"{count:,} {end}" for end, count in counts.most_common())
        say(f"{name:14} {counts.total():>9,}: {told}")


if __name__ == "__main__":
    sys.exit(main())
