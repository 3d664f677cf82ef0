"""etcd in test hosts: one member a host, of Debian's etcd-server, with certificates where they are asked for."""

import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from demo.hosts import DYING_WITH_US, Host

CLIENTS, PEERS = 2379, 2380
_PATIENCE = 30  # seconds
_READY = b"serving client traffic"  # printed once there is a leader


@dataclass(frozen=True)
class Place:
    """Where a member runs: its name, the address that the others and its clients reach it at, and the command prefix
    that enters the host's network."""

    name: str
    address: str
    enter: tuple[str, ...]


def place(host: Host, address: str) -> Place:
    # Only the network: the member's data lies on the machine, and its process is ours to end.
    return Place(host.name, address, ("nsenter", f"--target={host.pid}", "--net", "--"))


@dataclass(frozen=True)
class Certificates:
    """Files in PEM form: the authority, what the members show each other and their clients, and what a client shows."""

    folder: Path

    @property
    def authority(self) -> Path:
        return self.folder / "ca.pem"

    def pair(self, name: str) -> tuple[Path, Path]:
        """`member` or `client`: the certificate and its key."""
        return self.folder / f"{name}.pem", self.folder / f"{name}.key"

    @property
    def for_clients(self) -> str:
        """As `--cluster-tls` takes them."""
        certificate, key = self.pair("client")
        return f"ca={self.authority},cert={certificate},key={key}"


class Members:
    """A cluster of one member a place. `folder` is its own: data and logs. `flags` are etcd's, for every member."""

    def __init__(
        self, places: Sequence[Place], folder: Path, certificates: Certificates | None = None, flags: Sequence[str] = ()
    ) -> None:
        self.places = {place.name: place for place in places}
        self.folder = folder
        self._certificates = certificates
        self._flags = flags
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def url(self) -> str:
        """As `--cluster` takes it."""
        return "etcd://" + ",".join(f"{place.address}:{CLIENTS}" for place in self.places.values())

    @property
    def running(self) -> Sequence[str]:
        """Names of the members that were started and not ended."""
        return tuple(self._running)

    def start(self, *names: str) -> None:
        """Starts these members, or all, and returns once they serve. One that was started before comes back with its
        data. Call it from a thread that lives as long as they are to: the kernel ends them with it. Raises
        RuntimeError with what a member printed."""
        wanted = names or tuple(self.places)
        seen = {name: self._log(name).stat().st_size if self._log(name).exists() else 0 for name in wanted}
        for name in wanted:
            command = [*self.places[name].enter, *DYING_WITH_US, *self._command(self.places[name])]
            with self._log(name).open("ab") as log:
                self._running[name] = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )
        deadline = time.monotonic() + _PATIENCE
        for name in wanted:
            while _READY not in (printed := self._log(name).read_bytes()[seen[name] :]):
                if (ended := self._running[name].poll() is not None) or time.monotonic() > deadline:
                    what = "has ended" if ended else f"does not serve within {_PATIENCE} s"
                    raise RuntimeError(f"etcd member {name} {what}:\n{printed[-2000:].decode(errors='replace')}")
                time.sleep(0.02)

    def stop(self, *names: str, by: signal.Signals = signal.SIGTERM) -> None:
        """Ends these members, or all that run, and waits for it. Their data stays."""
        ending = [self._running.pop(name) for name in names or tuple(self._running)]
        for process in ending:
            process.send_signal(by)
        for process in ending:
            process.wait(_PATIENCE)

    def kill(self, *names: str) -> None:
        """The same without a warning."""
        self.stop(*names, by=signal.SIGKILL)

    def freeze(self, name: str) -> None:
        """The member holds its connections and says nothing, until `thaw`."""
        self._running[name].send_signal(signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        self._running[name].send_signal(signal.SIGCONT)

    def pid(self, name: str) -> int:
        return self._running[name].pid

    def ctl(self, *arguments: str, check: bool = True) -> str:
        """What etcdctl prints (package etcd-client), asked in the first place of all members."""
        scheme = "http" if self._certificates is None else "https"
        urls = ",".join(f"{scheme}://{place.address}:{CLIENTS}" for place in self.places.values())
        command = [*next(iter(self.places.values())).enter, "etcdctl", f"--endpoints={urls}"]
        if self._certificates is not None:
            certificate, key = self._certificates.pair("client")
            command += [f"--cacert={self._certificates.authority}", f"--cert={certificate}", f"--key={key}"]
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=60, check=False)
        if check and done.returncode:
            raise RuntimeError(f"etcdctl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def end(self) -> None:
        """Ends every member at once. Ending them twice is no error."""
        self.kill()

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def _command(self, place: Place) -> Sequence[str]:
        scheme = "http" if self._certificates is None else "https"
        alone = len(self.places) == 1
        return [
            "etcd",
            *("--name", place.name),
            *("--data-dir", str(self.folder / place.name)),
            *("--listen-client-urls", f"{scheme}://{place.address}:{CLIENTS}"),
            *("--advertise-client-urls", f"{scheme}://{place.address}:{CLIENTS}"),
            *("--listen-peer-urls", f"{scheme}://{place.address}:{PEERS}"),
            *("--initial-advertise-peer-urls", f"{scheme}://{place.address}:{PEERS}"),
            *(
                "--initial-cluster",
                ",".join(f"{one.name}={scheme}://{one.address}:{PEERS}" for one in self.places.values()),
            ),
            *("--logger", "zap"),
            *(("--heartbeat-interval", "20", "--election-timeout", "100") if alone else ()),  # there at once
            *self._tls(),
            *self._flags,
        ]

    def _tls(self) -> Sequence[str]:
        if self._certificates is None:
            return []
        certificate, key = self._certificates.pair("member")
        shown = ("--cert-file", str(certificate), "--key-file", str(key), "--client-cert-auth")
        peers = ("--peer-cert-file", str(certificate), "--peer-key-file", str(key), "--peer-client-cert-auth")
        trusted = str(self._certificates.authority)
        return [*shown, *peers, "--trusted-ca-file", trusted, "--peer-trusted-ca-file", trusted]


def make_certificates(folder: Path, addresses: Sequence[str]) -> Certificates:
    """An authority of its own in `folder`, a certificate for all members at these addresses and names, a client's."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Certificates(folder)
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc")
    ca = ("-x509", "-days", "3650", "-subj", "/CN=linkspan test authority", "-addext", "keyUsage=critical,keyCertSign")
    _openssl("req", *key, *ca, "-keyout", f"{folder}/ca.key", "-out", str(made.authority))
    names = ",".join(f"{'IP' if _is_address(one) else 'DNS'}:{one}" for one in addresses)
    # Its gateway shows a member's own certificate to the member: it has to be a client's too.
    uses = {
        "member": f"subjectAltName={names}\nextendedKeyUsage=serverAuth,clientAuth",
        "client": "extendedKeyUsage=clientAuth",
    }
    for name, extensions in uses.items():
        certificate, private = made.pair(name)
        request, extension = folder / f"{name}.csr", folder / f"{name}.ext"
        extension.write_text(extensions + "\n")
        _openssl("req", *key, "-subj", f"/CN={name}", "-keyout", str(private), "-out", str(request))
        signing = ("-CA", str(made.authority), "-CAkey", f"{folder}/ca.key", "-CAcreateserial", "-days", "3650")
        _openssl("x509", "-req", "-in", str(request), *signing, "-extfile", str(extension), "-out", str(certificate))
    return made


def _openssl(*arguments: str) -> None:
    done = subprocess.run(
        ["openssl", *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"openssl {arguments[0]}: {done.stderr.strip()}")


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
