"""What the kernel does with the rules of a sandbox: an interpreter of their chains."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from linkspan.state.guard import (
    ACCEPT,
    DESTINATION4,
    DESTINATION6,
    DESTINATION_PORT,
    DROP,
    FAMILY,
    ICMP_CODE,
    ICMP_TYPE,
    PROTOCOL,
    RETURN,
    SOURCE4,
    SOURCE6,
    SOURCE_PORT,
    Among,
    Guard,
    Match,
)
from tests.policies.oracle import Packet

_WITH_PORTS = (6, 17, 132, 136)


def lets(guard: Guard, interface: str, direction: str, packet: Packet) -> bool:
    for name, incoming, outgoing in guard.entries:
        chain = incoming if direction == "Ingress" else outgoing
        if name == interface and chain:
            return _Run(guard, packet).verdict(chain) != DROP
    return True


class _Run:
    def __init__(self, guard: Guard, packet: Packet) -> None:
        self._packet, self._version = packet, 6 if ":" in packet.source else 4
        self._chains = {chain.name: chain for chain in guard.chains}
        self._sets = {one.name: one for one in guard.sets}
        self._ports = {one.name: one for one in guard.ports}

    def verdict(self, chain: str) -> str:
        """accept or drop; "" where the chain's end is met, or it returns."""
        for rule in self._chains[chain].rules:
            if not all(map(self._holds, rule.matches)):
                continue
            jumps = [rule.jump] if rule.jump else []
            if rule.ports:
                port = self._port(self._packet.port)
                jumps = [to for first, last, to in self._ports[rule.ports].elements if first <= port <= last]
                assert len(jumps) < 2, "ranges overlap"
            for jump in jumps:
                if (found := self.verdict(jump)) in (ACCEPT, DROP):
                    return found
            if rule.verdict in (ACCEPT, DROP):
                return rule.verdict
            if rule.verdict == RETURN:
                return ""
        return ""

    def _port(self, port: int) -> int:
        assert self._packet.protocol in _WITH_PORTS, "a packet without ports was asked for one"
        return port

    def _holds(self, match: Match) -> bool:
        packet = self._packet
        if isinstance(match, Among):
            fields = {SOURCE4: (4, packet.source), SOURCE6: (6, packet.source)}
            fields |= {DESTINATION4: (4, packet.destination), DESTINATION6: (6, packet.destination)}
            version, address = fields[match.field]
            return version == self._version and self._among(match.set, address) != match.negated
        read = {
            FAMILY: lambda: self._version,
            PROTOCOL: lambda: packet.protocol,
            SOURCE_PORT: lambda: self._port(packet.source_port),
            DESTINATION_PORT: lambda: self._port(packet.port),
            ICMP_TYPE: lambda: packet.icmp_type,
            ICMP_CODE: lambda: packet.icmp_code,
        }
        value = read[match.field]()
        return (match.first <= value <= match.last) != match.negated

    def _among(self, name: str, address: str) -> bool:
        found = self._sets[name]
        assert found.version == self._version
        if not found.spans:
            return address in found.elements
        for span in found.elements:
            first, dash, last = span.partition("-")
            if dash and ip_address(first) <= ip_address(address) <= ip_address(last):
                return True
            if not dash and ip_address(address) in ip_network(span):
                return True
        return False
