"""The LAN between the boxes: a bridge in the network namespace that this process lives in."""

from .boards import HOST_ADDRESS, PREFIX
from .packages import run

BRIDGE = "lan"
HOST_MAC = "52:54:00:47:00:01"


def taps(count) -> list:
    """Builds the LAN with so many places for boxes; returns their interfaces."""
    run(["ip", "link", "set", "lo", "up"])
    # Without snooping every box hears every multicast, as on the cheapest switch.
    run(["ip", "link", "add", BRIDGE, "address", HOST_MAC, "type", "bridge", "mcast_snooping", "0"])
    run(["ip", "address", "add", f"{HOST_ADDRESS}/{PREFIX}", "dev", BRIDGE])
    run(["ip", "link", "set", BRIDGE, "up"])
    names = [f"box{number}" for number in range(1, count + 1)]
    for name in names:
        run(["ip", "tuntap", "add", name, "mode", "tap"])
        run(["ip", "link", "set", name, "master", BRIDGE, "up"])
    return names
