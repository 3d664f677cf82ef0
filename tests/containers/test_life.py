"""The state table, restart policies, signals, and the files that say who a container is."""

from __future__ import annotations

import msgspec
import pytest

from linkspan.containers import lifecycle
from linkspan.containers.files import edited_hosts, hosts_rows, hosts_text, parse_extra_host, resolv_conf_text
from linkspan.containers.mounts import parse_bind
from linkspan.containers.signals import parse_signal, stop_signal
from linkspan.errors import Conflict, InvalidArgument, NotModified
from linkspan.model.container import Config, Container, HostConfig, Mount, RestartPolicy, State
from linkspan.model.endpoint import Endpoint
from linkspan.model.snapshot import Snapshot, put


def container(status: str = "created", policy: str = "no", *, stopped: bool = False, signal: str = "") -> Container:
    return Container(
        id="c",
        name="web",
        created="",
        image_id="",
        config=Config(stop_signal=signal),
        host_config=HostConfig(restart_policy=RestartPolicy(name=policy)),
        state=State(status=status),
        stopped_by_user=stopped,
    )


def test_a_life() -> None:
    running = lifecycle.started(container(), 42, "t1")
    assert (running.state.status, running.state.pid, running.state.started_at) == ("running", 42, "t1")
    ended = lifecycle.exited(running, 137, "t2", oom=True)
    assert ended.state == State(
        status="exited", pid=0, exit_code=137, oom_killed=True, started_at="t1", finished_at="t2"
    )
    ending = lifecycle.ending(running, 9, "t2", oom=False)
    assert lifecycle.ending_known(ending) and not lifecycle.ending_known(running)
    assert ending.state.running and ending.state.exit_code == 9
    failed = lifecycle.failed(ended, "no such file", 127)
    assert (failed.state.status, failed.state.exit_code, failed.state.error) == ("exited", 127, "no such file")


@pytest.mark.parametrize(
    ("status", "verb", "kind", "text"),
    [
        ("running", "start", NotModified, "already running"),
        ("paused", "start", Conflict, "cannot start a paused container, try unpause instead"),
        ("paused", "pause", Conflict, "is already paused"),
        ("running", "unpause", Conflict, "is not paused"),
        ("exited", "pause", Conflict, "is not running"),
        ("created", "exit", Conflict, "is not running"),
    ],
)
def test_what_makes_no_sense(status: str, verb: str, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        lifecycle.after(container(status), verb)


@pytest.mark.parametrize(
    ("policy", "code", "count", "stopped", "again"),
    [
        (RestartPolicy(), 1, 0, False, False),
        (RestartPolicy(name="always"), 0, 9, False, True),
        (RestartPolicy(name="always"), 0, 0, True, False),
        (RestartPolicy(name="unless-stopped"), 1, 0, False, True),
        (RestartPolicy(name="on-failure"), 0, 0, False, False),
        (RestartPolicy(name="on-failure"), 1, 99, False, True),
        (RestartPolicy(name="on-failure", maximum_retry_count=3), 1, 2, False, True),
        (RestartPolicy(name="on-failure", maximum_retry_count=3), 1, 3, False, False),
    ],
)
def test_restart_policies(policy: RestartPolicy, code: int, count: int, stopped: bool, again: bool) -> None:
    assert lifecycle.restarts(policy, code, count, stopped_by_user=stopped) is again


def test_who_starts_with_the_daemon() -> None:
    def starts(status: str, policy: str, *, stopped: bool = False, code: int = 0) -> bool:
        made = container(status, policy, stopped=stopped)
        return lifecycle.starts_at_boot(
            msgspec.structs.replace(made, state=msgspec.structs.replace(made.state, exit_code=code))
        )

    assert starts("exited", "always", stopped=True)
    assert starts("exited", "unless-stopped") and not starts("exited", "unless-stopped", stopped=True)
    assert starts("restarting", "on-failure", code=1) and not starts("exited", "on-failure", code=0)
    assert not starts("exited", "on-failure", code=255, stopped=True) and not starts("created", "on-failure", code=127)
    assert not starts("created", "always") and not starts("exited", "no")


def test_on_failure_starts_again_what_the_machine_took_down() -> None:
    policy = RestartPolicy(name="on-failure", maximum_retry_count=3)
    running = msgspec.structs.replace(container("running"), host_config=HostConfig(restart_policy=policy))
    ended = lifecycle.exited(running, 255, "t", oom=False)  # as the records are settled before anything is started
    assert lifecycle.starts_at_boot(ended)
    assert not lifecycle.starts_at_boot(msgspec.structs.replace(ended, restart_count=3))


def test_the_delay_doubles_until_a_good_run() -> None:
    delays = [0.0]
    for _ in range(12):
        delays.append(lifecycle.restart_delay(delays[-1], ran=0.5))
    assert delays[1:5] == [0.1, 0.2, 0.4, 0.8] and delays[-1] == lifecycle.MAXIMUM_DELAY
    assert lifecycle.restart_delay(delays[-1], ran=11) == 0.1


def test_signals() -> None:
    assert [parse_signal(s) for s in ("KILL", "SIGKILL", "sigkill", "9")] == [9, 9, 9, 9]
    assert parse_signal("SIGRTMIN+3") == parse_signal("RTMIN+3") == 37
    assert stop_signal(container(signal="SIGINT")) == 2 and stop_signal(container()) == 15
    for bad in ("SIGNONE", "0", "99", "RTMIN+99", "KILL9", "_DFL", ""):
        with pytest.raises(InvalidArgument, match="invalid signal"):
            parse_signal(bad)


def test_hosts() -> None:
    made = container()
    config = Config(hostname="b3b8139754c7")
    made = msgspec.structs.replace(made, config=config, host_config=HostConfig(extra_hosts=("db:10.0.0.5",)))
    place = Endpoint(id="e", network_id="n", sandbox_id="s", container_id=made.id, address="172.17.0.2")
    snapshot = Snapshot().after([put(made), put(place)])
    rows = hosts_rows(snapshot, made, ())
    assert hosts_text(rows).splitlines() == [
        "127.0.0.1\tlocalhost",
        "::1\tlocalhost ip6-localhost ip6-loopback",
        "fe00::\tip6-localnet",
        "ff00::\tip6-mcastprefix",
        "ff02::1\tip6-allnodes",
        "ff02::2\tip6-allrouters",
        "10.0.0.5\tdb",
        "172.17.0.2\tb3b8139754c7",
    ]
    moved = snapshot.after([put(msgspec.structs.replace(place, address="172.17.0.9", address6="fd00::9"))])
    edited = edited_hosts(hosts_text(rows) + "10.9.9.9 by-hand", rows, hosts_rows(moved, made, ()))
    assert edited.splitlines()[-4:] == [
        "10.0.0.5\tdb",
        "10.9.9.9 by-hand",
        "172.17.0.9\tb3b8139754c7",
        "fd00::9\tb3b8139754c7",
    ]
    assert edited_hosts(edited, rows, hosts_rows(moved, made, ())) == edited  # told twice, done once
    assert parse_extra_host("db:10.0.0.5", ()) == [("10.0.0.5", "db")]
    assert parse_extra_host("db=[::1]", ()) == [("::1", "db")]
    both = parse_extra_host("host.docker.internal:host-gateway", ("172.17.0.1", "fd00::1"))
    assert both == [("172.17.0.1", "host.docker.internal"), ("fd00::1", "host.docker.internal")]
    for bad in ("db", "db:nowhere", ":1.1.1.1", "gw:host-gateway"):
        with pytest.raises(InvalidArgument):
            parse_extra_host(bad, ())


def test_resolv_conf() -> None:
    host = "nameserver 127.0.0.53\nnameserver 10.0.0.2 # office\nsearch corp.example\noptions edns0\n"

    def lines(text: str) -> list[str]:
        return [line for line in text.splitlines() if line and not line.startswith("#")]

    plain = resolv_conf_text(host, servers=(), search=(), options=())
    assert lines(plain) == ["nameserver 10.0.0.2", "search corp.example", "options edns0"]
    only_local = resolv_conf_text("nameserver ::1\n", servers=(), search=(), options=())
    assert lines(only_local) == ["nameserver 8.8.8.8", "nameserver 8.8.4.4"]
    own = resolv_conf_text(host, servers=("1.1.1.1",), search=(".",), options=("ndots:2",))
    assert lines(own) == ["nameserver 1.1.1.1", "options ndots:2"]
    assert "nameserver 127.0.0.53" in resolv_conf_text(host, servers=(), search=(), options=(), keep_loopback=True)


def test_resolv_conf_where_the_resolver_answers() -> None:
    """As Docker writes it, remarks included."""
    host = "nameserver 127.0.0.53\nnameserver fe80::1%eth0\nsearch corp.example\noptions edns0\nsortlist 10/8\n"
    text = resolv_conf_text(host, servers=(), search=(), options=(), resolver="127.0.0.11")
    assert text.splitlines()[3:] == [
        "nameserver 127.0.0.11",
        "search corp.example",
        "options edns0 ndots:0",
        "sortlist 10/8",
        "",
        "# ExtServers: [host(127.0.0.53) host(fe80::1%eth0)]",
        "# Overrides: []",
        "# Option ndots from: internal",
    ]
    given = resolv_conf_text(
        "nameserver nowhere\noptions ndots:5\n",
        servers=("10.0.0.9",),
        search=("a", "b"),
        options=("ndots:2", "rotate"),
        resolver="127.0.0.11",
    )
    assert given.splitlines()[3:] == [
        "nameserver 127.0.0.11",
        "search a b",
        "options ndots:2 rotate",
        "",
        "# ExtServers: [10.0.0.9]",
        "# Invalid name servers: nowhere",
        "# Overrides: [nameservers search options]",
        "# Option ndots from: override",
    ]
    assert "# No external name servers" in resolv_conf_text(
        "", servers=(), search=(), options=(), resolver="127.0.0.11"
    )


def test_binds() -> None:
    assert parse_bind("/a/../b:/c:ro,z") == Mount(
        type="bind",
        source="/b",
        destination="/c",
        mode="ro,z",
        writable=False,
        propagation="rprivate",
        options=("create",),
    )
    assert parse_bind("data:/c").name == "data"
    assert parse_bind("/c") == Mount(type="volume", destination="/c", driver="local", mode="z")
