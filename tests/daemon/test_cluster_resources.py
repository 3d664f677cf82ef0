"""Resources of a cluster: every host has them, one change at a time, and nothing of one that is refused."""

from __future__ import annotations

import asyncio

import pytest

from linkspan.daemon.resources import Resources
from linkspan.engine.policy.host import Own
from linkspan.errors import Conflict, InvalidArgument, Unavailable
from linkspan.state.host import HostFacts
from tests.daemon.test_cluster import ROOT, Hosts, Member, play, until


def resources(member: Member) -> Resources:
    return Resources(
        member.ledger,
        member.mutation,
        lambda: HostFacts("/run/netns"),
        lambda: Own(member.cluster.own),
        member.cluster.whole,
        lambda: "nobody sees it",
    )


def policy(name: str, spec: str = "{}", version: str = "") -> bytes:
    text = f"---\napiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata:\n  name: {name}\n"
    return f"{text}  resourceVersion: '{version}'\nspec: {spec}\n".encode()


def of_network(name: str, spec: str) -> bytes:
    text = f"---\napiVersion: projectcalico.org/v3\nkind: NetworkPolicy\nmetadata:\n  name: {name}\n  namespace: back\n"
    return f"{text}spec: {spec}\n".encode()


def names(member: Member) -> list[str]:
    return sorted(member.ledger.now.policies)


async def all_have(hosts: Hosts, wanted: list[str]) -> None:
    await until(lambda: all(names(m) == wanted for m in hosts.members), lambda: str([names(m) for m in hosts.members]))
    policies = [member.ledger.now.policies for member in hosts.members]
    assert all(one == policies[0] for one in policies)
    held = [item.key.removeprefix(f"{ROOT}records/policies/") for item in hosts.etcd.find(f"{ROOT}records/pol", True)]
    assert sorted(held) == wanted


def test_what_one_says_holds_on_all() -> None:
    async def steps(hosts: Hosts) -> None:
        await resources(hosts[0]).apply(policy("a") + policy("b"))
        await all_have(hosts, ["a", "b"])
        assert hosts[2].ledger.now.policies["a"].scope == "global"
        done = await resources(hosts[1]).apply(policy("a", "{order: 1}") + policy("b"))
        assert [outcome.result for outcome in done.outcomes] == ["configured", "unchanged"]
        await resources(hosts[2]).delete_named("gnp", "b", "")
        await all_have(hosts, ["a"])

    play(steps)


NEAR = "{ingress: [{action: Deny, source: {selector: a == 'b'}}]}"
FAR = "{selector: all(), ingress: [{action: Deny, source: {selector: a == 'b'}}]}"


def test_who_is_on_which_network_all_know_while_a_policy_may_select_anybody() -> None:
    async def steps(hosts: Hosts) -> None:
        await hosts[0].create("back")
        await hosts[0].run("web")
        await resources(hosts[1]).apply(policy("near") + of_network("own", NEAR))
        await all_have(hosts, ["back/own", "near"])
        assert hosts[2].knows() == {}
        await resources(hosts[1]).apply(policy("far", FAR))
        await until(lambda: all("web" in member.knows() for member in hosts.members))
        more = await hosts[1].create("more", "10.8.0.0/24")
        await hosts[0].cluster.caught_up(hosts.etcd.revision)
        await hosts[0].run("also", "more")
        await until(lambda: all("also" in member.knows() for member in hosts.members))
        await hosts[2].end()
        await hosts[2].start()
        await hosts[2].forget(more)  # in vain
        assert {"web", "also"} <= hosts[2].knows().keys()
        await resources(hosts[0]).delete_named("gnp", "far", "")
        await all_have(hosts, ["back/own", "near"])
        await hosts[2].forget(more)
        assert hosts[2].knows().keys() == {"web"}

    play(steps)


def test_of_two_who_change_the_same_at_once_the_second_sees_the_first() -> None:
    async def steps(hosts: Hosts) -> None:
        await resources(hosts[0]).apply(policy("a"))
        await all_have(hosts, ["a"])
        for turn in range(10):
            version = hosts[0].ledger.now.policies["a"].metadata.resource_version
            changes = [
                resources(m).apply(policy("a", f"{{order: {turn}.{n}}}", version)) for n, m in enumerate(hosts.members)
            ]
            done = await asyncio.gather(*changes, return_exceptions=True)
            assert sum(isinstance(one, Conflict) for one in done) == 2, done
            await all_have(hosts, ["a"])
        await asyncio.gather(*(resources(m).apply(policy(f"{m.name}-{n}")) for n in range(5) for m in hosts.members))
        await all_have(hosts, sorted(["a", *(f"{m.name}-{n}" for n in range(5) for m in hosts.members)]))

    play(steps)


def test_a_thousand_at_once_are_one_change() -> None:
    async def steps(hosts: Hosts) -> None:
        revision, note = hosts.etcd.revision, b"metadata:\n  annotations: {note: '" + b"x" * 200_000 + b"'}"
        await resources(hosts[0]).apply(b"".join(policy(f"p{number:04}") for number in range(1000)))
        assert hosts.etcd.revision == revision + 1
        await all_have(hosts, [f"p{number:04}" for number in range(1000)])
        large = b"".join(policy(f"q{n}", f"{{}}\n# {n}").replace(b"metadata:", note) for n in range(6))
        with pytest.raises(
            InvalidArgument, match="more than 1024 KiB of resources at once: give them in several files"
        ):
            await resources(hosts[0]).apply(large)
        assert len(names(hosts[0])) == 1000

    play(steps, 2)


def test_without_the_store_nothing_is_changed_and_what_was_known_holds() -> None:
    async def steps(hosts: Hosts) -> None:
        await resources(hosts[0]).apply(policy("a"))
        await all_have(hosts, ["a"])
        hosts[1].client.cut_off()
        await until(lambda: bool(hosts[1].cluster._publisher.refusal))
        for change in (resources(hosts[1]).apply(policy("b")), resources(hosts[1]).delete(policy("a"))):
            with pytest.raises(Unavailable, match="the cluster's store cannot be used now"):
                await change
        assert names(hosts[1]) == ["a"]
        await hosts[1].end()
        await resources(hosts[0]).apply(policy("c"))
        await resources(hosts[0]).delete(policy("a"))
        await hosts[1].start()
        await all_have(hosts, ["c"])

    play(steps, 2)


def test_a_hosts_own_stay_when_it_joins_until_somebody_says_them_for_all() -> None:
    async def steps(hosts: Hosts) -> None:
        one = hosts[0]
        one.mutation.cluster = None
        await resources(one).apply(policy("own") + policy("common"))
        one.mutation.cluster = one.cluster
        await one.end()
        await one.start()
        assert names(one) == ["common", "own"] and names(hosts[1]) == []
        await resources(hosts[1]).apply(policy("common", "{order: 7}"))
        await until(lambda: one.ledger.now.policies["common"].spec.order == 7.0)
        await resources(one).apply(policy("own"))
        await all_have(hosts, ["common", "own"])

    play(steps, 2)
