"""`lockgate-sim mcu`: a simulated microcontroller on a pty or a TCP port, for any flashing program."""

import argparse
import signal
import sys
from pathlib import Path
from typing import Final

from agent.errors import ConfigError
from agent.interfaces import LineSettings
from simulator.mcu.esp_rom import EspRom
from simulator.mcu.mcuboot import Layout, Mcuboot
from simulator.mcu.mcuboot_chip import McubootChip
from simulator.mcu.mcuboot_chip import make_chip as make_mcuboot_chip
from simulator.mcu.optiboot import Optiboot
from simulator.mcu.pty import PtyPort
from simulator.mcu.pump import always
from simulator.mcu.rfc2217 import Rfc2217Port
from simulator.mcu.smp_queue import NRF52, FlashTimes
from simulator.mcu.smp_server import SmpServer
from simulator.mcu.stm32_rom import F103, G071, Stm32Rom
from simulator.mcu.tcp import TcpPort
from simulator.mcu.wire import TimedWire
from simulator.power import Moment

BAUD: Final = 115_200
MILLISECONDS: Final = 1000.0
PortOfChip = PtyPort | TcpPort
SimulatedChip = Stm32Rom | Optiboot | McubootChip | EspRom


def add_mcu(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to `lockgate-sim`."""
    parser = subparsers.add_parser("mcu", help="a simulated microcontroller on a serial port")
    parser.add_argument(
        "chip",
        choices=("stm32", "avr", "mcuboot", "esp32"),
        help="stm32: the ROM bootloader of AN3155; avr: an ATmega328P with Optiboot; "
        "mcuboot: two slots under MCUboot, with serial recovery; esp32: the loader of its ROM",
    )
    carrier = parser.add_mutually_exclusive_group(required=True)
    carrier.add_argument("--pty", action="store_true", help="on a pseudo-terminal; prints its name")
    carrier.add_argument("--tcp", type=int, metavar="PORT", help="on 127.0.0.1, 0 for a free port")
    carrier.add_argument(
        "--rfc2217",
        type=int,
        metavar="PORT",
        help="the same, with baud rate, parity, DTR (reset) and RTS (boot pin)",
    )
    parser.add_argument("--paced", action="store_true", help="bytes take their time on the wire")
    parser.add_argument("--instant", action="store_true", help="flash and start-up take no time")
    parser.add_argument(
        "--latency-ms", type=int, default=0, help="what an adapter adds to each answer (default: 0)"
    )
    parser.add_argument("--checksum", action="store_true", help="an STM32 with Get Checksum")
    parser.add_argument(
        "--image", type=Path, metavar="FILE", help="mcuboot: the signed image in the first slot"
    )
    parser.add_argument("--state", type=Path, metavar="FILE", help="keep the flash in this file")
    parser.add_argument(
        "--cut-at", type=int, metavar="N", help="cut the chip's power at its Nth flash operation"
    )
    parser.add_argument("--moment", type=Moment, choices=list(Moment), default=Moment.TORN)
    parser.set_defaults(run=run_mcu)


def run_mcu(options: argparse.Namespace) -> int:
    """Serve until the keyboard or a supervisor says stop; the first line printed says where."""
    chip = make_chip(options)
    resets_on_open = chip.is_off if isinstance(chip, McubootChip) else always
    chip.flash.cut_at, chip.flash.cut_moment = options.cut_at, options.moment
    state: Path | None = options.state
    if state is not None and state.exists():
        content = state.read_bytes()
        if len(content) != len(chip.flash.content):
            raise ConfigError(
                f"{state}: {len(chip.flash.content)} bytes of flash were expected, "
                f"{len(content)} found"
            )
        chip.flash.content[:] = content
    wire = TimedWire(chip, paced=options.paced, latency_s=options.latency_ms / MILLISECONDS)
    port: PortOfChip
    if options.pty:
        port = PtyPort(wire, resets_on_open=resets_on_open)
        where = port.open()
    elif options.rfc2217 is not None:
        port = Rfc2217Port(wire)
        where = f"rfc2217://127.0.0.1:{port.open(options.rfc2217)}"
    else:
        port = TcpPort(wire, LineSettings(BAUD), resets_on_open=resets_on_open)
        where = f"socket://127.0.0.1:{port.open(options.tcp)}"
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the flash is kept then too
    sys.stdout.write(f"{where}\n")
    sys.stdout.flush()
    try:
        while port.serve_one(lambda: False):
            _keep(state, chip)
            sys.stdout.write(
                f"connection {port.connections}: {wire.bytes_to_chip} bytes in, "
                f"{wire.bytes_to_host} out, {chip.flash.operations} flash operations\n"
            )
            sys.stdout.flush()
    finally:
        port.close()
        _keep(state, chip)
    return 0


def make_chip(options: argparse.Namespace) -> SimulatedChip:
    """The chip that was asked for; ptys and sockets have no parity, so none is checked."""
    real = not options.instant
    if options.chip == "mcuboot":
        image = options.image.read_bytes() if options.image is not None else b""
        times = NRF52 if real else FlashTimes()
        return make_mcuboot_chip(SmpServer(Mcuboot(Layout())), image, times)
    if options.chip == "esp32":
        return EspRom()
    if options.chip == "stm32":
        model = G071 if options.checksum else F103
        return Stm32Rom(model=model, parity=None, start_s=0.0, program_is_real=real)
    if real:
        return Optiboot()
    return Optiboot(blink_s=0.0, program_is_real=False)


def _keep(state: Path | None, chip: SimulatedChip) -> None:
    if state is not None:
        fresh = state.with_name(state.name + ".new")
        fresh.write_bytes(chip.flash.content)
        fresh.replace(state)
