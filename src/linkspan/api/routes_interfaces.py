"""Interfaces given to containers by hand, which Docker does not have.

POST /containers/{id}/interfaces, DELETE /containers/{id}/interfaces/{name}, POST …/{name}/vlan; and programs of the
host run in a container's network: POST /containers/{id}/network/{program}.
"""

from __future__ import annotations

from linkspan.api.http import Answer, Request, Response, json_response
from linkspan.api.json_containers import plug as plug_json
from linkspan.api.parse import convert, read_object
from linkspan.daemon.daemon import Daemon
from linkspan.engine.plug_request import parse_plug
from linkspan.model.plug import Dhcp
from linkspan.model.wire import Wire


class _Asked(Wire, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """In pipework's words, taken apart."""

    host_interface: str
    interface: str = ""
    host_end: str = ""
    family: str = ""
    address: str = ""
    gateway: str = ""
    mac_address: str = ""
    vlan: str = ""
    direct: bool = False
    switch: bool = False
    mtu: int = 0
    dhcp: Dhcp | None = None


class _Tag(Wire, frozen=True, kw_only=True, forbid_unknown_fields=True):
    host_interface: str
    vlan: str = ""


class _Program(Wire, frozen=True, kw_only=True, forbid_unknown_fields=True):
    arguments: tuple[str, ...] = ()


async def plug(daemon: Daemon, request: Request) -> Answer:
    asked = convert(await read_object(request), _Asked)
    wanted = parse_plug(
        host_interface=asked.host_interface,
        interface=asked.interface,
        host_end=asked.host_end,
        family=asked.family,
        address=asked.address,
        gateway=asked.gateway,
        mac=asked.mac_address,
        vlan=asked.vlan,
        direct=asked.direct,
        switch=asked.switch,
        mtu=asked.mtu,
        dhcp=asked.dhcp,
    )
    return json_response(plug_json(await daemon.plugs.plug(request.names["ref"], wanted)), 201)


async def unplug(daemon: Daemon, request: Request) -> Answer:
    await daemon.plugs.unplug(request.names["ref"], request.names["name"])
    return Response(204)


async def set_vlan(daemon: Daemon, request: Request) -> Answer:
    asked = convert(await read_object(request), _Tag)
    await daemon.plugs.set_vlan(request.names["ref"], asked.host_interface, request.names["name"], asked.vlan)
    return Response(204)


async def run(daemon: Daemon, request: Request) -> Answer:
    asked = convert(await read_object(request), _Program)
    ended = await daemon.plugs.run(request.names["ref"], request.names["program"], asked.arguments)
    return json_response({"ExitCode": ended.status, "Stdout": ended.out, "Stderr": ended.err})


ROUTES = (
    ("POST", "/containers/{ref}/interfaces", plug),
    ("POST", "/containers/{ref}/interfaces/{name}/vlan", set_vlan),
    ("DELETE", "/containers/{ref}/interfaces/{name}", unplug),
    ("POST", "/containers/{ref}/network/{program}", run),
)
