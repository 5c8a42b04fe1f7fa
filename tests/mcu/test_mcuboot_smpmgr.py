"""An unmodified SMP client by others updates the simulated chip, on the pty of the command line."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from agent.flash.mcuboot_image import check_image
from simulator.mcu.mcuboot import Layout, Mcuboot
from tests.flash.mcumgr_bench import images

pytestmark = pytest.mark.timeout(300)  # ten starts of a program that takes seconds to start
PROGRAM_BYTES: Final = 5000
PROGRAMS: Final = Path(sys.executable).parent


@contextmanager
def _chip(folder: Path, *options: str) -> Iterator[str]:
    """The name of a pty with a simulated chip that runs the old image."""
    (folder / "old.bin").write_bytes(images(PROGRAM_BYTES).old)
    command = [str(PROGRAMS / "lockgate-sim"), "mcu", "mcuboot", "--pty"]
    command += ["--image", str(folder / "old.bin"), "--state", str(folder / "state"), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()
            process.wait(10)


def _smpmgr(port: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(PROGRAMS / "smpmgr"), "--port", port, "--baudrate", "115200", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def _ok(port: str, *arguments: str) -> str:
    run = _smpmgr(port, *arguments)
    assert run.returncode == 0, run.stdout + run.stderr
    return "".join(run.stdout.split())


def _running(port: str) -> tuple[str, bool]:
    """The version in the first slot, and whether it is confirmed."""
    first = _ok(port, "image", "state-read").split("slot=1")[0]
    version = first.split("version='")[1].split("'")[0]
    return version, "confirmed=True" in first


def test_smpmgr_updates_tries_and_confirms_after_a_power_cut_in_mid_upload(tmp_path: Path) -> None:
    made = images(PROGRAM_BYTES)
    new = tmp_path / "new.bin"
    new.write_bytes(made.new)
    with _chip(tmp_path, "--cut-at", "14") as port:
        cut = _smpmgr(port, "--timeout", "0.5", "image", "upload", str(new))
        assert cut.returncode != 0
        assert _running(port) == ("1.0.0", True)
        _ok(port, "image", "upload", str(new))
        _ok(port, "image", "state-write", check_image(made.new, (made.key,)).hash.hex())
        _ok(port, "os", "reset")
        assert _running(port) == ("1.1.0", False)
        _ok(port, "image", "state-write", "--confirm")
        _ok(port, "os", "reset")
        assert _running(port) == ("1.1.0", True)
    chip = Mcuboot(Layout())
    chip.flash.content[:] = (tmp_path / "state").read_bytes()
    assert chip.content(0, len(made.new)) == made.new
