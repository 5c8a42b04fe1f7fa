"""The reboot program of a device made of files: plays the Raspberry Pi firmware and rewrites /proc.

FOLDER [ARGUMENT]: resets with this argument, boots what `autoboot.txt` and the flag say, and writes down
which slot that is. Whoever plays the power supply starts the agent again.
"""

import sys
from pathlib import Path

from agent.board import SlotName, parse_profile
from agent.linux.storage import LinuxStorage
from simulator.firmware.select import firmware
from simulator.power import Power

EXT4_MAGIC_OFFSET = 1080
EXT4_MAGIC = b"\x53\xef"


def main(folder: Path, argument: str) -> None:
    profile = parse_profile((folder / "board.toml").read_bytes(), "board.toml")
    storage = LinuxStorage()

    def startable(slot: SlotName) -> bool:
        device = storage.device(profile.slots[slot].parts["root"])
        return device.read(EXT4_MAGIC_OFFSET, 2) == EXT4_MAGIC

    board = firmware(profile, storage, Power(seed=0), startable)
    board.reset(argument)
    choice = board.boot()
    process = folder / "proc"
    words = process / "device-tree/chosen/bootloader"
    assert choice.boot_partition is not None, "the board stays dark"
    (words / "partition").write_bytes(choice.boot_partition.to_bytes(4, "big"))
    (words / "tryboot").write_bytes(int(bool(choice.tryboot)).to_bytes(4, "big"))
    boot_id = process / "sys/kernel/random/boot_id"
    boot_id.write_text(f"{boot_id.read_text().strip()}+\n")
    with (folder / "boots").open("a") as file:
        file.write(f"{choice.slot}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "")
