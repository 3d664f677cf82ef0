"""Other firewalls' chains at the forward hook, read; and our accepting rule in them, put there and taken away.

nft's chains, those of iptables-nft among them, are read and written by netlink. The legacy iptables keeps tables of its
own, which only its command reads. Formats: linux/netfilter/nf_tables.h, linux/netfilter/x_tables.h.
"""

from __future__ import annotations

import errno
import logging
import shlex
import shutil
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

from linkspan.kernel import nftables, user_table
from linkspan.kernel.netlink import (
    ACK,
    APPEND,
    CREATE,
    NETLINK_NETFILTER,
    NetlinkSocket,
    attribute,
    attribute_list,
    attributes,
    be32,
    nested,
    string,
    text,
)
from linkspan.state.neighbours import Chain, Chains, Dropping, Neighbours, Rule, guarded, in_place, judge, others
from linkspan.state.objects import ForwardAccept

log = logging.getLogger(__name__)

COMMENT = "linkspan"
MARK = 0x6C000000  # as in ruleset.nft, chain `passing`; also the mask

_SUBSYSTEM = 10 << 8
_GETCHAIN, _NEWRULE, _GETRULE, _DELRULE = (_SUBSYSTEM | number for number in (4, 6, 7, 8))
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_BATCH = struct.pack("=BBH", 0, 0, socket.htons(10))
_FAMILIES = {"inet": 1, "ip": 2, "ip6": 10}
_NAMES = {number: name for name, number in _FAMILIES.items()}
_FORWARD = 2  # NF_INET_FORWARD
_OWN = (nftables.TABLE, user_table.TABLE)
_VERDICTS = {0: "drop", 1: "accept", -3: "jump", -4: "goto", -5: "return"}
_OIFNAME, _MARK_KEY = 7, 3  # NFT_META_…
# Expressions that ask nothing of a packet.
_DOES_NOT_ASK = {"counter", "log", "objref", "reject", "immediate", "target"}
_LEGACY = {"ip": ("iptables", "ip_tables_names"), "ip6": ("ip6tables", "ip6_tables_names")}
_SPECIFICATION = ("-m", "mark", "--mark", f"{MARK:#x}/{MARK:#x}", "-m", "comment", "--comment", COMMENT, "-j", "ACCEPT")


class Others:
    """Made in the host's namespace, used in the kernel thread."""

    def __init__(self) -> None:
        self._nft = NetlinkSocket(NETLINK_NETFILTER)
        self._refused: dict[tuple[str, ...], str] = {}

    def close(self) -> None:
        self._nft.close()

    def look(self) -> Neighbours:
        """What there is now. OSError if the kernel does not say."""
        dropping: list[Dropping] = []
        accepting: set[ForwardAccept] = set()
        sorted_elsewhere: frozenset[str] = frozenset()
        for family, table, name, chains in self._chains():
            verdict = judge(name, chains)
            accept = ForwardAccept(family, table, name)
            if verdict.why:
                dropping.append(Dropping(accept, verdict.why, self._refused.get(accept.key, "")))
                sorted_elsewhere |= guarded(name, chains)
            if len(others(chains[name])) < len(chains[name].rules):
                accepting.add(ForwardAccept(family, table, name, in_place(name, chains) or not verdict.why))
        there = {item.accept.key for item in dropping}
        self._refused = {key: why for key, why in self._refused.items() if key in there}
        return Neighbours(tuple(dropping), frozenset(accepting), sorted_elsewhere)

    def accept(self, wanted: ForwardAccept) -> None:
        """One rule of ours in the chain, where it belongs. Where it cannot be put, that is remembered for `look`."""
        try:
            self._rewrite(wanted, there=True)
        except (OSError, subprocess.SubprocessError) as error:
            why = _words(error)
            if self._refused.get(wanted.key) != why:
                log.error("no rule could be put into the chain %s, which drops what is forwarded: %s", wanted, why)
            self._refused[wanted.key] = why

    def withdraw(self, item: ForwardAccept) -> None:
        """No rule of ours in the chain. Where it cannot be taken away, that is said."""
        try:
            self._rewrite(item, there=False)
        except (OSError, subprocess.SubprocessError) as error:
            log.error("the rule in the chain %s could not be taken away: %s", item, _words(error))

    def _rewrite(self, item: ForwardAccept, *, there: bool) -> None:
        for family, table, name, chains in self._chains():
            if (family, table, name) == (item.family, item.table, item.chain):
                place = judge(name, chains).place if there else None
                if table:
                    self._write(family, table, name, chains[name], place)
                else:
                    _write_legacy(family, name, chains[name], place)

    def _chains(self) -> Iterator[tuple[str, str, str, Chains]]:
        """Each base chain that others have at the forward hook: family, table, name, and it with what it leads to."""
        for body in self._nft.dump(_GETCHAIN, _header(0)):
            values = attributes(body, 4)
            hook = attributes(values.get(4, b""))
            family, table, name = _NAMES.get(body[0], ""), string(values.get(1, b"")), string(values.get(3, b""))
            if not family or table in _OWN or int.from_bytes(hook.get(1, b"\xff"), "big") != _FORWARD:
                continue
            policy = "drop" if values.get(5) == bytes(4) else "accept"
            yield family, table, name, self._with_what_it_leads_to(family, table, name, policy)
        for family in _LEGACY:
            if chains := _read_legacy(family):
                yield family, "", "FORWARD", chains

    def _with_what_it_leads_to(self, family: str, table: str, name: str, policy: str) -> Chains:
        """Followed through jumps without conditions: the rest decides nothing here."""
        found = {name: Chain(self._rules(family, table, name), policy)}
        ahead = [name]
        while ahead:
            for rule in found[ahead.pop()].rules:
                if rule.unconditional and rule.target and rule.target not in found:
                    found[rule.target] = Chain(self._rules(family, table, rule.target))
                    ahead.append(rule.target)
        return found

    def _rules(self, family: str, table: str, chain: str) -> tuple[Rule, ...]:
        asked = _header(_FAMILIES[family]) + text(1, table) + text(2, chain)
        try:
            bodies = self._nft.dump(_GETRULE, asked)
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise
            return ()  # gone since the chains were listed
        return tuple(_rule(attributes(body, 4)) for body in bodies)

    def _write(self, family: str, table: str, name: str, chain: Chain, place: int | None) -> None:
        """In one transaction: our rules out, and one in before the other at `place`."""
        where = _header(_FAMILIES[family]) + text(1, table) + text(2, name)
        gone = [(_DELRULE, ACK, where + _handle(3, rule.handle)) for rule in chain.rules if rule.ours]
        # iptables understands what it would have written itself; older ones read nothing else, and would save what they
        # do not understand as a rule that accepts everything.
        forms = (_IPTABLES_FORM, _NFT_FORM) if family != "inet" and name == "FORWARD" else (_NFT_FORM,)
        for form in forms if place is not None else ((),):
            new = []
            if place is not None:
                rest = others(chain)
                position = _handle(6, rest[place].handle) if place < len(rest) else b""
                flags = ACK | CREATE | (0 if position else APPEND)
                new = [(_NEWRULE, flags, where + position + _expressions(form) + _USER_DATA)]
            try:
                self._nft.request([(_BATCH_BEGIN, 0, _BATCH), *gone, *new, (_BATCH_END, 0, _BATCH)])
            except OSError as error:
                if form is forms[-1] or error.errno not in (errno.ENOENT, errno.EOPNOTSUPP):
                    raise
            else:
                return


def _header(family: int) -> bytes:
    return struct.pack("=BBH", family, 0, 0)


def _handle(kind: int, handle: int) -> bytes:
    return attribute(kind, handle.to_bytes(8, "big"))


# --- rules, read


def _rule(values: dict[int, bytes]) -> Rule:
    unconditional, verdict, target, leaving_by = True, "", "", ""
    ours = _comment(values.get(7, b"")) == COMMENT
    loaded = -1  # what the last `meta` has put into the register
    for _, item in attribute_list(values.get(4, b"")):
        expression = attributes(item)
        name, data = string(expression.get(1, b"")), attributes(expression.get(2, b""))
        if name == "match" and string(data.get(1, b"")) == "comment":
            ours = ours or string(data.get(3, b"").partition(b"\0")[0]) == COMMENT
            continue
        if name == "meta":
            loaded = int.from_bytes(data.get(2, b""), "big")
        elif name == "cmp" and loaded == _OIFNAME and data.get(2) == bytes(4):
            leaving_by = string(attributes(data.get(3, b"")).get(1, b""))
        elif name == "immediate":
            code = attributes(attributes(data.get(2, b"")).get(2, b""))
            if 1 in code:
                verdict = _VERDICTS.get(int.from_bytes(code[1], "big", signed=True), "")
                target = string(code.get(2, b""))
        elif name == "reject" or (name == "target" and string(data.get(1, b"")) == "REJECT"):
            verdict = "drop"
        unconditional = unconditional and name in _DOES_NOT_ASK
    return Rule(int.from_bytes(values.get(3, b""), "big"), unconditional, verdict, target, leaving_by, ours)


def _comment(user_data: bytes) -> str:
    """libnftnl's user data of a rule: type, length, value; a comment is type 0."""
    if len(user_data) > 2 and user_data[0] == 0:
        return string(user_data[2 : 2 + user_data[1]])
    return ""


# --- our rule, written


def _expression(name: str, *data: bytes) -> bytes:
    return nested(1, text(1, name), nested(2, *data))


def _number(value: int) -> bytes:
    return struct.pack("=I", value)


_USER_DATA = attribute(7, bytes((0, len(COMMENT) + 1)) + COMMENT.encode() + b"\0")
_ACCEPT = (
    _expression("counter", attribute(1, bytes(8)), attribute(2, bytes(8))),
    _expression("immediate", be32(1, 0), nested(2, nested(2, be32(1, 1)))),
)
_NFT_FORM = (
    _expression("meta", be32(1, 1), be32(2, _MARK_KEY)),
    _expression(
        "bitwise",
        *(be32(1, 1), be32(2, 1), be32(3, 4)),
        nested(4, attribute(1, _number(MARK))),
        nested(5, attribute(1, bytes(4))),
    ),
    _expression("cmp", be32(1, 1), be32(2, 0), nested(3, attribute(1, _number(MARK)))),
    *_ACCEPT,
)
# struct xt_mark_mtinfo1, filled up to eight bytes. The comment is nft's: iptables reads that one too.
_IPTABLES_FORM = (
    _expression("match", text(1, "mark"), be32(2, 1), attribute(3, struct.pack("=IIB7x", MARK, MARK, 0))),
    *_ACCEPT,
)


def _expressions(form: tuple[bytes, ...]) -> bytes:
    return nested(4, *form)


# --- the legacy iptables


def legacy_tables() -> bool:
    """Whether the host has any: they tell nobody of their changes."""
    return any(_has_legacy(family) for family in _LEGACY)


def _has_legacy(family: str) -> bool:
    try:
        return "filter" in Path("/proc/thread-self/net", _LEGACY[family][1]).read_text().split()
    except OSError:
        return False


def _legacy_command(family: str) -> str:
    """OSError where there is none, although there are tables."""
    name = _LEGACY[family][0]
    if found := shutil.which(f"{name}-legacy"):
        return found
    plain = shutil.which(name)
    if plain and "nf_tables" not in subprocess.run([plain, "-V"], capture_output=True, text=True, timeout=5).stdout:
        return plain
    raise OSError(errno.ENOENT, f"there are legacy iptables rules, and no command {name}-legacy to read them")


def _read_legacy(family: str) -> Chains:
    if not _has_legacy(family):
        return {}
    try:
        listed = _run([_legacy_command(family), "-w", "5", "-S"])
    except (OSError, subprocess.SubprocessError) as error:
        log.warning("%s", _words(error))
        return {}
    return parse_legacy(listed)


def parse_legacy(listed: str) -> Chains:
    """The chains of `iptables -S`."""
    policies: dict[str, str] = {}
    rules: dict[str, list[Rule]] = {}
    for line in listed.splitlines():
        verb, name, *words = shlex.split(line)
        if verb in ("-P", "-N"):
            policies[name] = words[0].lower() if words else ""
            rules.setdefault(name, [])
        elif verb == "-A":
            rules.setdefault(name, []).append(_legacy_rule(words))
    return {name: Chain(tuple(found), policies.get(name, "")) for name, found in rules.items()}


def _legacy_rule(words: list[str]) -> Rule:
    ours, leaving_by, verdict, target, unconditional = False, "", "", "", True
    index = 0
    while index < len(words):
        word, argument = words[index], words[index + 1] if index + 1 < len(words) else ""
        if word in ("-j", "-g"):
            known = {"ACCEPT": "accept", "DROP": "drop", "REJECT": "drop", "RETURN": "return"}
            verdict = known.get(argument, "goto" if word == "-g" else "jump")
            target = "" if argument in known else argument
            break  # what follows are the target's own words
        if word == "--comment":
            ours = ours or argument == COMMENT
        elif (word, argument) != ("-m", "comment"):
            unconditional = False
            if word == "-o" and words[index - 1 : index] != ["!"]:
                leaving_by = argument
        index += 2 if word.startswith("-") else 1
    return Rule(0, unconditional, verdict, target, leaving_by, ours)


def _write_legacy(family: str, name: str, chain: Chain, place: int | None) -> None:
    command = [_legacy_command(family), "-w", "5"]
    for rule in chain.rules:
        if rule.ours:
            _run([*command, "-D", name, *_SPECIFICATION])
    if place is not None:
        _run([*command, "-I", name, str(place + 1), *_SPECIFICATION])


def _run(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout


def _words(error: OSError | subprocess.SubprocessError) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        return str(error.stderr).strip() or str(error)
    if isinstance(error, OSError) and error.errno == errno.EPERM:
        return "the table belongs to another program, which lets nobody else change it"
    return str(error.strerror) if isinstance(error, OSError) and error.strerror else str(error)
