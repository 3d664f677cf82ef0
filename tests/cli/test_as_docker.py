"""The same words typed to `docker` and to `linkspan` make the same requests, the same output, the same exit status."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from answers import script
from fake_daemon import Asked, FakeDaemon

from conftest import Command


def _docker() -> str:
    """Why the comparison cannot be made here, or ""."""
    path = shutil.which("docker")
    if path is None:
        return "no docker client is installed to compare with"
    shown = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
    return "" if "version 28." in shown else f"the docker client installed is not a 28: {shown.strip()}"


MISSING = _docker()
pytestmark = pytest.mark.skipif(MISSING != "", reason=MISSING)

# What run and create are given before the image; each is one command line.
CREATE = """

-d
-it
-a stdout
-a stdin -a stderr -i
--name web -h host --domainname example.org -u 1000:1000 -w /srv -t
-p 80
-p 8080:80
-p 1.2.3.4:8080:80
-p 1.2.3.4::80
-p 8000-8010:8000-8010/udp
-p 8000-8010:80
-p [::1]:80:80
-p 80:80 -p 81:80 -p 80:80/udp
-p 80/sctp -P --expose 90-92 --expose 53/udp
-p target=80,published=8080,protocol=udp
--publish 127.0.0.1:3306:3306 --publish 54321:5432
-v /a:/b -v /c -v data:/d:ro -v ./x:/y
--mount type=bind,source=/x,target=/y,readonly
--mount type=volume,src=v,dst=/y,volume-nocopy,volume-label=a=b,volume-driver=local,volume-opt=type=nfs
--mount type=tmpfs,destination=/t,tmpfs-size=64m,tmpfs-mode=1777
--mount src=v,target=/y --mount type=bind,src=/x,dst=/z,bind-propagation=rshared
--tmpfs /t:size=1m --tmpfs /u
-e A=1 -e B= -e HOME -e NOT_SET
--env-file ENVFILE -e A=2
--label-file ENVFILE -l c=d -l e
--entrypoint /bin/sh
--entrypoint=
--restart on-failure:3
--restart always
--restart unless-stopped
--rm
-m 64m --memory-swap -1 --memory-reservation 32m --memory-swappiness 10
--cpus 1.5 --cpu-shares 512 --cpuset-cpus 0-1 --cpuset-mems 0 --cpu-period 1000 --cpu-quota 2000
--pids-limit 100 --blkio-weight 100 --oom-score-adj 5 --oom-kill-disable
--read-only --privileged --init
--cap-add NET_ADMIN --cap-add SYS_TIME --cap-drop ALL
--security-opt no-new-privileges --security-opt apparmor=unconfined --security-opt seccomp=unconfined
--security-opt seccomp=JSONFILE
--security-opt systempaths=unconfined
--add-host a:1.2.3.4 --add-host b=::1 --add-host c:host-gateway --add-host d:[::2]
--dns 1.1.1.1 --dns 2001:db8::1 --dns-search example.org --dns-search . --dns-option ndots:2 --dns-opt timeout:1
--network host
--network none
--net=bridge
--net container:mysql
--network back --network-alias db --network-alias store
--network back --ip 172.30.0.9 --ip6 2001:db8::9
--network back --link other:o
--link other
--network bridge --link other
--network back
--network name=back,alias=db,alias=store,ip=172.30.0.9,ip6=2001:db8::9,mac-address=02:00:00:00:00:01,driver-opt=a=b
--network name=back,gw-priority=5,link-local-ip=169.254.3.3 --network front
--network back --mac-address 92:d0:c6:0a:29:33
--mac-address 92:d0:c6:0a:29:33
--ip 172.17.0.9
--ulimit nofile=1024:2048 --ulimit core=0 --ulimit nproc=5
--device /dev/null --device /dev/zero:/dev/x --device /dev/full:/dev/f:r --device /dev/tty:rw
--device-cgroup-rule 'c 1:3 rwm'
--shm-size 64m --sysctl net.ipv4.ip_forward=1
--stop-signal SIGUSR1 --stop-timeout 3
--stop-timeout 0
--ipc host --pid host --uts host --userns host --cgroupns private
--pid container:other --ipc shareable
--group-add 10 --group-add audio
--log-driver json-file --log-opt max-size=10m --log-opt max-file=3
--platform linux/arm64 --pull never --quiet
--volumes-from other --volumes-from third:ro --volume-driver local
--health-cmd 'curl localhost' --health-interval 3s --health-timeout 1m30s --health-retries 3 --health-start-period 1.5s
--no-healthcheck
--annotation a=b --storage-opt size=1G --runtime runc --cgroup-parent /x --isolation default
""".strip("\n").split("\n")

# Command lines that cannot be understood: the same words on standard error, and the same exit status.
REFUSED = """
run
run --zzz
run -z a
run --name
run -m x alpine
run -p a:b alpine
run -p 99999:1 alpine
run -p 1:99999 alpine
run -p 80/foo alpine
run -p 1.2.3:80:80 alpine
run -p 8000-8002:80-81 alpine
create -p a:b alpine
run UPPER
create UPPER
run al:pine:x
run a//b
run -v a:b:c:d UPPER
run --network a --network a alpine
run --network host --network-alias a alpine
run --network a --network host alpine
run --network name=a,foo=b alpine
run --network name=a,foo alpine
run --network name=a,ip=1.2.3.4 --ip 1.2.3.4 alpine
run --rm --restart always alpine
run --restart on-failure:x alpine
run -e =a alpine
run --add-host a alpine
run --add-host a:b alpine
run --dns a alpine
run --mount type=bind alpine
run --mount foo alpine
run --mount foo=bar,target=/x alpine
run --mac-address zz alpine
run --pull foo alpine
run --cpus x alpine
run --ulimit x alpine
run --ulimit nofile=5:3 alpine
run --env-file /does/not/exist alpine
run --expose foo alpine
run --expose 80:80 alpine
run -l =a alpine
run --sysctl x alpine
run -d -a stdout alpine
run -a foo alpine
run --health-interval 1 alpine
run --no-healthcheck --health-cmd x alpine
run --pid foo alpine
run --uts foo alpine
run --security-opt foo alpine
run --log-driver none --log-opt a=b alpine
run --memory-swappiness 200 alpine
run -it alpine
ps a
ps --filter foo
ps --last x
stop
kill
rm
rename a
exec a
logs
inspect
rmi
tag a
pull A
pull -a alpine:3
cp a b
cp a:/x b:/y
port a b c
network create
network rm
network connect a
network create --gateway 1.2.3.4 a
network create --subnet 10.0.0.0/8 --subnet 10.1.0.0/16 a
network create --subnet 10.0.0.0/8 --gateway 11.0.0.1 a
update web
wait
top
""".strip().split("\n")

# Everything else, against a daemon with a few of everything. `!` marks output that is ours to word.
OTHERS = """
ps
ps -a
ps -q
ps -aq --no-trunc
ps --no-trunc
ps -l
ps -n 5
ps -s
ps --filter name=web --filter status=running --filter name=db
ps --format {{.Names}}
ps --format '{{.ID}}: {{.Names}} {{.Ports}}'
ps --format 'table {{.Names}}\\t{{.Status}}\\t{{.Label "com.example.tier"}}'
ps --format json
ps --format '{{json .Names}}'
ps --format '{{.Mounts}} {{.Networks}} {{.LocalVolumes}} {{.Labels}} {{.State}} {{.Size}}'
ps --format '{{if eq .State "running"}}{{upper .Names}}{{else}}-{{end}}'
container ls -a
container list
port web
port web 80
port web 80/tcp
port web 81
port web x
port nobody
inspect web
inspect nobody
inspect web nobody
inspect bridge
inspect data
inspect mysql:latest
inspect --type volume data
inspect --type image web
inspect -s web
inspect -f {{.State.Status}} web
network inspect -f {{.ID}} bridge
inspect -f {{.State.Running}} web
inspect -f {{.Nothing}} web
inspect -f '{{json .NetworkSettings.Ports}}' web
inspect -f '{{json .Config.Env}}' web
inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' web
inspect -f '{{range $k, $v := .NetworkSettings.Networks}}{{$k}}={{$v.IPAddress}} {{end}}' web
inspect -f '{{range $p, $c := .NetworkSettings.Ports}} {{$p}} -> {{(index $c 0).HostPort}} {{end}}' web
inspect -f '{{(index (index .NetworkSettings.Ports "80/tcp") 0).HostPort}}' web
inspect -f '{{index .Config.Labels "com.example.tier"}}' web
inspect -f '{{len .Mounts}} {{printf "%s-%d" .Name .RestartCount}}' web
inspect -f '{{if .State.Running}}up{{else}}down{{end}}' web
inspect -f '{{with .Config}}{{.Image}}{{end}}' web
inspect -f '{{join .Config.Cmd " "}}|{{lower .Config.Image}}|{{.HostConfig.NetworkMode}}' web
inspect -f '{{println .Name}}' web
inspect -f '{{.Config.Env}} {{.Config.Labels}} {{.NetworkSettings.Ports}}' web
inspect -f '{{range $i, $e := .Config.Env}}{{if $i}}, {{end}}{{$e}}{{end}}' web
inspect -f '{{ .Name | printf "%q" }}' web
inspect -f '{{ "a" | title }} {{split .Name "e"}} {{pad .Driver 1 2}}' web
inspect -f '{{and .State.Running .Name}} {{or "" .Name}} {{not .State.Running}} {{eq 1 1 2}} {{ne 1 2}} {{lt 1 2}}' web
inspect -f '{{range .Mounts}}{{.Source}}:{{.Destination}} {{end}}' web
inspect -f '{{.HostConfig.PortBindings}}' web
inspect -f '{{index .Args 0}}' web
inspect -f '{{/* nothing */}}{{- .Name -}}  x' web
inspect -f '{{.State.Pid}} {{.State.ExitCode}}' web
inspect -f '{{$x := .Name}}{{$x}}' web
network inspect bridge
network inspect -f '{{range .IPAM.Config}}{{.Subnet}} {{.Gateway}}{{end}}' bridge
network inspect -f '{{.Name}} {{.Driver}} {{.Internal}} {{len .Containers}}' bridge
network inspect nobody
volume inspect data
volume inspect -f {{.Mountpoint}} data
volume inspect nobody
image inspect mysql
image inspect -f {{.Id}} mysql
container inspect web
container inspect nobody
logs web
logs -f --tail 5 -t web
logs --since 10 --until 20.5 web
logs --since 2025-01-02T03:04:05Z --details web
logs tty
logs nobody
exec web ls -l
exec -d web ls
exec -i web cat
exec -t -e A=1 -u root -w / --privileged web sh -c 'exit 3'
exec nobody ls
exec web missing
exec -it web sh
stop web
stop -t 3 -s INT web db
stop nobody web
start web
start web nobody
start -a web
start -ai web
start -a web db
kill web
kill -s HUP web
restart -t 1 web
pause web
unpause web
rm web
rm -f -v web
rm -f nobody
rm nobody web
rm -l web
wait web db
wait nobody
top web
top web -o pid,args
rename web www
update -m 64m --cpus 2 --restart always --pids-limit 5 web
attach web
attach --no-stdin web
attach stopped
attach nobody
diff web
version --format {{.Server.Version}}
info --format {{.ServerVersion}}
events --since 1 --until 2
events --since 1 --until 2 --filter type=container --filter event=start
events --since 1 --until 2 --format '{{.Type}} {{.Action}} {{.Actor.ID}}'
images
images -a
images -q
images --no-trunc
images --digests
images mysql
images --filter dangling=true
images --format '{{.Repository}}:{{.Tag}} {{.ID}} {{.Size}}'
images --format json
image ls
history mysql
history -q mysql
history --no-trunc mysql
tag mysql my/sql:5
tag mysql localhost:5000/mysql
tag mysql UPPER
rmi mysql
rmi -f nobody
rmi nobody mysql
rmi --no-prune mysql
pull alpine
pull -q alpine
pull localhost:5000/team/app:1
pull --platform linux/arm64 alpine
pull alpine@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
pull broken
push localhost:5000/team/app:1
push -q localhost:5000/team/app
run -d newimage
run --name newer -d --quiet newimage
run alpine echo
run --rm alpine echo
run -i alpine cat
run failing
run notfound missing
run denied missing
run -d --rm failing
create alpine
run nobodyimage
save mysql alpine
save -o OUTFILE mysql
load -i JSONFILE
import JSONFILE team/app:1
import -c 'CMD x' -m hello JSONFILE
export web
export -o OUTFILE web
network ls
network ls -q
network ls --no-trunc
network ls --filter driver=bridge
network ls --format '{{.Name}} {{.ID}} {{.Internal}} {{.IPv6}} {{.Labels}}'
network ls --format json
network create back
network create -d macvlan -o parent=eth0 --label a=b --internal --attachable --ipv6 back
network create --subnet 172.30.0.0/16 --gateway 172.30.0.1 --ip-range 172.30.5.0/24 --aux-address r=172.30.0.9 back
network create --subnet 172.30.0.0/16 --subnet 2001:db8::/64 --gateway 2001:db8::1 --gateway 172.30.0.1 back
network create --ipam-driver x --ipam-opt a=b --ipv4=false back
network rm back
network rm back nobody
network rm -f nobody
network connect back web
network connect --ip 172.30.0.9 --alias a --alias b --link c:d --gw-priority 3 --driver-opt x=y back web
network connect nobody web
network disconnect back web
network disconnect -f back web
network prune -f
network prune -f --filter until=1h
volume ls
volume ls -q
volume ls --filter dangling=true
volume ls --format '{{.Name}} {{.Driver}} {{.Mountpoint}} {{.Labels}}'
volume ls --format json
volume create
volume create data
volume create -d local -o type=tmpfs --label a=b data
volume rm data
volume rm -f data nobody
volume rm nobody
volume prune -f
volume prune -a -f
container prune -f
image prune -f
image prune -a -f
system prune -f
system prune -af --volumes
stats --no-stream web
stats --no-stream --format '{{.Name}} {{.CPUPerc}} {{.MemUsage}}' web
cp web:/etc/file OUTFILE
cp web:/etc/file -
cp JSONFILE web:/tmp
cp JSONFILE web:/tmp/other
cp web:/missing OUTFILE
system df
""".strip().split("\n")


# The lines take turns, so that a difference names a few lines and not all of them.
PARTS = 6


@pytest.mark.parametrize("part", range(PARTS))
def test_bodies_of_create(part: int, linkspan: Command, daemon: FakeDaemon, tmp_path: Path) -> None:
    lines = [f"create {flags} alpine sh -c 'echo $x'" for flags in CREATE]
    assert_same(linkspan, daemon, tmp_path, lines[part::PARTS])


def test_bodies_of_run(linkspan: Command, daemon: FakeDaemon, tmp_path: Path) -> None:
    lines = [f"run -d {flags} alpine" for flags in CREATE[::5] if "-a" not in flags.split()]
    assert_same(linkspan, daemon, tmp_path, lines)


@pytest.mark.parametrize("part", range(PARTS))
def test_refused(part: int, linkspan: Command, daemon: FakeDaemon, tmp_path: Path) -> None:
    assert_same(linkspan, daemon, tmp_path, REFUSED[part::PARTS])


@pytest.mark.parametrize("part", range(PARTS * 2))
def test_verbs(part: int, linkspan: Command, daemon: FakeDaemon, tmp_path: Path) -> None:
    assert_same(linkspan, daemon, tmp_path, OTHERS[part :: PARTS * 2])


def assert_same(linkspan: Command, daemon: FakeDaemon, folder: Path, lines: list[str]) -> None:
    """Compares every line before it fails, so that one difference does not hide the others."""
    differing = [text for line in lines if (text := differences(linkspan, daemon, folder, line))]
    assert not differing, "\n\n" + "\n\n".join(differing)


def _words(line: str, folder: Path) -> list[str]:
    (folder / "env").write_text("# comment\nA=1\nB=x y\n\nHOME\nNONE\n" if "--env-file" in line else "A=1\nB=x y\n")
    (folder / "data.json").write_text('{"a": 1}')
    places = {"ENVFILE": "env", "JSONFILE": "data.json", "OUTFILE": "out"}
    for name, file in places.items():
        line = line.replace(name, str(folder / file))
    return shlex.split(line)


def differences(linkspan: Command, daemon: FakeDaemon, folder: Path, line: str) -> str:
    """Runs both, and tells what differs."""
    words = _words(line, folder)
    theirs, their_requests = _ask(linkspan, daemon, words, ("docker",))
    ours, our_requests = _ask(linkspan, daemon, words, ())
    found = []
    if their_requests != our_requests:
        found.append(f"  docker asked   {_lines(their_requests)}\n  linkspan asked {_lines(our_requests)}")
    if theirs.returncode != ours.returncode:
        found.append(f"  docker ended with {theirs.returncode}, linkspan with {ours.returncode}")
    for name, one, other in (("output", theirs.stdout, ours.stdout), ("error", theirs.stderr, ours.stderr)):
        if _text(one) != _text(other):
            found.append(f"  docker's {name}   {_text(one)!r}\n  linkspan's {name} {_text(other)!r}")
    return "\n".join([" ".join(words), *found]) if found else ""


def _ask(
    linkspan: Command, daemon: FakeDaemon, words: list[str], program: tuple[str, ...]
) -> tuple[subprocess.CompletedProcess[bytes], list[Any]]:
    script(daemon)
    daemon.asked.clear()
    done = linkspan(*words, program=program, input=b"typed\n")
    requests = [normal(asked) for asked in daemon.asked if _counts(asked)]
    if words[0] in ("stop", "kill", "rm", "pause", "unpause"):
        requests.sort(key=str)  # made all at once
    return done, requests


def _lines(requests: list[Any]) -> str:
    return "".join(f"\n    {json.dumps(request)}" for request in requests)


def _text(output: bytes) -> str:
    """With one name for both programs."""
    text = re.sub("[Dd]ocker", "linkspan", output.decode(errors="replace")).strip()
    return re.sub(r"template: :1(:\d+)*:", "template: :1:", text)  # docker tells the column too


def _counts(asked: Asked) -> bool:
    """Without the questions that only one of the two needs to ask.

    docker asks for the version first, looks at a network before it removes it (it might be a swarm's), at a container
    before and after it attaches, prunes a build cache, knows plugins, and waits for containers that it leaves alone.
    """
    asks_only = asked.method in ("GET", "HEAD") and asked.path.startswith(("/networks/", "/plugins/", "/info"))
    return (
        not asks_only
        and not asked.path.endswith(("/_ping", "/wait", "/resize", "/json"))
        and asked.path != "/build/prune"
    )


def normal(asked: Asked) -> Any:
    """A request without what both may say in different ways."""
    try:
        body: Any = asked.json
    except ValueError:
        body = len(asked.body)
    if asked.headers.get("content-type") == "application/x-tar" or asked.path.endswith(("/archive", "/load")):
        body = "an archive"
    query = {key: sorted(_decoded(value) for value in values) for key, values in asked.query.items()}
    return [asked.verb, _pruned(query), _sorted_binds(_pruned(body))]


def _decoded(value: str) -> str:
    """Filters are JSON in no particular order."""
    if value.startswith("{"):
        return json.dumps(json.loads(value), sort_keys=True)
    return value


SETS = (
    "ExposedPorts",
    "Volumes",
    "EndpointsConfig",
    "PortBindings",
    "Labels",
    "Config",
    "Tmpfs",
)  # keys count, values not


def _pruned(value: Any, key: str = "") -> Any:
    """Without what is empty, which the daemon takes as absent."""
    if isinstance(value, dict):
        kept = {name: _pruned(item, name) for name, item in value.items()}
        if key in SETS:
            return kept
        return {name: item for name, item in kept.items() if not _is_default(name, item)}
    if isinstance(value, list):
        return [_pruned(item) for item in value]
    return value


def _is_default(name: str, value: Any) -> bool:
    return value in (None, "", 0, False, [], {}, [0, 0]) or (name, value) == ("MemorySwappiness", -1)


def _sorted_binds(value: Any) -> Any:
    """docker keeps -v and -e in no order."""
    if isinstance(value, dict):
        for owner, key in ((value.get("HostConfig", {}), "Binds"), (value, "Env")):
            if key in owner:
                owner[key].sort()
    return value
