"""Unpacks Debian packages into a root file system whose files always have the same times."""

import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

BUILT_AT_S: Final = 1_735_689_600
"""The time of all that no package has a time for: 2025-01-01."""
MERGED: Final = ("bin", "sbin", "lib")
LEFT_OUT: Final = ("usr/share/doc", "usr/share/man", "boot")
SCRIPTS: Final = ("md5sums", "conffiles", "postinst", "prerm")
SETTINGS: Final = {"etc/hostname": "gateway\n", "etc/fstab": "/dev/root / auto ro 0 1\n"}
PYTHON: Final = "/usr/bin/python3"


@dataclass(frozen=True, slots=True, order=True)
class Deb:
    """One package and its file."""

    name: str
    version: str
    file: Path


def make_tree(tree: Path, debs: list[Deb]) -> None:
    """A new tree with these packages, unpacked and not configured."""
    begin_s = time.time() - 2
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    for name in MERGED:
        (tree / "usr" / name).mkdir(parents=True)
        (tree / name).symlink_to(f"usr/{name}")
    status = [_unpack(tree, deb) for deb in sorted(debs)]
    (tree / "var/lib/dpkg/status").write_text("\n".join(status) + "\n")
    for name in LEFT_OUT:
        shutil.rmtree(tree / name, ignore_errors=True)
    (tree / "boot").mkdir()
    for name, content in SETTINGS.items():
        (tree / name).write_text(content)
    _compile(tree)
    _set_times(tree, begin_s)


def _unpack(tree: Path, deb: Deb) -> str:
    """Unpack one package; its paragraph in the list of what is installed."""
    archive = subprocess.Popen(
        ("dpkg-deb", "--fsys-tarfile", str(deb.file)), stdout=subprocess.PIPE
    )
    options = (
        "--keep-directory-symlink",
        "--numeric-owner",
        "-p",
    )  # the links of the merged /usr stay
    subprocess.run(("tar", "-x", "-C", str(tree), *options), stdin=archive.stdout, check=True)
    if archive.wait():
        raise RuntimeError(f"{deb.file}: dpkg-deb cannot read it")
    info = tree / "var/lib/dpkg/info"
    info.mkdir(parents=True, exist_ok=True)
    for member in SCRIPTS:
        shown = subprocess.run(
            ("dpkg-deb", "-I", str(deb.file), member), capture_output=True, check=False
        )
        if shown.returncode == 0:
            (info / f"{deb.name}.{member}").write_bytes(shown.stdout)
    control = subprocess.run(
        ("dpkg-deb", "-f", str(deb.file)), capture_output=True, check=True, text=True
    )
    return control.stdout.replace("\n", "\nStatus: install ok installed\n", 1)


def _compile(tree: Path) -> None:
    """Compile what Python programs there are, as the packages' scripts would."""
    folders = [str(tree / name) for name in ("usr/lib/python3", "usr/lib/python3.11")]
    command = (
        PYTHON,
        "-m",
        "compileall",
        "-q",
        "--invalidation-mode",
        "timestamp",
        "-s",
        str(tree),
        "-p",
        "/",
    )
    environment = {**os.environ, "PYTHONHASHSEED": "0", "SOURCE_DATE_EPOCH": str(BUILT_AT_S)}
    subprocess.run((*command, *folders), env=environment, capture_output=True, check=False)


def _set_times(tree: Path, begin_s: float) -> None:
    """One time for folders and for what was made here; files keep those of their packages."""
    for folder, folders, files in os.walk(tree, topdown=False):
        for name in (*files, *folders):
            path = Path(folder, name)
            status = path.lstat()
            made_here = status.st_mtime >= begin_s or name.endswith(".pyc")
            if made_here or (path.is_dir() and not path.is_symlink()):
                os.utime(path, (BUILT_AT_S, BUILT_AT_S), follow_symlinks=False)
    os.utime(tree, (BUILT_AT_S, BUILT_AT_S))
