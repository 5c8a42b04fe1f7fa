"""The real serial line against simulated chips on ptys and sockets, and the command that makes them."""

import os
import pty
import select
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from agent.errors import FlashLineError, FlashRefusedError
from agent.flash.entry import NoEntry
from agent.flash.select import ChipSettings
from agent.flash.session import flash_chip
from agent.flash.stm32_uart import Stm32Settings
from agent.interfaces import LineSettings, Parity
from agent.linux.gpio import LinuxGpioPins
from agent.linux.serial_line import LinuxSerialLine
from simulator.mcu.optiboot import Optiboot
from simulator.mcu.stm32_rom import F103, Stm32Rom
from tests.flash.chips import avr_image, avr_settings, held, stm32_image, stm32_settings
from tests.mcu.programs import on_pty, on_rfc2217, on_tcp, pty_avr, pty_stm32

PLAIN = LineSettings(115_200)


def without_parity() -> ChipSettings:
    """Ptys and sockets have none."""
    settings = stm32_settings(F103, entry=NoEntry())
    assert isinstance(settings.protocol, Stm32Settings)
    return replace(settings, protocol=replace(settings.protocol, parity=Parity.NONE))


def with_lines_without_parity() -> ChipSettings:
    """What a real ROM does not understand."""
    settings = stm32_settings(F103)
    assert isinstance(settings.protocol, Stm32Settings)
    return replace(settings, protocol=replace(settings.protocol, parity=Parity.NONE))


def test_an_stm32_is_flashed_over_a_pty() -> None:
    chip, image = pty_stm32(), stm32_image()
    with on_pty(chip) as port:
        flash_chip(without_parity(), LinuxSerialLine(port), image)
    assert held(chip, image)


def test_an_stm32_is_flashed_over_a_socket() -> None:
    chip, image = pty_stm32(), stm32_image()
    with on_tcp(chip) as port:
        flash_chip(without_parity(), LinuxSerialLine(port), image)
    assert held(chip, image)


def test_an_stm32_is_entered_by_control_lines_and_flashed_with_parity_over_rfc2217() -> None:
    chip, image = Stm32Rom(program_is_real=False, boot0=False), stm32_image(1500)
    with on_rfc2217(chip) as port:
        flash_chip(stm32_settings(F103), LinuxSerialLine(port), image)
        assert held(chip, image)
        assert not chip.boot0
        assert chip.in_application
        with pytest.raises(FlashLineError, match="parity"):
            flash_chip(with_lines_without_parity(), LinuxSerialLine(port), image, attempts=1)


def test_an_avr_is_reset_by_dtr_over_rfc2217() -> None:
    chip, image = Optiboot(program_is_real=False), avr_image(400)
    with on_rfc2217(chip) as port:
        flash_chip(avr_settings(), LinuxSerialLine(port), image)
    assert held(chip, image)


def test_an_avr_is_flashed_over_a_pty_that_has_no_lines() -> None:
    chip, image = pty_avr(), avr_image()
    with on_pty(chip) as port:
        flash_chip(avr_settings(), LinuxSerialLine(port), image)
    assert held(chip, image)


def test_a_read_ends_with_its_bytes_or_its_time() -> None:
    master, slave = pty.openpty()
    line = LinuxSerialLine(os.ttyname(slave))
    try:
        line.open(PLAIN)
        assert line.read(3, 0.05) == b""
        os.write(master, b"abcdef\nrest")
        assert line.read(3, 5.0) == b"abc"
        assert line.read_until(b"\n", 100, 5.0) == b"def\n"
        assert line.read_until(b"\n", 100, 0.05) == b"rest"
        os.write(master, b"stale")
        line.wait(0.05)
        line.discard_input()
        assert line.read(1, 0.05) == b""
        line.set_lines(dtr=True, rts=False)
        line.open(LineSettings(57_600))
        line.write(b"out")
        assert select.select([master], [], [], 5.0)[0]
        assert os.read(master, 3) == b"out"
    finally:
        line.close()
        line.close()
        os.close(slave)
        os.close(master)


def test_a_port_that_vanishes_is_an_error_of_ours() -> None:
    master, slave = pty.openpty()
    line = LinuxSerialLine(os.ttyname(slave))
    line.open(PLAIN)
    os.close(slave)
    os.close(master)
    with pytest.raises(FlashLineError):
        line.read(1, 2.0)
    line.close()
    with pytest.raises(FlashLineError, match="closed"):
        line.write(b"x")


@pytest.mark.parametrize("name", ["/dev/no-such-port", "socket://127.0.0.1:1", "unknown://x"])
def test_a_port_that_is_not_there_is_an_error_of_ours(name: str) -> None:
    with pytest.raises(FlashLineError, match="serial port was expected"):
        LinuxSerialLine(name).open(PLAIN)


def test_the_mini_uart_of_a_raspberry_pi_is_refused_where_parity_is_needed(tmp_path: Path) -> None:
    driver = tmp_path / "drivers" / "bcm2835-aux-uart"
    driver.mkdir(parents=True)
    device = tmp_path / "class" / "ttyS0" / "device"
    device.mkdir(parents=True)
    (device / "driver").symlink_to(driver)
    line = LinuxSerialLine("/dev/ttyS0", str(tmp_path / "class"))
    with pytest.raises(FlashLineError, match="mini UART"):
        line.open(LineSettings(115_200, Parity.EVEN))


def test_gpio_without_its_library_says_what_to_install() -> None:
    with pytest.raises(FlashRefusedError, match=r"lockgate\[gpio\]"):
        LinuxGpioPins("no_such_gpio_library").set("gpiochip0/1", high=True)


def test_the_command_keeps_the_flash_in_its_file(tmp_path: Path) -> None:
    state, image = tmp_path / "flash.bin", stm32_image()
    command = [sys.executable, "-m", "simulator", "mcu", "stm32", "--tcp", "0", "--instant"]
    process = subprocess.Popen([*command, "--state", str(state)], stdout=subprocess.PIPE, text=True)
    with process:
        try:
            assert process.stdout is not None
            port = process.stdout.readline().strip()
            flash_chip(without_parity(), LinuxSerialLine(port), image)
            assert "flash operations" in process.stdout.readline()
        finally:
            process.terminate()  # SIGINT is ignored by what a shell starts in the background
    assert process.returncode == 130
    assert state.read_bytes().startswith(image.regions[0].content)
