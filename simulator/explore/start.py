"""How one boot begins, and its name: two boots that begin alike go on alike.

A boot begins with the power, from a durable state, or with a reboot, which keeps what a power cut would
lose: writes that no flush has completed, the bootloader's one-shot flag, and what a chip knows.
"""

from dataclasses import dataclass

from simulator.explore.crash import Unflushed
from simulator.explore.state import DurableState, Fingerprints, fingerprint
from simulator.power import Moment


@dataclass(frozen=True, slots=True)
class ChipCut:
    """The power of one chip fails at an operation of this boot, and its host lives on."""

    chip: str
    operation: int
    moment: Moment


@dataclass(frozen=True, slots=True)
class Start:
    """One boot: from what it wakes.

    `argument` is that of the reboot, None when the power came back. For `outage_s` the network is away.
    """

    state: DurableState
    pending: tuple[Unflushed, ...] = ()
    argument: str | None = None
    outage_s: float = 0.0
    chip_cut: ChipCut | None = None


def name_of(start: Start, prints: Fingerprints) -> int:
    """Its name. That of a boot by power alone, with the network there, is its state's."""
    name = prints.state(start.state) ^ outage_name(start.outage_s)
    if start.argument is not None:
        name ^= fingerprint("reboot", start.argument, "", b"")
    for place, one in enumerate(start.pending):
        where = f"{place} {one.write.offset}"
        name ^= fingerprint("pending", one.path, where, one.write.content)
    return name if start.chip_cut is None else cut_name(name, start.chip_cut)


def outage_name(outage_s: float) -> int:
    """What an outage adds to a name."""
    return fingerprint("outage", f"{outage_s:.3f}", "", b"") if outage_s > 0 else 0


def cut_name(name: int, cut: ChipCut) -> int:
    """The name of a boot in which a chip's power fails."""
    return name ^ fingerprint("chip cut", cut.chip, f"{cut.operation} {cut.moment}", b"")
