import pytest

from simulator.image import Behaviour
from simulator.profiles import profile_names
from tests.witness.kill_sweep import quiet
from tests.witness.sweep import Case, Prepared, Tally, prepare, sample, sweep_errors, sweep_kills
from tests.witness.tracing import Point, TracedBoot

SEED = 5
KILLS = 3
FAULTS = 1
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module", params=profile_names())
def prepared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("sweep")
    return prepare(folder / "bench", Case(str(request.param), Behaviour.HEALTHY), SEED)


def test_a_process_killed_at_a_durable_call_is_recovered_from(prepared: Prepared) -> None:
    tally = Tally()
    sweep_kills(prepared, sample(prepared, SEED, KILLS), tally, quiet)
    assert not tally.violations, "\n".join(tally.violations)
    assert (tally.kills, tally.recoveries) == (KILLS, 2 * KILLS)


def test_a_durable_call_that_fails_ends_in_a_sentence_and_a_device_at_rest(
    prepared: Prepared,
) -> None:
    tally = Tally()
    sweep_errors(prepared, sample(prepared, SEED + 1, FAULTS), tally, quiet)
    assert not tally.violations, "\n".join(tally.violations)
    assert tally.faults == tally.recoveries == 6 * FAULTS


def test_a_confirmation_that_a_killed_process_did_not_sync_is_synced_before_it_is_reported(
    prepared: Prepared,
) -> None:
    """The default slot can be read from the cache: a power cut would take back what was reported."""
    tally = Tally()
    sweep_kills(prepared, [_sync_of_boot_state(prepared)], tally, quiet)
    assert not tally.violations, "\n".join(tally.violations)
    assert tally.kills == 1


def _sync_of_boot_state(prepared: Prepared) -> tuple[TracedBoot, Point]:
    """The sync that makes the confirmation durable, in the boot of the trial."""
    boot = prepared.boots[-1]
    media = prepared.bench.boot_state()
    (point,) = (
        point
        for point in boot.points
        if point.name == "fsync" and any(path in point.text for path in media)
    )
    return boot, point
