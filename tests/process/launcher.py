"""What the courier starts: runs the agent as a child, and writes down when it begins and how it ends."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def main(folder: Path, settings: str, *options: str) -> None:
    command = [sys.executable, *options, "-m", "agent", "--config", settings, "agent"]
    with (folder / "agent.log").open("a") as log:
        child = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        with (folder / "beginnings").open("a") as file:
            file.write(f"{child.pid}\n")
        status = child.wait()
    with (folder / "endings").open("a") as file:
        file.write(f"{status}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
