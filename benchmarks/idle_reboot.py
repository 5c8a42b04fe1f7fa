"""The reboot of a device made of files: plays U-Boot, and writes down what runs then.

Run as `python -m benchmarks.idle_reboot FOLDER` by the device itself.
"""

import sys
from pathlib import Path

from agent.board import parse_profile
from agent.linux.storage import LinuxStorage
from simulator.firmware.select import firmware
from simulator.power import Power


def main(folder: Path) -> None:
    """Reset and boot; whoever started the agent starts it again."""
    profile = parse_profile((folder / "profile.toml").read_bytes(), "profile.toml")
    board = firmware(profile, LinuxStorage(), Power(seed=0), lambda _: True)
    board.reset("")
    slot = board.boot().slot
    (folder / "proc/cmdline").write_text(f"quiet lockgate.slot={slot}\n")
    boot_id = folder / "proc/sys/kernel/random/boot_id"
    boot_id.write_text(boot_id.read_text().strip()[::-1] + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
