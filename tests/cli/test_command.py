"""The command itself: finding the daemon, finding the verb, help, what Docker does not have, and how fast it starts."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from answers import script
from fake_daemon import Answer, FakeDaemon

from conftest import Command
from linkspan.cli import address, credentials
from linkspan.cli.failure import Failure
from linkspan.cli.main import GROUPS, VERBS
from linkspan.cli.reference import Reference

ROWS = [
    {
        "chain": "PREROUTING", "target": "DOCKER", "prot": "all", "opt": "--", "source": "0.0.0.0/0",
        "destination": "0.0.0.0/0", "extra": "ADDRTYPE match dst-type LOCAL", "container": "", "network": "",
    },
    {
        "chain": "POSTROUTING", "target": "MASQUERADE", "prot": "all", "opt": "--", "source": "172.17.0.0/16",
        "destination": "0.0.0.0/0", "extra": "", "container": "", "network": "bridge",
    },
    {
        "chain": "DOCKER", "target": "DNAT", "prot": "tcp", "opt": "--", "source": "0.0.0.0/0",
        "destination": "0.0.0.0/0", "extra": "tcp dpt:3306 to:172.17.0.2:3306", "container": "mysql",
        "network": "bridge",
    },
]  # fmt: skip


def test_nobody_listens(linkspan: Command) -> None:
    done = linkspan("-H", "unix:///does/not/exist.sock", "ps")
    assert done.returncode == 1
    assert done.stderr.decode() == (
        "Cannot connect to the linkspan daemon at unix:///does/not/exist.sock. Is linkspand running?\n"
    )
    assert linkspan("-H", "tcp://127.0.0.1:1", "run", "alpine").returncode == 125


def test_where_the_daemon_is() -> None:
    assert address.from_options("", {}, {}).host == "unix:///run/linkspan.sock"
    assert address.from_options("", {}, {"DOCKER_HOST": "unix:///d"}).target == "/d"
    assert address.from_options("", {}, {"DOCKER_HOST": "unix:///d", "LINKSPAN_HOST": "unix:///l"}).target == "/l"
    assert address.from_options("tcp://h:1", {}, {"LINKSPAN_HOST": "unix:///l"}).target == ("h", 1)
    assert address.from_options("h", {}, {}).target == ("h", 2375)
    assert address.from_options("[::1]:5", {}, {}).target == ("::1", 5)
    secure = address.from_options("tcp://h", {}, {"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/does/not/exist"})
    assert secure.target == ("h", 2376)
    assert secure.tls == address.Tls(True, "", "", "")
    assert address.from_options("tcp://h", {"tlsverify": "true", "tlscert": "/c"}, {}).tls is not None
    for wrong in ("ftp://x", "tcp://h:port", "tcp://h:99999"):
        with pytest.raises(Failure, match="unable to parse docker host"):
            address.from_options(wrong, {}, {})


def test_mistyped(linkspan: Command) -> None:
    done = linkspan("netwrok", "ls")
    assert done.returncode == 1
    assert "unknown command: linkspan netwrok" in done.stderr.decode()
    assert "Did you mean `linkspan network`" in done.stderr.decode()
    assert "`linkspan network inspect`" in linkspan("network", "inspct").stderr.decode()


@pytest.mark.parametrize("path", sorted([(verb,) for verb in VERBS] + [(g, v) for g in GROUPS for v in GROUPS[g][1]]))
def test_every_verb_has_help(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    from linkspan.cli.main import command

    assert command([*path, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"Usage:  linkspan {' '.join(path)}")


def test_a_token_that_is_valid_for_no_time(linkspan: Command, daemon: FakeDaemon) -> None:
    refused = linkspan("mesh", "token", "rotate", "--expires", "tomorrow")
    assert refused.returncode and not daemon.asked
    assert refused.stderr.startswith(b'linkspan: --expires: time: invalid duration "tomorrow"')
    assert b"Usage:  linkspan mesh token [OPTIONS] [rotate]" in refused.stderr


def test_until_when_a_token_is_valid(linkspan: Command, daemon: FakeDaemon) -> None:
    for expires, said in (
        ("", b""),
        ("2999-01-01T00:00:00Z", b"It is valid until 2999-01-01T00:00:00Z.\n"),
        ("2020-01-01T00:00:00Z", b"WARNING: it was valid until 2020-01-01T00:00:00Z: `linkspan mesh token rotate` "
         b"makes another\n"),
    ):  # fmt: skip
        daemon.on["GET /mesh/token"] = Answer(body={"Token": "lsm1-x", "Expires": expires})
        done = linkspan("mesh", "token")
        assert (done.returncode, done.stdout, done.stderr) == (0, b"lsm1-x\n", said)


def test_overview(linkspan: Command) -> None:
    assert b"  run         Create a container from an image" in linkspan().stdout
    assert linkspan("help", "run").stdout == linkspan("run", "--help").stdout
    assert linkspan("--version").stdout.startswith(b"linkspan version ")


@pytest.mark.parametrize("group", sorted(GROUPS))
def test_a_group_lines_its_commands_up(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    from linkspan.cli.main import command

    assert command([group]) == 0
    listed = capsys.readouterr().out.partition("Commands:\n")[2].partition("\n\n")[0].splitlines()
    assert listed and len({len(line) - len(line[2:].partition(" ")[2].lstrip()) for line in listed}) == 1


def test_publish(linkspan: Command, daemon: FakeDaemon) -> None:
    told = {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}, {"HostIp": "::", "HostPort": "8080"}]}
    daemon.on["POST /containers/web/publish"] = Answer(body={"Ports": told, "Warnings": ["odd"]})
    done = linkspan("publish", "web", "-p", "8080:80", "--publish", "127.0.0.1::81/udp")
    assert (done.stdout, done.stderr) == (b"80/tcp -> 0.0.0.0:8080\n80/tcp -> [::]:8080\n", b"WARNING: odd\n")
    assert daemon.last("POST /containers/web/publish").json == {
        "PortBindings": {
            "80/tcp": [{"HostIp": "", "HostPort": "8080"}],
            "81/udp": [{"HostIp": "127.0.0.1", "HostPort": ""}],
        }
    }
    daemon.on["POST /containers/web/publish"] = Answer(304)
    done = linkspan("container", "publish", "web", "-p", "8080:80")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert b"you must say what to publish" in linkspan("publish", "web").stderr
    assert b"each port has a -p: linkspan publish web -p 8081:80" in linkspan("publish", "web", "8081:80").stderr
    assert linkspan("publish", "web", "-p", "x").returncode == 1


def test_flags_that_are_nearly_there(linkspan: Command) -> None:
    done = linkspan("run", "--netwrk", "back", "nginx")
    assert done.returncode == 125 and done.stderr.startswith(b"unknown flag: --netwrk; did you mean --network?\n")
    assert linkspan("ps", "-h").stdout == linkspan("ps", "--help").stdout
    assert linkspan("-h").stdout == linkspan("--help").stdout
    assert linkspan("host", "-h").stdout == linkspan("host").stdout
    assert linkspan("run", "-h").stderr.startswith(b"flag needs an argument: 'h' in -h\n")  # the host's name


HOSTS = [
    {"ID": "a" * 36, "Name": name, "Address": "10.0.0.4", "Status": "down", "Since": "", "Containers": 0,
     "Version": "1", "Self": False}
    for name in ("h1", "h2")
]  # fmt: skip


def test_formats_of_what_docker_has_not(linkspan: Command, daemon: FakeDaemon) -> None:
    daemon.on["GET /hosts"] = Answer(body=HOSTS)
    assert linkspan("host", "ls", "--format", "{{.Name}}\\t{{.Status}}").stdout == b"h1\tdown\nh2\tdown\n"
    lines = linkspan("host", "ls", "--format", "json").stdout.splitlines()
    assert list(map(json.loads, lines)) == HOSTS == json.loads(linkspan("host", "ls", "--json").stdout)
    assert linkspan("host", "ls", "--format", "table").stdout == linkspan("host", "ls").stdout
    assert linkspan("host", "ls", "--format", "{{.Nmae}}").returncode == 1
    daemon.on["GET /hosts/h1"] = Answer(body=HOSTS[0])
    assert linkspan("host", "inspect", "-f", "{{.Address}}", "h1").stdout == b"10.0.0.4\n"
    daemon.on["GET /policy/resources"] = Answer(body={"kind": "List", "items": []})
    listed = linkspan("policy", "ls", "--format", "json")
    assert listed.stdout == linkspan("policy", "get", "-o", "json").stdout and json.loads(listed.stdout)["items"] == []


def test_policies_of_containers_that_no_network_joins(linkspan: Command, daemon: FakeDaemon) -> None:
    end = {"Allowed": True, "Rule": "no policy is about its egress", "Tier": "", "Policy": "", "Logged": [], "At": ""}
    path = {"Network": "", "Source": "10.1.0.2", "SeenAs": "10.1.0.2", "Destination": "10.2.0.2", "Allowed": True,
            "Egress": end, "Ingress": end}  # fmt: skip
    daemon.on["GET /policy/check"] = Answer(body={"Allowed": True, "Paths": [path], "Notes": []})
    said = linkspan("policy", "check", "app", "db:80").stdout.decode().splitlines()[0]
    assert said.startswith("allow: 10.1.0.2 to 10.2.0.2 by policies; they have no network in common")
    assert b"no network" not in linkspan("policy", "check", "app", "10.2.0.2:80").stdout
    assert json.loads(linkspan("policy", "check", "--format=json", "app", "db:80").stdout)["Allowed"]


def test_policies_deleted_and_files_named(linkspan: Command, daemon: FakeDaemon, tmp_path: Path) -> None:
    told = {"Resources": [{"Kind": "BGPPeer", "Name": "a", "Network": "", "Result": "deleted"}], "Warnings": []}
    for name in "ab":
        daemon.on[f"DELETE /policy/resources/bgppeer/{name}"] = Answer(body=told)
    assert linkspan("policy", "rm", "bgppeer", "a", "b").stdout == b"BGPPeer a: deleted\n" * 2
    (tmp_path / "a.yaml").write_text("x")
    daemon.on["POST /policy/apply"] = Answer(400, {"message": "line 1: it is wrong"})
    once = ("-f", str(tmp_path / "a.yaml"))
    assert linkspan("policy", "apply", *once).stderr == b"Error response from daemon: line 1: it is wrong\n"
    assert b"a.yaml: line 1: it is wrong" in linkspan("policy", "apply", *once, *once).stderr


def test_unpublish(linkspan: Command, daemon: FakeDaemon) -> None:
    daemon.on["POST /containers/web/unpublish"] = Answer(
        body={"Ports": {"53/udp": [{"HostIp": "1.2.3.4", "HostPort": "53"}]}}
    )
    assert linkspan("unpublish", "web", "53/udp", ":80").stdout == b"53/udp -> 1.2.3.4:53\n"
    assert daemon.last("POST /containers/web/unpublish").json == {"Ports": ["53/udp", ":80"]}
    assert linkspan("unpublish", "web").returncode == 1


def test_bandwidth(linkspan: Command, daemon: FakeDaemon) -> None:
    daemon.on["POST /containers/web/bandwidth"] = Answer(body={"Rate": 10_000_000, "Burst": 65_536})
    done = linkspan("bandwidth", "web", "own", "10mbit")
    assert done.stdout == b"10000000 bit/s each way, bursts of 65536 bytes\n"
    asked = {"Network": "own", "Rate": "10mbit", "Burst": ""}
    assert daemon.last("POST /containers/web/bandwidth").json == asked
    daemon.on["POST /containers/web/bandwidth"] = Answer(body={"Rate": 0, "Burst": 0})
    assert linkspan("container", "bandwidth", "web", "own", "none").stdout == b"no limit\n"
    assert daemon.last("POST /containers/web/bandwidth").json == {**asked, "Rate": ""}
    assert linkspan("bandwidth", "web", "own").returncode == 1


def test_network_update(linkspan: Command, daemon: FakeDaemon) -> None:
    daemon.on["POST /networks/net/update"] = Answer(body=b"")
    flags = "--add-subnet 10.9.0.0/24 --gateway 10.9.0.9 --remove-subnet 10.8.0.0/24 --label a=b --label-rm c"
    more = "--dns 1.1.1.1 --internal=false --icc=false --masquerade --mtu 1400 -o x=y -o z"
    assert linkspan("network", "update", *flags.split(), *more.split(), "net").stdout == b"net\n"
    assert daemon.last("POST /networks/net/update").json == {
        "AddSubnets": [{"Subnet": "10.9.0.0/24", "Gateway": "10.9.0.9"}],
        "RemoveSubnets": ["10.8.0.0/24"],
        "Labels": {"a": "b"},
        "RemoveLabels": ["c"],
        "Dns": ["1.1.1.1"],
        "Internal": False,
        "Options": {
            "com.docker.network.bridge.enable_icc": "false",
            "com.docker.network.bridge.enable_ip_masquerade": "true",
            "com.docker.network.driver.mtu": "1400",
            "x": "y",
            "z": "",
        },
    }
    linkspan("network", "update", "--dns", "", "net")
    assert daemon.last("POST /networks/net/update").json == {"Dns": []}
    assert b"you must provide one or more flags" in linkspan("network", "update", "net").stderr


IPAM: dict[str, Any] = {
    "Pools": [
        {"Base": "172.17.0.0/16", "Size": 16, "Subnets": 1, "Free": 0,
         "UsedBy": [{"Subnet": "172.17.0.0/16", "By": "network bridge"},
                    {"Subnet": "172.17.9.0/24", "By": "a route of the host"}]},
        {"Base": "172.18.0.0/16", "Size": 24, "Subnets": 256, "Free": 256, "UsedBy": []},
    ],
    "Networks": [
        {"Name": "bridge", "Id": "9" * 64, "Driver": "bridge", "Subnets": [
            {"Subnet": "172.17.0.0/16", "IPRange": "", "InUse": 1, "Reserved": 0, "Free": 65532, "Resting": 2,
             "Addresses": [{"Address": "172.17.0.1", "State": "gateway", "Name": ""},
                           {"Address": "172.17.0.2", "State": "in use", "Name": "web"}],
             "RestingAddresses": ["172.17.0.3-172.17.0.4"]}]},
    ],
}  # fmt: skip


def test_ipam(linkspan: Command, daemon: FakeDaemon) -> None:
    daemon.on["GET /ipam"] = Answer(body=IPAM)
    assert linkspan("ipam").stdout.decode() == (
        "POOL            SUBNETS OF   TOTAL     FREE      USED BY\n"
        "172.17.0.0/16   /16          1         0         172.17.0.0/16 network bridge\n"
        "                                                 172.17.9.0/24 a route of the host\n"
        "172.18.0.0/16   /24          256       256       -\n"
        "\n"
        "NETWORK   SUBNET          IN USE    RESERVED   RESTING   FREE\n"
        "bridge    172.17.0.0/16   1         0          2         65532\n"
    )
    assert linkspan("ipam", "bridge").stdout.decode() == (
        "ADDRESS                  STATE     NAME\n"
        "172.17.0.1               gateway\n"
        "172.17.0.2               in use    web\n"
        "172.17.0.3-172.17.0.4    resting\n"
        "65532 of 172.17.0.0/16   free\n"
    )
    assert json.loads(linkspan("ipam", "--json").stdout) == IPAM
    assert json.loads(linkspan("ipam", "--json", "99").stdout) == IPAM["Networks"][0]
    assert b"network nobody not found" in linkspan("ipam", "nobody").stderr


def test_nat(linkspan: Command, daemon: FakeDaemon) -> None:
    daemon.on["GET /linkspan/nat"] = Answer(body=ROWS)
    daemon.on["GET /linkspan/nat/nft"] = Answer(body=b"table inet linkspan {\n}\n")
    assert linkspan("nat").stdout.decode() == (
        "Chain PREROUTING (policy ACCEPT)\n"
        "target     prot opt source               destination\n"
        "DOCKER     all  --  0.0.0.0/0            0.0.0.0/0            ADDRTYPE match dst-type LOCAL\n"
        "\n"
        "Chain OUTPUT (policy ACCEPT)\n"
        "target     prot opt source               destination\n"
        "\n"
        "Chain POSTROUTING (policy ACCEPT)\n"
        "target     prot opt source               destination\n"
        "MASQUERADE all  --  172.17.0.0/16        0.0.0.0/0  /* bridge */\n"
        "\n"
        "Chain DOCKER (1 references)\n"
        "target     prot opt source               destination\n"
        "DNAT       tcp  --  0.0.0.0/0            0.0.0.0/0            tcp dpt:3306 to:172.17.0.2:3306"
        "  /* mysql, bridge */\n"
    )
    assert linkspan("nat", "--nft").stdout == b"table inet linkspan {\n}\n"


def test_an_error_without_json(linkspan: Command, daemon: FakeDaemon) -> None:
    daemon.on["GET /containers/json"] = Answer(500, b"out of order")
    done = linkspan("ps")
    assert (done.returncode, done.stderr) == (1, b"Error response from daemon: out of order\n")


def test_an_answer_that_makes_no_sense(linkspan: Command, daemon: FakeDaemon) -> None:
    daemon.on["GET /containers/json"] = Answer(body=[{"Name": "no id"}])
    done = linkspan("ps")
    assert done.returncode == 1
    assert b"unexpected answer from the daemon" in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_404_that_is_not_about_the_image_pulls_nothing(linkspan: Command, daemon: FakeDaemon) -> None:
    script(daemon)
    assert linkspan("run", "badnetwork").returncode == 125
    assert daemon.verbs == ["POST /containers/create"]


def test_stop_stops_all_at_once_and_tells_in_order(linkspan: Command, daemon: FakeDaemon) -> None:
    script(daemon)
    assert linkspan("stop", "db", "web").stdout == b"db\nweb\n"


def test_login_is_used(linkspan: Command, daemon: FakeDaemon, tmp_path: Path) -> None:
    script(daemon)
    daemon.on["POST /auth"] = Answer(body={"Status": "Login Succeeded", "IdentityToken": ""})
    done = linkspan("login", "-u", "me", "--password-stdin", "localhost:5000", input=b"secret\n")
    assert done.stdout == b"Login Succeeded\n"
    stored = tmp_path / ".docker" / "config.json"
    assert stored.stat().st_mode & 0o777 == 0o600
    linkspan("pull", "localhost:5000/app")
    sent = daemon.last("POST /images/create").headers["x-registry-auth"]
    assert json.loads(base64.urlsafe_b64decode(sent)) == {
        "username": "me", "password": "secret", "serveraddress": "localhost:5000"
    }  # fmt: skip
    assert linkspan("logout", "localhost:5000").returncode == 0
    assert json.loads(stored.read_text())["auths"] == {}


def test_credential_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "docker-credential-fake"
    program.write_text('#!/bin/sh\necho \'{"Username": "<token>", "Secret": "s"}\'\n')
    program.chmod(0o755)
    (tmp_path / "config.json").write_text('{"credHelpers": {"localhost:5000": "fake"}}')
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    assert credentials.lookup("localhost:5000") == {"identitytoken": "s", "serveraddress": "localhost:5000"}
    assert credentials.lookup("elsewhere") == {}


@pytest.mark.parametrize(
    ("text", "name", "tag", "familiar"),
    [
        ("alpine", "docker.io/library/alpine", "", "alpine"),
        ("me/app:1", "docker.io/me/app", "1", "me/app"),
        ("localhost:5000/app", "localhost:5000/app", "", "localhost:5000/app"),
        ("localhost/app:2", "localhost/app", "2", "localhost/app"),
        ("index.docker.io/app", "docker.io/library/app", "", "app"),
        ("docker.io/library/app:3", "docker.io/library/app", "3", "app"),
    ],
)
def test_references(text: str, name: str, tag: str, familiar: str) -> None:
    reference = Reference(text)
    assert (reference.name, reference.tag, reference.familiar) == (name, tag, familiar)


@pytest.mark.parametrize("text", ["", "A", "a:b:c", "a/", "a@b", "-a", "a b", "a//b"])
def test_what_no_image_can_be_called(text: str) -> None:
    with pytest.raises(Failure, match="invalid reference format"):
        Reference(text)


def test_little_is_imported_before_the_daemon_is_asked() -> None:
    """A command line is short-lived: what takes long to import is left out until a verb needs it."""
    code = (
        "import sys; from linkspan.cli.main import command; command(['-H', 'unix:///none', 'run', '-d', 'alpine']);"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"argparse", "http.client", "asyncio", "ssl", "pathlib", "ipaddress", "datetime", "subprocess", "msgspec"}
    assert not heavy & set(done.stdout.split())
