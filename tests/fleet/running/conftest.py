from collections.abc import Iterator

import pytest

from fleet.broker_process import BrokerKind, BrokerProcess
from fleet.session import BrokerAddress
from fleet.workspace import Workspace
from tests.fleet.running.parts import address_of, new_fleet


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return new_fleet(tmp_path_factory.mktemp("fleet"))


@pytest.fixture(scope="session")
def broker(fleet: Workspace) -> Iterator[BrokerAddress]:
    with BrokerProcess(fleet, port=0, kind=BrokerKind.MOSQUITTO) as process:
        yield address_of(process)
