"""Real file systems and block devices for a test: tmpfs and loop devices. Needs root, as the agent does."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def mounted(folder: Path, *arguments: str) -> Iterator[Path]:
    """Something mounted at a folder."""
    folder.mkdir(exist_ok=True)
    run("mount", *arguments, str(folder))
    try:
        yield folder
    finally:
        run("umount", str(folder))


@contextmanager
def loop_device(file: Path, size_bytes: int) -> Iterator[str]:
    """A block device over a file."""
    with file.open("wb") as backing:
        backing.truncate(size_bytes)
    device = run("losetup", "--find", "--show", str(file))
    try:
        yield device
    finally:
        run("losetup", "--detach", device)


def run(*command: str) -> str:
    """What a command printed; it must succeed."""
    search = "/usr/sbin:/usr/bin:/sbin:/bin"
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=30, env={"PATH": search}
    )
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout.strip()
