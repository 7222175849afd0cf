"""Hosts on one machine: network namespaces with addresses of their own, on one bridge.

Everything happens inside namespaces, the bridge included, so the machine's own network stays as it
is. Source: ip-netns(8), bridge(8).
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

from flow.wire.messages.client import AboutShown, RunSummary
from tests.support.cluster import Cluster

PORT = 5570
#: A link-layer address that nobody has: what is sent there is lost.
NOWHERE = "02:00:00:00:00:fe"


def why_impossible() -> str:
    """Say what is missing for namespaces on this machine; empty: nothing."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    try:
        probe = f"flowprobe{os.getpid()}"
        done = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True)
        if done.returncode == 0:
            done = subprocess.run(
                ["ip", "-n", probe, "link", "add", "name", "lan", "type", "bridge"],
                capture_output=True,
                text=True,
            )
            subprocess.run(["ip", "netns", "del", probe], check=True)
    except FileNotFoundError:
        return "there is no ip command (package iproute2)"
    return f"ip: {done.stderr.strip()}" if done.returncode else ""


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"


class Hosts:
    """One namespace per host; the first one is 10.77.0.1. Always ``close`` it."""

    def __init__(self, *names: str) -> None:
        self._mark = f"flow{os.getpid()}"
        self._bridge = f"{self._mark}-bridge"
        self.addresses = {name: f"10.77.0.{at}" for at, name in enumerate(names, 1)}
        try:
            _ip("netns", "add", self._bridge)
            _ip("-n", self._bridge, "link", "add", "name", "lan", "type", "bridge")
            _ip("-n", self._bridge, "link", "set", "lan", "up")
            for name in names:
                self._add(name)
        except BaseException:
            self.close()
            raise

    def _add(self, name: str) -> None:
        host = self.namespace(name)
        _ip("netns", "add", host)
        peer = ["peer", "name", "eth0", "netns", host]
        _ip("-n", self._bridge, "link", "add", "name", name, "type", "veth", *peer)
        _ip("-n", self._bridge, "link", "set", name, "master", "lan", "up")
        _ip("-n", host, "addr", "add", f"{self.addresses[name]}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            _ip("-n", host, "link", "set", device, "up")

    def namespace(self, name: str) -> str:
        """Name a host as ip does."""
        return f"{self._mark}-{name}"

    def inside(self, name: str) -> list[str]:
        """Return what runs a command on a host."""
        return ["ip", "netns", "exec", self.namespace(name)]

    def unplug(self, name: str) -> None:
        """Cut a host off, both ways."""
        _ip("-n", self._bridge, "link", "set", name, "down")

    def plug(self, name: str) -> None:
        """Connect it again."""
        _ip("-n", self._bridge, "link", "set", name, "up")

    def deafen(self, sender: str, receiver: str) -> None:
        """Lose what one host sends to another; the way back stays open."""
        to = self.addresses[receiver]
        _ip("-n", self.namespace(sender), "neigh", "replace", to, "lladdr", NOWHERE,
            "dev", "eth0", "nud", "permanent")  # fmt: skip

    def mend(self, sender: str, receiver: str) -> None:
        """Let it through again."""
        _ip("-n", self.namespace(sender), "neigh", "del", self.addresses[receiver], "dev", "eth0")

    def close(self) -> None:
        """Remove every namespace, and with them the links."""
        listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True).stdout
        for line in listed.splitlines():
            if line.startswith(f"{self._mark}-"):
                subprocess.run(["ip", "netns", "del", line.split()[0]], capture_output=True)


class ClusterOfHosts(Cluster):
    """A coordinator and its workers, each on a host of its own; commands run beside the former."""

    def __init__(self, root: Path, hosts: Hosts) -> None:
        super().__init__(root)
        self.hosts = hosts
        self.address = f"tcp://{hosts.addresses['coordinator']}:{PORT}"
        self.env["FLOW_COORDINATOR"] = self.address
        self.prefix = {name: hosts.inside(name) for name in hosts.addresses}
        self.prefix["client"] = hosts.inside("coordinator")

    def about(self) -> AboutShown | None:
        """Ask with a command: this process is on none of the hosts."""
        done = self.flow("status", "--json")
        return AboutShown(0, "", 0, 0.0, 0, 0) if done.returncode == 0 else None

    def list_workers(self) -> list[dict[str, Any]]:
        """Ask with a command."""
        rows: list[dict[str, Any]] = self.json("workers")
        return rows

    def summary(self, run: str) -> RunSummary:
        """Ask with a command."""
        import msgspec

        found = self.json("status", run)
        fields = {name: found["summary"].get(name) for name in RunSummary.__struct_fields__}
        fields["categories"] = fields["causes"] = []
        return msgspec.convert(list(fields.values()), RunSummary)
