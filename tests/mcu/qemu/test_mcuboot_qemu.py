"""The flasher against real MCUboot and Zephyr firmware, in an emulator: no code of ours on that side.

The emulated nRF51 stops hearing for good when bytes come before its firmware listens, hence the long
`quiet_s`; and both machines lose bytes that come faster than a real line would bring them.
"""

import time
from pathlib import Path

import pytest

from agent.flash.mcumgr import McumgrFlasher, McumgrSettings, Way
from agent.flash.smp import RESET, SmpClient, SmpSettings
from agent.flash.smp_images import set_trial
from agent.interfaces import LineSettings
from tests.flash.mcuboot import Signer, make_signer
from tests.flash.mcumgr_bench import chip_image, ignore
from tests.mcu.qemu.firmware import MICROBIT, MPS2, Firmware, fetch_firmware
from tests.mcu.qemu.machine import Machine, run_machine

pytestmark = pytest.mark.timeout(240)
BOOT_S = 2.0
CUTS_MAX = 40
SWAPS = b"Starting swap using offset algorithm"
RESUMES = b"Boot source: primary slot"
STARTED = b"Jumping to the first image slot"


@pytest.fixture(scope="session")
def firmware(pytestconfig: pytest.Config) -> Firmware:
    assert pytestconfig.cache is not None
    return fetch_firmware(pytestconfig.cache.mkdir("smpclient"))


def _flasher(machine: Machine, signer: Signer, way: Way) -> McumgrFlasher:
    settings = McumgrSettings(
        way=way,
        keys=(signer.key,),
        line=LineSettings(115_200),
        erase_s=20.0,
        quiet_s=BOOT_S,
        reboot_s=20.0,
        requests_under_way=8,  # an application has room for three of them, serial recovery for one
    )
    return McumgrFlasher(machine.line, settings)


def _running(flasher: McumgrFlasher) -> str:
    return next(row.version for row in flasher.slots() if row.active)


def _cut_the_swap(machine: Machine) -> None:
    """Have the chip swap, and reset it a little later each time until it was in the middle.

    A reset before the bootloader has noted anything makes it begin anew, which it says as well.
    """
    machine.line.console = b""
    SmpClient(machine.line, SmpSettings()).request(RESET, {}, attempts_max=1)
    for delay in range(CUTS_MAX):
        deadline_s = time.monotonic() + 20
        while SWAPS not in machine.line.console and time.monotonic() < deadline_s:
            machine.line.wait(0.001)
        assert SWAPS in machine.line.console, "the bootloader swaps"
        if RESUMES in machine.line.console:
            break
        machine.line.wait(delay * 0.001)
        assert STARTED not in machine.line.console, "the reset comes before the swap is over"
        machine.line.console = b""
        machine.monitor.reset()
    machine.line.wait(2 * BOOT_S)
    assert RESUMES in machine.line.console


def test_real_mcuboot_tries_reverts_survives_a_reset_in_mid_swap_and_confirms(
    tmp_path: Path, firmware: Firmware
) -> None:
    signer = make_signer(tmp_path)
    image = chip_image(firmware.resign(tmp_path, MICROBIT, signer))
    board = ("-machine", "microbit", "-cpu", "cortex-m0")
    factory = firmware.hex(f"{MICROBIT}.merged.hex")
    with run_machine(tmp_path, board, factory, piece_bytes=4, piece_s=0.0004) as machine:
        machine.line.wait(BOOT_S)
        flasher = _flasher(machine, signer, Way.APPLICATION)
        flasher.identify()
        flasher.write(flasher.plan(image, ignore), ignore)
        flasher.verify(image, ignore)
        flasher.start()
        assert _running(flasher) == "1.1.0"
        states = [(row.active, row.confirmed, row.pending) for row in flasher.slots()]
        assert states == [(True, False, False), (False, True, False)]  # as the simulated chip's
        flasher.revert()
        assert _running(flasher) == "0.0.0"

        flasher.identify()
        plan = flasher.plan(image, ignore)
        flasher.write(plan, ignore)
        flasher.verify(image, ignore)
        wanted = next(row.hash for row in flasher.slots() if row.version == "1.1.0")
        assert wanted is not None
        set_trial(SmpClient(machine.line, SmpSettings()), wanted)
        _cut_the_swap(machine)
        assert _running(flasher) == "1.1.0"
        flasher.start()  # nothing is left to do
        flasher.confirm()
        machine.monitor.reset()
        machine.line.wait(BOOT_S)
        assert [row.version for row in flasher.slots() if row.confirmed and row.active] == ["1.1.0"]


def test_real_mcuboot_takes_an_image_in_serial_recovery_when_it_has_none(
    tmp_path: Path, firmware: Firmware
) -> None:
    signer = make_signer(tmp_path)
    content = firmware.resign(tmp_path, MPS2, signer, "--load-addr", "0x20240000")
    board = ("-machine", "mps2-an385", "-cpu", "cortex-m3")
    factory = firmware.hex(f"{MPS2}.hex")
    with run_machine(tmp_path, board, factory, piece_bytes=256, piece_s=0.0005) as machine:
        machine.line.wait(BOOT_S)
        flasher = _flasher(machine, signer, Way.RECOVERY)
        flasher.identify()
        assert flasher.slots() == ()
        image = chip_image(content)
        flasher.write(flasher.plan(image, ignore), ignore)
        flasher.verify(image, ignore)
        flasher.start()
        assert _running(flasher) == "1.1.0"
