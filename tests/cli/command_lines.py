"""Command lines that `docker` and `linkspan` must understand alike. ENVFILE, JSONFILE and OUTFILE stand for paths."""

from __future__ import annotations

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
