"""What the kernel has counted for a program and its children: memory, threads, wake-ups, CPU time.

*Own* memory is what would come free if the program ended and nothing else of its kind ran: its private
pages, and the shared ones of its interpreter's files, which other programs here happen to share.
"""

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

KIB_PER_MIB: Final = 1024
MAPPING: Final = re.compile(r"^[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \S+ *(.*)$")
INTERPRETER: Final = (sys.base_prefix, sys.prefix)


@dataclass(frozen=True, slots=True)
class Memory:
    """In KiB, summed over processes."""

    rss: int
    pss: int
    own: int


@dataclass(frozen=True, slots=True)
class Sample:
    """What a program has done so far; `cpu_ms` with the children that have ended."""

    switches: int
    threads: int
    cpu_ms: float


def tree(root: int) -> tuple[int, ...]:
    """A process and all that it has started, as far as they are there."""
    return (root, *(pid for child in _children(root) for pid in tree(child)))


def _children(pid: int) -> list[int]:
    try:
        return [
            int(child)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except (FileNotFoundError, ProcessLookupError):  # it has ended since its parent named it
        return []


def sample(root: int) -> Sample:
    """Voluntary switches and CPU time of all threads (proc_pid_status(5), proc_pid_stat(5))."""
    tasks = [task for pid in tree(root) for task in Path(f"/proc/{pid}/task").iterdir()]
    switches = sum(
        int((task / "status").read_text().split("\nvoluntary_ctxt_switches:")[1].split()[0])
        for task in tasks
    )
    on_cpu_ns = sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)
    fields = Path(f"/proc/{root}/stat").read_text().rsplit(")", 1)[1].split()
    ended_ms = (int(fields[13]) + int(fields[14])) * 1000 / os.sysconf("SC_CLK_TCK")
    return Sample(switches, len(tasks), on_cpu_ns / 1e6 + ended_ms)


def memory(root: int) -> Memory:
    """What a program and its children hold now."""
    found = [_memory(pid) for pid in tree(root)]
    return Memory(
        rss=sum(one.rss for one in found),
        pss=sum(one.pss for one in found),
        own=sum(one.own for one in found),
    )


def _memory(pid: int) -> Memory:
    rss = pss = own = 0
    is_interpreters = False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if mapping := MAPPING.match(line):
            is_interpreters = mapping[1].startswith(INTERPRETER)
            continue
        name, _, rest = line.partition(":")
        kib = int(rest.split()[0]) if rest.strip().endswith("kB") else 0
        rss += kib if name == "Rss" else 0
        pss += kib if name == "Pss" else 0
        counted = ("Rss",) if is_interpreters else ("Private_Clean", "Private_Dirty")
        own += kib if name in counted else 0
    return Memory(rss, pss, own)
