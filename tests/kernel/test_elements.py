"""Elements as the kernel gets them: held against what the nft command reads, and what it would have written itself."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkspan.errors import Conflict, Internal
from linkspan.kernel import elements
from linkspan.kernel.nftables import RULESET, TABLE, Nftables
from linkspan.state.objects import NftElement
from linkspan.state.plan import Create, Delete, Replace
from tests.hosts import Host, hosts

TYPES = elements.set_types(RULESET)
KEYS = {
    "ipv4_addr": st.ip_addresses(v=4).map(str),
    "ipv6_addr": st.ip_addresses(v=6).map(lambda address: socket.inet_ntop(socket.AF_INET6, address.packed)),
    "inet_proto": st.sampled_from(["tcp", "udp", "sctp", "47"]),
    "nf_proto": st.sampled_from(["ipv4", "ipv6"]),
    "inet_service": st.integers(0, 65535).map(str),
    "@th,96,24": st.integers(0, (1 << 24) - 1).map(str),
    "ifname": st.from_regex(r'"[a-z][a-z0-9.-]{0,14}"', fullmatch=True),
}
EXAMPLES = {
    "ipv4_addr": "10.0.0.7",
    "ipv6_addr": "fd00::7",
    "inet_proto": "udp",
    "nf_proto": "ipv6",
    "inet_service": "53",
    "ifname": '"br-one"',
    "udp dport": "8472",
    "ip saddr": "10.0.0.7",
    "ip6 saddr": "fd00::7",
    "@th,96,24": "4097",
}


@given(st.data())
def test_what_is_packed_is_read_back(data: st.DataObject) -> None:
    fields = data.draw(st.lists(st.sampled_from(sorted(KEYS)), min_size=1, max_size=4))
    layout = elements.SetType("any", " . ".join(fields), "", interval=False).key
    shown = " . ".join(data.draw(KEYS[field]) for field in fields)
    assert layout.show(layout.pack(shown)) == shown


@pytest.mark.parametrize(
    ("name", "element", "data"),
    [
        ("published", "tcp", "10.0.0.1 . 80"),
        ("published", "tcp . 80 . 90", "10.0.0.1 . 80"),
        ("published", "tcp . 65536", "10.0.0.1 . 80"),
        ("published", "tcp . 80", "fd00::1 . 80"),
        ("masqueraded", "10.0.0.1/24", ""),
        ("restricted", "ipv5", ""),
    ],
)
def test_what_is_not_of_the_set_is_refused(name: str, element: str, data: str) -> None:
    with pytest.raises(Internal, match=f"is no element of {name} in the nft table"):
        list(elements.written(TABLE, TYPES[name], [NftElement(name, element, data)]))


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with hosts(main="10.211.55.4/24") as made:
        yield made["main"]


@pytest.fixture
def nft(host: Host) -> Iterator[Nftables]:
    made = host.call(Nftables)
    yield made
    left = host.call(made.read)
    host.call(made.close)
    assert left == []


def declared() -> dict[str, tuple[str, str, str]]:
    """Key, data and flags of each set and map, by name."""
    found = elements._DEFINITION.findall(RULESET)
    return {name: (key, data, flags) for name, key, data, flags in found}


@pytest.mark.root
@pytest.mark.parametrize("name", sorted(TYPES))
def test_the_nft_command_sees_the_same(host: Host, nft: Nftables, name: str) -> None:
    key, data, _ = declared()[name]
    element = NftElement(
        name,
        " . ".join(EXAMPLES[field] for field in key.split(" . ")),
        " . ".join(EXAMPLES[field] for field in data.split(" . ")) if data else "",
        "whose it is",
    )
    host.call(nft.apply, [Create(element)])
    seen = host.run("nft", "-n", "list", "set" if not data else "map", "inet", TABLE, name)
    listed = " ".join(re.findall(r"elements = \{ (.*) \}", seen))
    shown = f'{element.element} comment "whose it is"' + (f" : {element.data}" if data else "")
    assert _plain(listed) == _plain(shown)
    host.call(nft.apply, [Delete(element)])
    assert "elements" not in host.run("nft", "list", "set" if not data else "map", "inet", TABLE, name)


def _plain(listed: str) -> str:
    """`nft -n` has numbers for protocols and IP versions, and hexadecimal ones for bits of a packet."""
    return listed.replace("ipv6", "10").replace("udp", "17").replace("0x1001", "4097")


@pytest.mark.root
def test_subnets_as_nft_writes_them(host: Host, nft: Nftables) -> None:
    """Next to each other, a single address, a range, the end of all addresses, and those of a set of several fields."""
    subnets = ["0.0.0.0/8", "10.0.0.0/24", "10.0.1.0/24", "10.0.3.7/32", "10.1.0.3-10.1.0.9", "255.255.255.0/24"]
    wanted = [NftElement("masqueraded", subnet) for subnet in subnets]
    wanted.append(NftElement("masqueraded6", "::/0"))
    wanted += [NftElement("spread_to", f'"br-{n}" . 10.{n}.0.0/16', comment="net") for n in range(3)]
    wanted.append(NftElement("leaving_as", "10.9.0.0/16", "192.0.2.1", "net"))
    host.call(nft.apply, [Create(item) for item in wanted])
    ours = _lines(host)
    assert sorted(host.call(nft.read), key=str) == sorted(wanted, key=str)
    host.call(nft.apply, [Delete(item) for item in wanted])
    host.call(nft._library.run, "".join(f"add element inet {TABLE} {_command(item)}\n" for item in wanted))
    assert _lines(host) == ours
    host.call(nft.apply, [Delete(item) for item in wanted])


def _lines(host: Host) -> list[str]:
    """The ruleset in pieces; the kernel keeps the elements of some sets in an order of its own."""
    return sorted(re.split(r"(?:, | \}|\{ |,)?\s*\n\s*|, |elements = \{ ", host.run("nft", "list", "ruleset")))


def _command(item: NftElement) -> str:
    comment = f' comment "{item.comment}"' if item.comment else ""
    return f"{item.set} {{ {item.element}{comment}{f' : {item.data}' if item.data else ''} }}"


@pytest.mark.root
def test_thousands_in_one_transaction(host: Host, nft: Nftables) -> None:
    def there() -> int:
        return len(host.call(nft.read))

    many = [NftElement("published6_at", f"fd00::1 . tcp . {n}", f"fd00::2 . {n}", "x" * 12) for n in range(1, 20_001)]
    host.call(nft.apply, [Create(item) for item in many])
    assert there() == 20_000
    # One that the kernel refuses, behind so many: nothing of it is done, and the next change finds no old answers.
    contradiction = [NftElement("published", "tcp . 80", f"10.0.0.{n} . 80") for n in (1, 2)]
    with pytest.raises(Conflict, match="cannot change the elements of nft table inet linkspan"):
        host.call(nft.apply, [*map(Delete, many), *map(Create, contradiction)])
    assert there() == 20_000
    other = [NftElement(item.set, item.element, "fd00::3 . 1", item.comment) for item in many]
    host.call(nft.apply, [Replace(old, new) for old, new in zip(many, other, strict=True)])
    assert host.call(nft.ruleset).count("fd00::3 . 1") == 20_000
    host.call(nft.apply, [Delete(item) for item in other])
    assert there() == 0
