import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.broker_process import BrokerKind, BrokerProcess
from fleet.cli import main as lockgate_fleet
from fleet.server import HttpsServer
from fleet.workspace import Workspace
from simulator.cli import main as lockgate_sim
from simulator.image import Behaviour, make_small_image

HARDWARE_ID = "raspberrypi,4-model-b"


def operator(workspace: Workspace, *words: str) -> None:
    assert lockgate_fleet(["--dir", str(workspace.root), *words]) == 0


def release(workspace: Workspace, folder: Path, name: str, behaviour: Behaviour) -> None:
    images = []
    for place, part in enumerate(("root", "boot")):
        path = folder / f"{name}-{part}.img"
        path.write_bytes(make_small_image(int(name) * 10 + place, 512, behaviour))
        images += ["--image", f"{HARDWARE_ID}:{part}={path}"]
    operator(workspace, "release", "add", name, "--counter", name, "--kind", "feature", *images)
    operator(workspace, "rollout", "start", f"to-{name}", "--release", name, "--phase", "100")
    operator(workspace, "publish")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    folder = tmp_path / "operator"
    folder.mkdir()
    fleet = Workspace(folder)
    operator(fleet, "init", "--name", "shore", "--classical-only")
    operator(fleet, "publish")
    return fleet


@pytest.fixture
def addresses(workspace: Workspace) -> Iterator[list[str]]:
    with (
        BrokerProcess(workspace, port=0, kind=BrokerKind.MOSQUITTO) as broker,
        HttpsServer(workspace, port=0) as server,
    ):
        yield [
            *("--broker", f"localhost:{broker.port}"),
            *("--repository", f"https://localhost:{server.port}"),
        ]


def test_simulated_devices_update_over_a_real_broker_and_a_real_server(
    workspace: Workspace,
    addresses: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    release(workspace, tmp_path, "2", Behaviour.HEALTHY)
    fleet = [
        *("fleet", "--count", "2", "--part-mib", "1", "--refresh-s", "1", *addresses),
        *("--devices", str(tmp_path / "devices"), "--enrol", str(workspace.root)),
        *("--until-release", "2", "--for", "40"),
    ]
    assert lockgate_sim(fleet) == 0, capsys.readouterr().out
    told = capsys.readouterr().out
    assert "sim-001" in told
    assert "sim-002" in told
    assert told.count("confirmed") >= 2
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("sim-")]
    certificates = sorted((workspace.authority / "devices").iterdir())
    assert [file.stem for file in certificates] == ["sim-001", "sim-002"]
    assert (tmp_path / "devices" / "sim-001" / "device.key").stat().st_mode & 0o077 == 0


def test_a_fleet_whose_devices_go_back_does_not_come_to_run_the_release(
    workspace: Workspace,
    addresses: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    release(workspace, tmp_path, "2", Behaviour.NEVER_BOOTS)
    fleet = [
        *("fleet", "--count", "1", "--part-mib", "1", "--refresh-s", "1", *addresses),
        *("--devices", str(tmp_path / "devices"), "--enrol", str(workspace.root)),
        *("--until-release", "2", "--for", "12"),
    ]
    assert lockgate_sim(fleet) == 1
    assert "! panic" in capsys.readouterr().out
