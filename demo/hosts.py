"""Test hosts: network namespaces joined by veth pairs on a fabric, which is a bridge in a namespace of its own.

A host also has its own mounts, processes and name. Its first process is a child of the demo that dies with it, however
the demo ends, and the kernel then ends every process of the host; with the last one go its mounts, links and rules.
So nothing has to be taken down, and nothing is ever made in the machine's own network.
"""

import contextlib
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

# First process of a host. Children that it inherits are reaped by the kernel, as it ignores SIGCHLD; it says when it
# is there, and then waits to be killed.
#
# Its root directory is made the root of its mounts. In a chroot it is not, and then whoever enters the mount namespace
# of a container (`runc exec` does) comes out at the root of the mounts: the machine's files, not the container's.
_INIT = """
import ctypes, os, signal, socket, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
signal.signal(signal.SIGINT, signal.SIG_IGN)
socket.sethostname(sys.argv[1])

libc = ctypes.CDLL(None, use_errno=True)
def call(result):
    if result:
        sys.exit(os.strerror(ctypes.get_errno()))
root = os.open("/", os.O_PATH)
call(libc.setns(os.open("/proc/self/ns/mnt", os.O_RDONLY), 0))
if not os.path.samestat(os.stat("/"), os.fstat(root)):
    os.fchdir(root)
    call(libc.syscall(PIVOT_ROOT, b".", b"."))
    call(libc.umount2(b".", 2))
    os.chdir("/")

print("ready", flush=True)
while True:
    signal.pause()
"""
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}  # the C library has no name for this system call

# Command prefix: the program is killed when the thread that starts it ends, be it by SIGKILL.
DYING_WITH_US = ("setpriv", "--pdeathsig=KILL", "--")


class Host:
    """A test host. Use it from the main thread: the kernel ends it with the thread that made it."""

    def __init__(self, name: str) -> None:
        self.name = name
        init = _INIT.replace("PIVOT_ROOT", str(_PIVOT_ROOT.get(platform.machine(), 41)))
        flags = ["--net", "--mount", "--pid", "--uts", "--propagation=private", "--mount-proc"]
        self._holder = subprocess.Popen(
            [*DYING_WITH_US, "unshare", *flags, "--fork", "--kill-child", sys.executable, "-c", init, name],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the demo, which ends its hosts in order
        )
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != b"ready\n":
            raise RuntimeError(f"test host {name}: cannot be made (root, with namespaces, is needed)")
        children = Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children").read_text().split()
        self.pid = int(children[0])
        self.run(["ip", "link", "set", "lo", "up"])

    def enter(self, directory: Path | str = "/") -> list[str]:
        """Command prefix that runs a program in the host, in `directory`."""
        # --root: entering the mounts alone would leave the root directory that the demo was started in.
        spaces = ["--net", "--mount", "--pid", "--uts", "--root"]
        return ["nsenter", f"--target={self.pid}", *spaces, f"--wd={directory}", "--"]

    def run(
        self, command: Sequence[str], *, timeout: float = 60, env: Mapping[str, str] | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Runs a program in the host to its end. With `check`, raises RuntimeError with its errors if it fails."""
        done = subprocess.run(
            [*self.enter(), *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            env=None if env is None else dict(env),
            check=False,
        )
        if check and done.returncode:
            raise RuntimeError(f"{self.name}: {' '.join(command)}: {(done.stderr or done.stdout).strip()}")
        return done

    def start(
        self, command: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Starts a program in the host that goes on; what it prints goes to `log`."""
        with log.open("ab") as file:
            return subprocess.Popen(
                [*self.enter(), *command],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
                env=None if env is None else dict(env),
            )

    def end(self) -> None:
        """Ends the host with everything in it. Ending it twice is no error."""
        self._holder.kill()
        self._holder.wait()
        if self._holder.stdout is not None:
            self._holder.stdout.close()


class Fabric:
    """The switch that the hosts are plugged into, and the hosts."""

    def __init__(self, mtu: int = 1500) -> None:
        self._mtu = mtu
        self.hosts: list[Host] = []
        self._ports: dict[str, str] = {}  # name of the host, name of its port at the switch
        self._switch = Host("fabric")
        self._switch.run(["ip", "link", "add", "fabric", "mtu", str(mtu), "type", "bridge"])
        self._switch.run(["ip", "link", "set", "fabric", "up"])

    def plug(self, name: str, address: str, interface: str = "eth0") -> Host:
        """Makes a host with `address` (with its prefix length) on `interface`, plugged into the fabric.

        One that was ended makes room for another of its name.
        """
        host = Host(name)
        self.hosts.append(host)
        self._ports[name] = f"p{len(self.hosts)}"
        self._wire(host, self._ports[name], "fabric", interface, address)
        return host

    @contextlib.contextmanager
    def segment(self, interface: str, addresses: Mapping[str, str]) -> Iterator[None]:
        """A second segment, apart from the fabric, for as long as it lasts: hosts by name, each with its address (with
        its prefix length) on a further `interface`."""
        self._switch.run(["ip", "link", "add", interface, "mtu", str(self._mtu), "type", "bridge"])
        self._switch.run(["ip", "link", "set", interface, "up"])
        now = {host.name: host for host in self.hosts}
        ports = {name: f"{interface}-{self._ports[name]}" for name in addresses}
        try:
            for name, port in ports.items():
                self._wire(now[name], port, interface, interface, addresses[name])
            yield
        finally:
            for port in (*ports.values(), interface):
                self._switch.run(["ip", "link", "delete", port], check=False)

    def _wire(self, host: Host, port: str, switch: str, interface: str, address: str) -> None:
        # Made in the switch's namespace, with the other end given to the host in the same step. `ip` takes the host by
        # a process id of the machine, so only the network is entered here.
        enter = ["nsenter", f"--target={self._switch.pid}", "--net", "--"]
        pair = ["ip", "link", "add", port, "mtu", str(self._mtu), "type", "veth", "peer", "name", interface]
        subprocess.run([*enter, *pair, "mtu", str(self._mtu), "netns", str(host.pid)], check=True)
        self._switch.run(["ip", "link", "set", port, "master", switch, "up"])
        host.run(["ip", "address", "add", address, "brd", "+", "dev", interface])
        host.run(["ip", "link", "set", interface, "up"])

    def cable(self, name: str, *, plugged: bool) -> None:
        """Pulls a host's cable out, or plugs it in again: its interface loses its carrier."""
        self._switch.run(["ip", "link", "set", self._ports[name], "up" if plugged else "down"])

    def part(self, *pairs: tuple[str, str]) -> None:
        """From now on the switch drops what the hosts of each pair send each other, both ways, and nothing else."""
        rules = "table bridge parted\ndelete table bridge parted\n"
        if pairs:
            ports = [(self._ports[one], self._ports[other]) for one, other in pairs]
            both = ", ".join(f"{a} . {b}, {b} . {a}" for a, b in ports)
            rules += f"""table bridge parted {{
                set pairs {{ type ifname . ifname; elements = {{ {both} }}; }}
                chain forward {{ type filter hook forward priority 0; iifname . oifname @pairs drop; }}
            }}"""
        self._switch.run(["nft", rules])

    def end(self) -> None:
        """Ends every host and the switch."""
        for host in (*self.hosts, self._switch):
            host.end()
