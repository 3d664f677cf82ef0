"""2. Bridge, the default: two databases on docker0, what the host and the containers show of it, and NAT."""

import re
from typing import Any

from demo.section1_reached import MOUNTS, STARTING, mysql
from demo.settings import TOP_LEVEL, entry, four, settings
from demo.stage import HOST_ADDRESS, OUTSIDE_ADDRESS, Stage
from demo.step import (
    Output,
    Section,
    Step,
    Wrong,
    prints,
    prints_an_id,
    prints_exactly,
    require,
    succeeded,
    works,
)

RUN_MYSQL = f"docker run --net=bridge --name mysql -p 3306:3306 {MOUNTS} -d mysql"
RUN_POSTGRES = "docker run --net=bridge --name postgres1 -e POSTGRES_PASSWORD=123456 -p 54321:5432 -d postgres"
HEX64 = re.compile(r"[0-9a-f]{64}")


def _host_links(stage: Stage, output: Output) -> str:
    succeeded(output)
    links = {link["ifname"]: link for link in stage.links()}
    bridge = links.get("docker0")
    require(bridge is not None and "UP" in bridge["flags"], f"docker0 in {sorted(links)}")
    assert bridge is not None
    require("172.17.0.1/16" in four(bridge), four(bridge))
    ports = [link for link in links.values() if link.get("master") == "docker0"]
    require(len(ports) == 2 and all(port["ifname"].startswith("veth") for port in ports), [p["ifname"] for p in ports])
    pairs = {port["ifindex"]: port.get("link_index") for port in ports}
    for container in ("mysql", "postgres1"):
        inside = {link["ifname"]: link for link in stage.links(container)}
        require(sorted(inside) == ["eth0", "lo"], f"{container} has {sorted(inside)}")
        eth0 = inside["eth0"]
        require(pairs.get(eth0.get("link_index")) == eth0["ifindex"], f"{container}: eth0 is no veth of docker0")
    return "docker0 172.17.0.1/16 UP; " + ", ".join(f"{p['ifname']} master docker0, peer eth0" for p in ports)


def _inside(stage: Stage, output: Output) -> str:
    succeeded(output)
    identity = stage.inspect("mysql")["Id"]
    eth0 = next(link for link in stage.links("mysql") if link["ifname"] == "eth0")
    require(four(eth0) == ["172.17.0.2/16"], four(eth0))
    gateways = [route.get("gateway") for route in stage.routes("mysql") if route["dst"] == "default"]
    require(gateways == ["172.17.0.1"], gateways)
    hosts = stage.output("docker exec mysql cat /etc/hosts")
    require(re.search(r"^127\.0\.0\.1\s+localhost$", hosts, re.M) is not None, hosts)
    require(re.search(rf"^172\.17\.0\.2\s+{identity[:12]}$", hosts, re.M) is not None, hosts)
    hostname = stage.output("docker exec mysql cat /etc/hostname")
    require(hostname == identity[:12], hostname)
    resolv = stage.output("docker exec mysql cat /etc/resolv.conf")
    servers = re.findall(r"^nameserver (\S+)", resolv, re.M)
    require(bool(servers) and not any(server.startswith("127.") for server in servers), resolv)
    return f"eth0 172.17.0.2/16, default via 172.17.0.1; hosts and hostname say {hostname}; nameserver {servers[0]}"


def _network_settings(stage: Stage, output: Output) -> str:
    succeeded(output)
    found = settings(stage, "postgres1")
    missing = TOP_LEVEL - set(found)
    require(not missing, f"missing: {sorted(missing)}")
    bindings = found["Ports"].get("5432/tcp") or []
    wanted: dict[str, Any] = {
        "Bridge": "",
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None,
        "Gateway": "172.17.0.1",
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "IPAddress": "172.17.0.3",
        "IPPrefixLen": 16,
        "IPv6Gateway": "",
    }
    wrong = {key: found[key] for key, value in wanted.items() if found[key] != value}
    require(not wrong, f"other than in the talk: {wrong}")
    require(
        {"HostIp": "0.0.0.0", "HostPort": "54321"} in bindings and set(found["Ports"]) == {"5432/tcp"}, found["Ports"]
    )
    require(HEX64.fullmatch(found["SandboxID"]) is not None, found["SandboxID"])
    require(found["SandboxKey"].endswith("/netns/" + found["SandboxID"][:12]), found["SandboxKey"])
    require(HEX64.fullmatch(found["EndpointID"]) is not None, found["EndpointID"])
    require(re.fullmatch(r"([0-9a-f]{2}:){5}[0-9a-f]{2}", found["MacAddress"]) is not None, found["MacAddress"])
    bridge = entry(found, "bridge")
    for key in ("EndpointID", "Gateway", "IPAddress", "IPPrefixLen", "IPv6Gateway", "GlobalIPv6Address", "MacAddress"):
        require(bridge[key] == found[key], f"Networks.bridge.{key} {bridge[key]!r} is not {found[key]!r}")
    require(HEX64.fullmatch(bridge["NetworkID"]) is not None, bridge["NetworkID"])
    network = stage.output("docker network inspect -f '{{.Id}}' bridge")
    require(network == bridge["NetworkID"], f"NetworkID {bridge['NetworkID']}, the network's is {network}")
    return (
        f"all {len(TOP_LEVEL)} keys; Ports 5432/tcp → 0.0.0.0:54321; SandboxKey {found['SandboxKey']}; "
        f"172.17.0.3/16 via 172.17.0.1, {found['MacAddress']}"
    )


def _nat(stage: Stage, output: Output) -> str:
    succeeded(output)
    rows = [" ".join(line.split()) for line in output.out.splitlines()]
    wanted = (
        # who leaves the subnet is masqueraded
        r"MASQUERADE (all|0) -- 172\.17\.0\.0/16 (0\.0\.0\.0/0|!172\.17\.0\.0/16)",
        # a container that reaches itself through its published port
        r"MASQUERADE (tcp|6) -- 172\.17\.0\.2 172\.17\.0\.2 .*tcp dpt:3306",
        r"MASQUERADE (tcp|6) -- 172\.17\.0\.3 172\.17\.0\.3 .*tcp dpt:5432",
        r"DNAT (tcp|6) -- 0\.0\.0\.0/0 0\.0\.0\.0/0 .*tcp dpt:3306 to:172\.17\.0\.2:3306",
        r"DNAT (tcp|6) -- 0\.0\.0\.0/0 0\.0\.0\.0/0 .*tcp dpt:54321 to:172\.17\.0\.3:5432",
    )
    seen = []
    for pattern in wanted:
        row = next((row for row in rows if re.match(pattern, row)), None)
        if row is None:
            raise Wrong(f"no row {pattern} in\n{output.out.strip()}")
        seen.append(row)
    return "\n".join(seen)


def _unpublished(stage: Stage, output: Output) -> str:
    succeeded(output)
    address = stage.inspect("quiet")["NetworkSettings"]["IPAddress"]
    near = stage.ask(address, 8080)
    require(near.status == 0, f"the host itself gets no answer on {address}:8080: {near.both}")
    far = stage.ask(address, 8080, where="outside")
    require(far.status != 0, f"{address}:8080 answers outside: {far.both}")
    return f"on the host: {near.out.strip()}; outside: {far.out.strip()}"


SECTION = Section(
    2,
    "Bridge, the default",
    (
        Step(RUN_MYSQL, "the id", prints_an_id, vital=True),
        Step(RUN_POSTGRES, "the id", prints_an_id, vital=True),
        Step(
            "docker inspect -f '{{.Name}} {{.NetworkSettings.IPAddress}}' mysql postgres1",
            "addresses in order: 172.17.0.2 and 172.17.0.3",
            prints(r"^/mysql 172\.17\.0\.2$", r"^/postgres1 172\.17\.0\.3$"),
        ),
        Step(
            "docker ps",
            "both, with their ports",
            prints(r"0\.0\.0\.0:54321->5432/tcp.* postgres1$", r"0\.0\.0\.0:3306->3306/tcp.* 33060/tcp +mysql$"),
        ),
        Step("ip addr", "docker0 172.17.0.1/16 up; a veth… each on it, its peer eth0 inside", _host_links),
        Step(
            "docker exec mysql cat /etc/hosts /etc/hostname /etc/resolv.conf",
            "eth0 with its address, default route via 172.17.0.1, the three files as Docker writes them",
            _inside,
        ),
        Step("docker inspect postgres1", "NetworkSettings as in the talk, every key", _network_settings),
        Step(
            mysql("SELECT USER()"),
            "mysql answers outside",
            prints_exactly(f"root@{OUTSIDE_ADDRESS}"),
            where="outside",
            within=STARTING,
        ),
        Step(
            f"PGPASSWORD=123456 psql -h {HOST_ADDRESS} -p 54321 -U postgres -Atc 'select inet_client_addr()'",
            "postgres answers outside",
            prints_exactly(OUTSIDE_ADDRESS),
            where="outside",
            within=STARTING,
        ),
        Step(
            f"docker exec postgres1 bash -c 'cat </dev/tcp/{OUTSIDE_ADDRESS}/9000'",
            "container to outside: seen there with the host's address (SNAT)",
            prints_exactly(f"you are {HOST_ADDRESS}"),
        ),
        Step(
            "docker run --rm -e PGPASSWORD=123456 postgres"
            " psql -h 172.17.0.3 -U postgres -Atc 'select inet_client_addr()'",
            "container to container by address: seen with its own, 172.17.0.4",
            prints_exactly("172.17.0.4"),
        ),
        Step("linkspan nat", "the talk's two tables: masquerade, hairpin and DNAT rows", _nat),
        Step(mysql("SELECT 1"), "published port, from outside: answers", prints_exactly("1"), where="outside"),
        Step(mysql("SELECT 1"), "from the host, by its address: answers", prints_exactly("1")),
        Step(mysql("SELECT 1", "127.0.0.1"), "from the host, by 127.0.0.1: answers", prints_exactly("1")),
        Step(f"docker run --rm mysql {mysql('SELECT 1')}", "from another container: answers", prints_exactly("1")),
        Step(
            f"docker exec mysql {mysql('SELECT 1')}",
            "from the container itself (hairpin): answers",
            prints_exactly("1"),
        ),
        Step(
            "docker run -d --name quiet -v $D/bin/answer:/usr/bin/answer postgres perl /usr/bin/answer 8080",
            "a container whose port 8080 is not published",
            prints_an_id,
        ),
        Step(f"ip route replace 172.17.0.0/16 via {HOST_ADDRESS}", "a route to the containers", works, where="outside"),
        Step(
            "docker port quiet",
            "nothing is published; its port 8080 answers on the host, not outside",
            _unpublished,
            within=10,
        ),
    ),
)
