from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.server import HttpsServer
from fleet.workspace import Workspace
from tests.cli.bench import Bench, make_bench
from tests.cli.fleets import enrol, make_fleet


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A device whose network is not there."""
    return make_bench(tmp_path / "device")


@pytest.fixture
def fleet(tmp_path: Path) -> Workspace:
    return make_fleet(tmp_path / "fleet")


@pytest.fixture
def enrolled(fleet: Workspace, tmp_path: Path) -> Iterator[Bench]:
    """A device of the fleet, whose repository is served."""
    with HttpsServer(fleet, port=0) as server:
        url = f"https://localhost:{server.port}"
        bench = make_bench(tmp_path / "device", part_bytes=256 * 1024, url=url)
        enrol(fleet, bench)
        yield bench
