"""The two emulated boxes: what is true of one and not of the other."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Board:
    """A kind of box, and the one of it that is emulated."""

    # Its directory under `board/`.
    name: str
    # The box's name for people.
    box: str
    # Debian's name of the architecture.
    architecture: str
    # The target that `image/cross` builds.
    target: str
    # Its address on the emulated LAN.
    address: str
    mac: str
    qemu: tuple
    kernel_arguments: str
    # Kernel modules that the box's own hardware needs.
    modules: tuple
    # It has a port for disks and sticks.
    usb: bool = False


PREFIX = 24
HOST_ADDRESS = "10.47.0.1"

BOARDS = (
    Board(
        name="qemu-arm",
        box="attic",
        architecture="armhf",
        target="armv7-unknown-linux-musleabihf",
        address="10.47.0.11",
        mac="52:54:00:47:00:11",
        qemu=("qemu-system-arm", "-machine", "virt,highmem=off", "-cpu", "cortex-a15"),
        kernel_arguments="console=ttyAMA0",
        modules=("evdev", "leds-gpio", "ledtrig-timer", "ledtrig-pattern", "xhci-pci", "usb-storage", "sd_mod"),
        usb=True,
    ),
    Board(
        name="qemu-mipsel",
        box="cellar",
        architecture="mipsel",
        target="mipsel-unknown-linux-musl",
        address="10.47.0.12",
        mac="52:54:00:47:00:12",
        qemu=("qemu-system-mipsel", "-machine", "malta", "-cpu", "24Kf"),
        kernel_arguments="console=ttyS0",
        modules=(),
    ),
)

# Two of the first kind, for what takes both for long at work: the network card of the emulated MIPS machine stalls then.
ALIKE = (BOARDS[0], replace(BOARDS[0], box="shed", address="10.47.0.13", mac="52:54:00:47:00:13"))
