"""Builds root file systems out of Debian packages: an old release, and three newer ones, as people have them.

    python -m benchmarks.make_images DIR

`v1` has the oldest version of every package that the apt sources of this computer offer for bookworm with
its updates, and the newer ones have the newest of some or all of them:

    hotfix    a handful of packages, as one advisory brings
    release   all packages but the kernel, a point release
    kernel    all packages, and the kernel's modules

Each is built from nothing, as a build system does, into `DIR/NAME.ext4` and `DIR/NAME.squashfs`; the same
package versions make the same bytes. Packages are unpacked and nothing of them is run, so that any computer
can build images for arm64. An image that is there already is left alone. Needs root (for the owners of
files), apt and dpkg.
"""

import argparse
import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cmp_to_key
from pathlib import Path
from typing import Final

from benchmarks.root_tree import Deb, make_tree
from benchmarks.tree_images import make_ext4, make_squashfs

ARCHITECTURE: Final = "arm64"
SIZE_MIB: Final = 896
SUITES: Final = ("bookworm", "bookworm-updates", "bookworm-security")
KEYRING: Final = "/usr/share/keyrings/debian-archive-keyring.gpg"
PACKAGES: Final = """
    systemd systemd-sysv udev dbus openssh-server mosquitto mosquitto-clients python3 python3-cryptography
    python3-requests python3-paho-mqtt python3-numpy network-manager wpasupplicant bluez iproute2
    iputils-ping nftables curl ca-certificates locales tzdata sudo less vim-tiny avahi-daemon i2c-tools
    gpiod git rsync nodejs e2fsprogs dosfstools cryptsetup-bin kmod procps logrotate cron gnupg
    firmware-linux-free fonts-noto-cjk libnss-resolve chrony
"""
HOTFIX: Final = """
    openssl libssl3 libexpat1 openssh-server openssh-client openssh-sftp-server curl libcurl4
    libcurl3-gnutls tzdata
"""
KERNEL: Final = re.compile(rf"linux-image-6\.1\.0-([0-9]+)-cloud-{ARCHITECTURE}")
AT_ONCE: Final = 60

Versions = dict[str, str]
"""The version of each package of an image."""


@dataclass(frozen=True, slots=True)
class Apt:
    """Package lists and packages of one architecture, apart from those of this computer."""

    root: Path

    def open(self) -> None:
        """Fetch the lists."""
        for folder in ("etc/apt/apt.conf.d", "etc/apt/preferences.d", "var/lib/apt/lists/partial"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        (self.root / "var/cache/apt/archives/partial").mkdir(parents=True, exist_ok=True)
        (self.root / "var/lib/dpkg").mkdir(parents=True, exist_ok=True)
        (self.root / "var/lib/dpkg/status").touch()
        (self.root / "etc/apt/sources.list").write_text("\n".join(_sources()) + "\n")
        self.ask("apt-get", "update")

    def ask(self, program: str, *words: str, folder: Path | None = None) -> str:
        """What one of apt's programs prints."""
        settings = {
            "Dir": self.root,
            "Dir::State::status": self.root / "var/lib/dpkg/status",
            "APT::Architecture": ARCHITECTURE,
            "APT::Architectures": ARCHITECTURE,
            "APT::Install-Recommends": 0,
            "APT::Sandbox::User": "root",
        }
        options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
        return output(program, *options, "-qq", *words, folder=folder)

    def closure(self) -> list[str]:
        """All packages that the wanted ones need, and the essential ones."""
        paragraphs = self.ask("apt-cache", "dumpavail").split("\n\n")
        essential = {
            match[1]
            for text in paragraphs
            if re.search(r"^(Essential: yes|Priority: required)$", text, re.MULTILINE)
            and (match := re.search(r"^Package: (\S+)$", text, re.MULTILINE))
        }
        told = self.ask("apt-get", "install", "-y", "-s", *sorted(essential), *PACKAGES.split())
        names = {match[1] for match in re.finditer(r"^Inst ([^\s:]+)", told, re.MULTILINE)}
        return sorted(names)

    def versions(self, names: list[str]) -> dict[str, list[str]]:
        """Every version of each package, the oldest first."""
        found: dict[str, set[str]] = {}
        for line in self.ask("apt-cache", "madison", *names).splitlines():
            fields = [field.strip() for field in line.split("|")]
            if len(fields) == 3:
                found.setdefault(fields[0], set()).add(fields[1])
        return {name: sorted(all_, key=cmp_to_key(_older)) for name, all_ in found.items()}

    def kernels(self) -> list[str]:
        """The kernels, the oldest first."""
        names = self.ask("apt-cache", "pkgnames", "linux-image-6").split()
        found = [match for name in names if (match := KERNEL.fullmatch(name))]
        return [match[0] for match in sorted(found, key=lambda match: int(match[1]))]

    def fetch(self, wanted: set[tuple[str, str]], folder: Path) -> dict[tuple[str, str], Path]:
        """The files of packages; those that are there already are not fetched."""
        folder.mkdir(exist_ok=True)
        missing = sorted(one for one in wanted if _file(folder, *one) is None)
        for start in range(0, len(missing), AT_ONCE):
            names = [f"{name}={version}" for name, version in missing[start : start + AT_ONCE]]
            self.ask("apt-get", "download", *names, folder=folder)
        files = {one: _file(folder, *one) for one in wanted}
        return {one: file for one, file in files.items() if file is not None}


def output(*command: str, folder: Path | None = None) -> str:
    """What a program prints. Raises `CalledProcessError`."""
    done = subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout


def _sources() -> list[str]:
    """The sources of this computer, for our architecture."""
    shown = output(
        "apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages"
    )
    lines = {line for line in shown.splitlines() if line.partition(" ")[2] in SUITES}
    signed = f"[arch={ARCHITECTURE} signed-by={KEYRING}]"
    return [f"deb {signed} {line} main" for line in sorted(lines)]


def _older(one: str, other: str) -> int:
    if one == other:
        return 0
    command = ("dpkg", "--compare-versions", one, "lt", other)
    return -1 if subprocess.run(command, check=False).returncode == 0 else 1


def _file(folder: Path, name: str, version: str) -> Path | None:
    begin = f"{name}_{version.replace(':', '%3a')}_"
    files = (folder / f"{begin}{end}.deb" for end in (ARCHITECTURE, "all"))
    return next((file for file in files if file.exists()), None)


def images_of(apt: Apt) -> dict[str, Versions]:
    """Which version of which package each image has."""
    names = apt.closure()
    known = apt.versions(names)
    kernels = apt.versions(apt.kernels())
    first, last = next(iter(kernels)), list(kernels)[-1]
    old_kernel, new_kernel = {first: kernels[first][0]}, {last: kernels[last][-1]}
    old = {name: known[name][0] for name in names}
    new = {name: known[name][-1] for name in names}
    fixed = {name: new[name] for name in HOTFIX.split() if name in new}
    return {
        "v1": {**old, **old_kernel},
        "hotfix": {**old, **fixed, **old_kernel},
        "release": {**new, **old_kernel},
        "kernel": {**new, **new_kernel},
    }


def make(folder: Path, name: str, debs: list[Deb]) -> None:
    """Both images of one tree, unless they are there."""
    images = folder / f"{name}.ext4", folder / f"{name}.squashfs"
    if all(image.exists() for image in images):
        return
    tree = folder / f"tree-{name}"
    make_tree(tree, debs)
    if not images[0].exists():
        make_ext4(tree, images[0], SIZE_MIB)
    if not images[1].exists():
        make_squashfs(tree, images[1])
    shutil.rmtree(tree)
    print(
        f"{name}: {', '.join(f'{image.name} {image.stat().st_size:,} bytes' for image in images)}",
        flush=True,
    )


def main() -> None:
    """Make all images, and say in `DIR/versions.json` what is in them."""
    parser = argparse.ArgumentParser(description="root file systems out of Debian packages")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--image", action="append", metavar="NAME", help="only this one")
    options = parser.parse_args()
    folder = options.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    apt = Apt(folder / f"apt-{ARCHITECTURE}")
    apt.open()
    images = images_of(apt)
    (folder / "versions.json").write_text(json.dumps(images, indent=1, sort_keys=True))
    wanted = {one for versions in images.values() for one in versions.items()}
    files = apt.fetch(wanted, folder / f"debs-{ARCHITECTURE}")
    for name in options.image or images:
        make(folder, name, [Deb(*one, files[one]) for one in images[name].items()])


if __name__ == "__main__":
    main()
