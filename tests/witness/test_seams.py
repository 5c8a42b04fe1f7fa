from dataclasses import dataclass

import pytest

from simulator.image import Behaviour
from simulator.lab import make_lab
from simulator.power import Operation
from simulator.profiles import load_profile, profile_names
from tests.witness.bench import Bench, check_ending, make_bench
from tests.witness.calls import TRACED, Call, touches
from tests.witness.durability import Durability
from tests.witness.pairing import SILENT, Pairing, SeamCall
from tests.witness.tracing import trace

CASES = [
    (profile, behaviour)
    for profile in profile_names()
    for behaviour in (Behaviour.HEALTHY, Behaviour.FAILS_CHECKS)
]

pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True, slots=True)
class Update:
    """One whole update with the system calls of each of its boots, and what bootloaders wrote."""

    bench: Bench
    boots: tuple[tuple[Call, ...], ...]
    bootloader: tuple[tuple[str, ...], ...]

    def pairing(self, boots: tuple[tuple[Call, ...], ...] | None = None) -> Pairing:
        """The seams' calls, with what a trace has that they have not."""
        settings = self.bench.settings
        pairing = Pairing(settings.device, settings.around / "seams.log")
        for calls in boots or self.boots:
            pairing.read(calls)
        return pairing

    def durability(self, boots: tuple[tuple[Call, ...], ...] | None = None) -> Durability:
        """What was done before its time."""
        durability = Durability(self.bench.settings.device, self.bench.settings.around)
        for calls in boots or self.boots:
            durability.follow(calls)
        return durability


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def update(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Update:
    profile, behaviour = request.param
    bench = make_bench(tmp_path_factory.mktemp("update"), profile, behaviour=behaviour)
    boots, bootloader = [], []
    for _ in range(5):
        run, calls = trace(bench, traced=TRACED)
        check_ending(run)
        boots.append(tuple(calls))
        history: list[Operation] = []
        bench.board.power.history = history
        down = bench.went_down()
        bootloader.append(tuple(f"{one.name} {one.detail}" for one in history))
        if not down:
            break
    assert bench.quiet()
    return Update(bench, tuple(boots), tuple(bootloader))


def test_every_durable_system_call_belongs_to_a_seam(update: Update) -> None:
    pairing = update.pairing()
    assert not pairing.findings, "\n".join(pairing.findings)
    assert sum(len(seam.calls) for seam in pairing.seams) > 100
    update.bench.check()


def test_nothing_happens_before_what_it_depends_on_is_durable(update: Update) -> None:
    durability = update.durability()
    assert not durability.findings, "\n".join(durability.findings)


def test_the_boot_switch_is_the_last_thing_before_the_reboot_into_a_trial(update: Update) -> None:
    last = update.durability().before_reboots[0]
    assert last is not None
    assert last.name == "fsync", last.text
    assert set(last.paths) <= update.bench.boot_state(), last.text


def test_the_simulator_counts_the_operations_that_really_happen(update: Update) -> None:
    bench = update.bench
    lab = make_lab(load_profile(bench.profile.name), seed=bench.settings.seed)
    counted: list[Operation] = []
    lab.device.board.power.history = counted
    lab.ship(bench.behaviour)
    lab.device.run_until_quiet()
    happened: list[str] = []
    for calls, wrote in zip(update.boots, update.bootloader, strict=True):
        seams = update.pairing((calls,)).seams
        happened += [_as_simulated(bench, s.text) for s in seams if s.method not in LOOKING]
        happened += wrote
    assert happened == [f"{one.name} {one.detail}".strip() for one in counted]


LOOKING = SILENT - {"System.reboot"}


def _as_simulated(bench: Bench, text: str) -> str:
    """A recorded call in the simulator's words: its devices' names, and no lengths of files."""
    for path in bench.board.storage.devices:
        place = bench.settings.device / "medium" / path.strip("/").replace("/", "-")
        text = text.replace(str(place), path)
    return text.rpartition(" ")[0] if text.startswith("Files.replace") else text


def test_a_call_that_is_missing_or_made_twice_is_found(update: Update) -> None:
    settings = update.bench.settings
    around = (settings.device, settings.around / "seams.log")
    calls = tuple(call for call in update.boots[0] if touches(call, around))
    needed = {call.number for seam in update.pairing((calls,)).seams for call in _needed(seam)}
    assert len(needed) > 60
    for place, call in enumerate(calls):
        if call.number in needed:
            less = calls[:place] + calls[place + 1 :]
            more = calls[: place + 1] + calls[place:]
            assert update.pairing((less,)).findings, f"not missed: {call.text}"
            assert update.pairing((more,)).findings, f"not found: {call.text} twice"


def _needed(seam: SeamCall) -> list[Call]:
    """Its calls without those that make and sync folders, which are made as often as it pleases."""
    if seam.method in SILENT:
        return []
    first = next((n for n, one in enumerate(seam.calls) if one.name not in ("mkdir", "fsync")), 0)
    return seam.calls[first:]


@pytest.mark.parametrize("place", ["medium", "state"])
def test_syncs_that_are_missing_are_found(update: Update, place: str) -> None:
    device = update.bench.settings.device
    careless = tuple(
        tuple(c for c in calls if c.name != "fsync" or not touches(c, (device / place,)))
        for calls in update.boots
    )
    assert update.durability(careless).findings


def test_a_write_outside_of_every_seam_is_found(update: Update) -> None:
    device = update.bench.settings.device
    calls = update.boots[0]
    stray = Call(0, 1, "ftruncate", f"3<{device}/state/x>, 0", "0", (f"{device}/state/x",))
    assert update.pairing(((stray, *calls),)).findings == [f"outside of every seam: {stray.text}"]
