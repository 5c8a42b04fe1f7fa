"""Only what makes a delta loads numpy, which takes longer than most commands of the operator."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOADED = """
import sys
from fleet.cli import main
try:
    main(["release", "--help"])
except SystemExit:
    print(sorted(name for name in ("numpy", "fleet.delta.offer") if name in sys.modules))
"""


def test_the_operators_commands_start_without_numpy() -> None:
    command = [sys.executable, "-c", LOADED]
    done = subprocess.run(command, cwd=ROOT, check=True, timeout=60, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "['fleet.delta.offer']"
