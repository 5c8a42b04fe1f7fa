"""A process that does nothing but install; prints its peak of resident memory in KiB."""

import re
import sys
from pathlib import Path

from agent.linux.block_device import LinuxBlockDevice
from agent.release import parse_release
from benchmarks.mirror import Mirror
from tests.payload.bench import run


def main() -> None:
    folder, blobs = Path(sys.argv[1]), Path(sys.argv[2])
    release = parse_release((folder / "manifest").read_bytes())
    slots = [LinuxBlockDevice(str(folder / name)) for name in ("standby", "active")]
    run(release.images[0], slots[0], slots[1], Mirror(blobs))
    # Not getrusage: its peak begins with that of the process that started this one.
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    sys.stdout.write(peak[1] if peak else "")


if __name__ == "__main__":
    main()
