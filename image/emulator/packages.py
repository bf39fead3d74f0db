"""Brings what the emulator needs from Debian: tools for this machine, and kernels and BusyBox for the boxes.

The boxes' packages are unpacked, never installed: apt works on a state of its own under `target/emulate/apt`, so that
this machine's architectures and package lists stay as they are.
"""

import os
import shutil
import subprocess
from pathlib import Path

from .trouble import Trouble

# Tools by the package that holds them.
TOOLS = {
    "qemu-system-arm": "qemu-system-arm",
    "qemu-system-mipsel": "qemu-system-mips",
    "mksquashfs": "squashfs-tools",
    "dtc": "device-tree-compiler",
    "depmod": "kmod",
    "mke2fs": "e2fsprogs",
    "debugfs": "e2fsprogs",
    "tcpdump": "tcpdump",
    "ip": "iproute2",
    "unshare": "util-linux",
}

# The last Debian release with both architectures.
SUITE = "bookworm"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
COMMON = {"busybox-static": "1:1.35.0-4+deb12u1+b1", "e2fsck-static": "1.47.0-2+b2"}
# What is unpacked for each architecture, pinned by version.
PINNED = {
    "armhf": {"linux-image-6.1.0-50-armmp": "6.1.176-1", **COMMON},
    "mipsel": {"linux-image-6.1.0-50-4kc-malta": "6.1.176-1", **COMMON},
}
# Names the kernel that the archive has now.
NEWEST_KERNEL = {"armhf": "linux-image-armmp", "mipsel": "linux-image-4kc-malta"}


def install_tools():
    """Installs the tools that are missing."""
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    missing = sorted({package for tool, package in TOOLS.items() if not shutil.which(tool)})
    if not missing:
        return
    if not shutil.which("apt-get"):
        raise Trouble(f"install these by your system's means: {' '.join(missing)}")
    print(f"installs {' '.join(missing)}", flush=True)
    as_root(["apt-get", "update", "-q"])
    environment = ["env", "DEBIAN_FRONTEND=noninteractive"]
    # Somebody else may be installing: waits for them.
    options = ["-q", "-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=600"]
    as_root(environment + ["apt-get", "install"] + options + missing)


def as_root(command):
    """Runs a command as root, quietly unless it fails."""
    prefix = [] if os.geteuid() == 0 else ["sudo"]
    done = subprocess.run(prefix + command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise Trouble(f"{' '.join(command)} failed:\n{done.stdout}")


class Archive:
    """The packages of one foreign architecture, unpacked below `base`."""

    def __init__(self, base: Path, architecture: str):
        self.architecture = architecture
        self.state = base / "apt" / architecture
        self.root = base / "debian" / architecture

    def unpack(self) -> Path:
        """Downloads and unpacks the pinned packages, unless they are there; returns the directory."""
        pinned = PINNED[self.architecture]
        stamp = self.root / "packages"
        wanted = "".join(f"{name} {version}\n" for name, version in sorted(pinned.items()))
        if stamp.exists() and stamp.read_text().startswith(wanted):
            return self.root
        print(f"downloads Debian's kernel and BusyBox for {self.architecture}", flush=True)
        shutil.rmtree(self.root, ignore_errors=True)
        debs = self.state / "debs"
        shutil.rmtree(debs, ignore_errors=True)
        for part in (self.root, debs, self.state / "lists/partial", self.state / "archives/partial"):
            part.mkdir(parents=True, exist_ok=True)
        (self.state / "status").touch()
        (self.state / "sources.list").write_text(f"deb [signed-by={KEYRING}] {mirror()} {SUITE} main\n")
        self.apt("apt-get", "update", "-q")
        for name, version in pinned.items():
            self.download(debs, name, version)
        for deb in sorted(debs.glob("*.deb")):
            run(["dpkg-deb", "-x", str(deb), str(self.root)])
        shutil.rmtree(debs)
        run(["depmod", "-b", str(self.root), self.release()])
        stamp.write_text(wanted)
        return self.root

    def release(self) -> str:
        """The kernel's release, which names the directory of its modules."""
        return next((self.root / "lib/modules").iterdir()).name

    def download(self, debs, name, version):
        try:
            self.apt("apt-get", "download", f"{name}={version}", cwd=debs)
        except Trouble:
            if name.startswith("linux-image-"):
                depends = self.apt("apt-cache", "depends", NEWEST_KERNEL[self.architecture])
                found = [line.split()[-1] for line in depends.splitlines() if "Depends: linux-image-" in line]
                name = found[0] if found else name
            print(f"the archive no longer has version {version}: takes the newest {name}", flush=True)
            self.apt("apt-get", "download", name, cwd=debs)

    def apt(self, tool, *arguments, cwd=None):
        own = {
            "APT::Architecture": self.architecture,
            "APT::Architectures": self.architecture,
            "Dir::State": self.state,
            "Dir::State::lists": self.state / "lists",
            "Dir::State::status": self.state / "status",
            "Dir::Cache": self.state,
            "Dir::Etc::sourcelist": self.state / "sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::preferencesparts": "/dev/null",
            "Acquire::Languages": "none",
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
        }
        if os.geteuid() == 0:
            # The sandbox's user may not be able to reach the directory.
            own["APT::Sandbox::User"] = "root"
        options = [word for key, value in own.items() for word in ("-o", f"{key}={value}")]
        return run([tool, *options, *arguments], cwd=cwd)


def mirror() -> str:
    """Where this machine gets Debian's packages from."""
    shape = "$(CREATED_BY)|$(ORIGIN)|$(RELEASE)|$(REPO_URI)"
    targets = run(["apt-get", "indextargets", "--format", shape]).splitlines()
    for target in targets:
        created_by, origin, release, address = target.split("|")
        # Updates by security or by suite lie elsewhere, and do not have every package.
        if (created_by, origin) == ("Packages", "Debian") and "-" not in release:
            return address
    raise Trouble("apt knows no Debian archive: run `apt-get update` on a Debian system")


def run(command, cwd=None) -> str:
    """The command's output; its failure is trouble."""
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise Trouble(f"{' '.join(map(str, command))} failed:\n{done.stderr or done.stdout}")
    return done.stdout
