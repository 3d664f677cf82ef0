"""Plain values into structs with Calico's field names. What does not fit is said with the path of the field.

A null is as if the field were absent, as in Go. A field that the struct does not have is an error; one of Calico's
that means nothing here may be there as long as it says nothing (`doNotTrack: false`).
"""

from __future__ import annotations

import functools
import re
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import msgspec

from linkspan.errors import did_you_mean
from linkspan.model.bgp import BgpConfigurationSpec, BgpPeerSpec, FilterRule
from linkspan.model.ippool import IpPoolSpec
from linkspan.model.manifests.yaml_text import Path
from linkspan.model.policy import Entity, HostEndpointSpec, PolicySpec, Rule

T = TypeVar("T")

_SERVICES = "there are no Kubernetes services here: leave it out"
# Fields of Calico's that mean something there, and nothing here.
_NOT_HERE: Mapping[tuple[type, str], str] = {
    (Entity, "serviceAccounts"): "there are no service accounts here: select by labels",
    (Entity, "services"): "there are no Kubernetes services here: select by labels, and name the ports",
    (Rule, "http"): "what is inside a connection is not looked at: rules end at ports",
    (PolicySpec, "serviceAccountSelector"): "there are no service accounts here: select by labels",
    (PolicySpec, "doNotTrack"): "every connection is tracked here: leave it out",
    (PolicySpec, "preDNAT"): "published ports are judged where they arrive, at the container: write a policy for it",
    (PolicySpec, "applyOnForward"): "what a host forwards is judged at the container: write a policy for it",
    (PolicySpec, "performanceHints"): "there is nothing to be hinted at here: leave it out",
    (HostEndpointSpec, "ports"): "named ports are not supported: give numbers in the rules",
    (IpPoolSpec, "namespaceSelector"): "a pool is of the network whose subnet it is: leave it out",
    (BgpConfigurationSpec, "serviceClusterIPs"): _SERVICES,
    (BgpConfigurationSpec, "serviceExternalIPs"): _SERVICES,
    (BgpConfigurationSpec, "serviceLoadBalancerIPs"): _SERVICES,
    (BgpConfigurationSpec, "serviceLoadBalancerAggregation"): _SERVICES,
    (BgpConfigurationSpec, "ignoredInterfaces"): "routes of interfaces are not announced here: leave it out",
    (BgpConfigurationSpec, "bindMode"): "BGP is listened for at every address of a host: leave it out",
    (BgpPeerSpec, "reachableBy"): "say on the hosts how the router is reached (ip route add), and leave it out",
    (BgpPeerSpec, "nextHopMode"): "use keepOriginalNextHop",
    (BgpPeerSpec, "localWorkloadSelector"): "containers are nobody's BGP peers here",
    (FilterRule, "source"): "say by cidr what it is about",
    (FilterRule, "interface"): "say by cidr what it is about",
}
_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "nothing",
}
_AT = re.compile(r"(.*?)(?: - at `\$(.*)`)?", re.DOTALL)
_EXPECTED = re.compile(r"Expected `([^`]+)`, got `([^`]+)`")
_MISSING = re.compile(r"Object missing required field `([^`]+)`")
_STEP = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]")


class Wrong(Exception):
    """What is wrong with one field. `path` leads to it from the document."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(why)
        self.path, self.why = path, why

    def __str__(self) -> str:
        return f"{path_text(self.path)}: {self.why}" if self.path else self.why


def path_text(path: Path) -> str:
    """`spec.ingress[2].source`"""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")


def parse_path(text: str) -> Path:
    return tuple(int(index) if index else name for name, index in _STEP.findall(text))


def shaped(value: object, type_: type[T], path: Path) -> T:
    """Raises Wrong."""
    cleaned = _without_nulls(value)
    for wrong in _strangers(cleaned, type_, path):
        raise wrong
    try:
        return msgspec.convert(cleaned, type_)
    except msgspec.ValidationError as error:
        raise _said(str(error), path) from None


def _without_nulls(value: object) -> object:
    match value:
        case dict():
            return {key: _without_nulls(one) for key, one in value.items() if one is not None}
        case list():
            return [_without_nulls(one) for one in value]
    return value


def _strangers(value: object, type_: object, path: Path) -> Iterator[Wrong]:
    """Fields that the structs do not have, and values of free mappings that are not text."""
    match value:
        case dict() if isinstance(type_, type) and issubclass(type_, msgspec.Struct):
            inner = _fields(type_)
            for key, one in value.items():
                if key in inner:
                    yield from _strangers(one, inner[key], (*path, key))
                elif (why := _NOT_HERE.get((type_, key))) is None:
                    yield Wrong((*path, key), _unknown(key, inner))
                elif one or isinstance(one, dict):
                    yield Wrong((*path, key), why)
        case dict() if typing.get_origin(type_) is not None:
            for key, one in value.items():
                if not isinstance(one, str):
                    yield Wrong((*path, key), f"expected text, got {_kind_of(one)}: put it in quotes")
        case list() if typing.get_origin(type_) is tuple:
            item = typing.get_args(type_)[0]
            for index, one in enumerate(value):
                yield from _strangers(one, item, (*path, index))


@functools.cache
def _fields(type_: type[msgspec.Struct]) -> dict[str, object]:
    hints = typing.get_type_hints(type_)
    return {field.encode_name: _without_none(hints[field.name]) for field in msgspec.structs.fields(type_)}


def _without_none(hint: object) -> object:
    """`X` of `X | None`."""
    if isinstance(hint, types.UnionType):
        kept = [one for one in typing.get_args(hint) if one is not types.NoneType]
        return kept[0] if len(kept) == 1 else hint
    return hint


def _unknown(key: str, known: Mapping[str, object]) -> str:
    return f"unknown field{did_you_mean(key, known)}"


def _said(message: str, path: Path) -> Wrong:
    """msgspec's word, in ours."""
    found = _AT.fullmatch(message)
    assert found is not None
    why, at = found[1], parse_path(found[2] or "")
    if missing := _MISSING.fullmatch(why):
        return Wrong((*path, *at, missing[1]), "it is needed")
    if expected := _EXPECTED.fullmatch(why):
        wanted = " or ".join(_WORDS.get(name, name) for name in expected[1].split(" | ") if name != "null")
        return Wrong((*path, *at), f"expected {wanted}, got {_WORDS.get(expected[2], expected[2])}")
    return Wrong((*path, *at), why.replace("Invalid enum value", "there is no such value:"))


def _kind_of(value: Any) -> str:
    names = {bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "a mapping"}
    return names.get(type(value), "nothing")
