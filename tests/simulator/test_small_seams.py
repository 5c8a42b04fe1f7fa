from pathlib import Path

import pytest

from agent.errors import BootControlError
from agent.interfaces import Clock, Random, Scratch, System, SystemFacts
from simulator.clock import SimulatedClock
from simulator.faults import Faults, Reboot, seeded_faults
from simulator.image import Behaviour
from simulator.power import Power
from simulator.random import SimulatedRandom
from simulator.scratch import SimulatedScratch
from simulator.system import SimulatedSystem

FACTS = SystemFacts("boot-1", ("board",), ("console=tty1",), None, None)


def system(behaviour: Behaviour = Behaviour.HEALTHY) -> SimulatedSystem:
    return SimulatedSystem(FACTS, behaviour, SimulatedClock(), Power(), Faults())


def test_the_simulated_parts_are_what_the_agent_asks_for() -> None:
    clock: Clock = SimulatedClock()
    chance: Random = SimulatedRandom(1)
    scratch: Scratch = SimulatedScratch()
    running: System = system()
    assert all((clock, chance, scratch, running))


def test_the_same_seed_gives_the_same_chance() -> None:
    one, two, other = SimulatedRandom(1), SimulatedRandom(1), SimulatedRandom(2)
    assert [one.token(), one.uniform(0, 9)] == [two.token(), two.uniform(0, 9)]
    assert other.token() != SimulatedRandom(1).token()
    assert len(other.token()) == 32


def test_scratch_gives_a_real_folder_that_is_gone_afterwards() -> None:
    scratch = SimulatedScratch()
    with scratch.folder({"root.json": b"{}", "targets/a.json": b"1"}) as path:
        assert (Path(path) / "root.json").read_bytes() == b"{}"
        (Path(path) / "timestamp.json").write_bytes(b"2")
        assert scratch.collect(path) == {
            "root.json": b"{}",
            "targets/a.json": b"1",
            "timestamp.json": b"2",
        }
    assert not Path(path).exists()


def test_checks_answer_as_the_running_image_behaves() -> None:
    assert system().run_check(("true",), 9).passed
    failed = system(Behaviour.FAILS_CHECKS).run_check(("true",), 9)
    assert not failed.passed
    assert "degraded" in failed.detail


def test_a_reboot_is_recorded_with_its_argument() -> None:
    running = system()
    assert running.reboot_argument is None
    running.reboot("0 tryboot")
    assert running.reboot_argument == "0 tryboot"


def test_a_reboot_can_be_refused_or_lose_its_argument() -> None:
    running = system()
    running.faults.add(Reboot.REFUSED)
    running.faults.add(Reboot.ARGUMENT_DROPPED)
    with pytest.raises(BootControlError):
        running.reboot("0 tryboot")
    running.reboot("0 tryboot")
    assert running.reboot_argument == ""


def test_seeded_faults_are_repeatable_and_bounded() -> None:
    assert seeded_faults(7, 5) == seeded_faults(7, 5)
    assert seeded_faults(7, 5) != seeded_faults(8, 5)
    assert 5 <= len(seeded_faults(7, 5).waiting) <= 6
