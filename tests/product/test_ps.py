"""docker ps: its columns and every filter."""

from __future__ import annotations

import json

from tests.product.place import Place


def names(engine: Place, *filters: str) -> list[str]:
    words = [word for one in filters for word in ("-f", one)]
    return engine.out("ps", "-a", "--format", "{{.Names}}", *words).split()


def test_columns(engine: Place) -> None:
    id_ = engine.run("--name", "web", "-p", "8080:80", "-v", "data:/data", "--label", "a=b", "web")
    engine.run("--name", "done", "plain", "sh", "-c", "exit 3")
    engine.docker("wait", "done")
    running = engine.out("ps", "--no-trunc").splitlines()
    assert len(running) == 2 and id_ in running[1] and '"httpd -f -p 0.0.0.0:80 -h /www"' in running[1]
    assert "Up" in running[1] and "0.0.0.0:8080->80/tcp" in running[1] and "5353/udp" in running[1]
    both = engine.out("ps", "-a")
    assert "Exited (3)" in both and both.index("done") < both.index("web")  # newest first
    assert engine.out("ps", "-q") == id_[:12]
    assert engine.out("ps", "-lq") == engine.out("ps", "-n", "1", "-q") == engine.inspect("done")["Id"][:12]
    (line,) = engine.out("ps", "--format", "{{json .}}").splitlines()
    found = json.loads(line)
    assert (found["Names"], found["Labels"], found["Mounts"], found["Networks"]) == ("web", "a=b", "data", "bridge")
    assert "kB" in engine.out("ps", "-s", "--format", "{{.Size}}") or "B" in engine.out("ps", "-s")
    assert engine.linkspan("ps", "-q").out.strip() == id_[:12]


def test_filters(engine: Place) -> None:
    engine.docker("network", "create", "net1")
    one = engine.run("--name", "one", "--label", "kind=a", "-p", "8080:80", "-v", "vol:/data", "web")
    two = engine.run(
        "--name", "two", "--label", "kind=b", "--network", "net1", "--expose", "7000", "plain", "sleep", "9"
    )
    engine.out("create", "--name", "three", "--label", "other", "plain", "sh", "-c", "exit 5")
    engine.docker("start", "-a", "three", status=5)
    engine.out("create", "--name", "four", "plain")
    engine.docker("pause", "two")
    expected = {
        ("name=o",): ["four", "two", "one"],
        ("name=^/one$",): ["one"],
        ("name=one", "name=two"): ["two", "one"],
        (f"id={one[:10]}",): ["one"],
        ("label=kind",): ["two", "one"],
        ("label=kind=b",): ["two"],
        ("label=kind", "label=kind=a"): ["one"],
        ("status=running",): ["one"],
        ("status=paused",): ["two"],
        ("status=created",): ["four"],
        ("status=exited", "status=created"): ["four", "three"],
        ("exited=5",): ["three"],
        ("exited=0",): [],
        ("ancestor=web",): ["one"],
        ("ancestor=plain:latest",): ["four", "three", "two"],
        (f"ancestor={engine.inspect('web')['Id'].removeprefix('sha256:')[:12]}",): ["one"],
        ("before=three",): ["two", "one"],
        (f"since={two}",): ["four", "three"],
        ("volume=vol",): ["one"],
        ("volume=/data",): ["one"],
        ("network=net1",): ["two"],
        ("network=bridge",): ["four", "three", "one"],
        ("publish=8080",): ["one"],
        ("publish=8080/udp",): [],
        ("publish=8000-8100",): ["one"],
        ("expose=7000-7005",): ["two"],
        ("expose=80/tcp",): ["one"],
        ("health=none",): ["four", "three", "two", "one"],
        ("is-task=false",): ["four", "three", "two", "one"],
    }
    assert {asked: names(engine, *asked) for asked in expected} == expected


def test_filters_refused(engine: Place) -> None:
    for wrong in ("nonsense=1", "status=nonsense", "exited=x", "before=nobody", "publish=x", "health=x"):
        refused = engine.docker("ps", "-f", wrong, status=1).err
        assert "nvalid" in refused or "No such container" in refused or "invalid" in refused, (wrong, refused)
