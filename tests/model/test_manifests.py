"""Resources as people write them: what is read, what is said of what cannot be, and that what is written reads back."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linkspan.errors import InvalidArgument
from linkspan.model.ippool import IpPool, IpPoolSpec
from linkspan.model.manifests.kinds import KINDS, kind_named
from linkspan.model.manifests.reading import LARGEST, read_resources
from linkspan.model.manifests.writing import manifest, yaml_of
from linkspan.model.manifests.yaml_text import LONGEST, read_documents
from linkspan.model.policy import (
    Entity,
    HostEndpoint,
    HostEndpointSpec,
    Icmp,
    NetworkSet,
    NetworkSetSpec,
    Policy,
    PolicySpec,
    Rule,
    Tier,
    TierSpec,
)
from linkspan.model.resource import Metadata

HEAD = "apiVersion: projectcalico.org/v3\nkind: NetworkPolicy\nmetadata:\n  name: web\n  namespace: shop\nspec:\n"
WEB = "NetworkPolicy shop/web: "


def read(text: str):
    return read_resources(text.encode())


def refusal(text: str | bytes) -> str:
    with pytest.raises(InvalidArgument) as found:
        read_resources(text if isinstance(text, bytes) else text.encode())
    return str(found.value)


def kind(name: str, spec: str, metadata: str = "{name: x}") -> str:
    return f"apiVersion: projectcalico.org/v3\nkind: {name}\nmetadata: {metadata}\nspec: {spec}\n"


# -- what is read -----------------------------------------------------------------------------------------------------


def test_everything_that_a_policy_may_say():
    (policy,) = read(
        HEAD
        + """\
  tier: security
  order: 10
  selector: app == "web" && !has(off)
  types: [Ingress, Egress]
  ingress:
  - action: Allow
    protocol: tcp
    ipVersion: 4
    source:
      selector: role in {"front", 'edge'}
      notSelector: has(banned)
      namespaceSelector: stage == "live" || global()
      nets: [10.0.0.7/8, 192.0.2.1]
      notNets: [10.9.0.0/16]
      ports: [1024:65535]
    destination: {ports: [80, "443", 8080:8090, "90:90"], notPorts: [8085]}
    metadata: {annotations: {why: "the shop"}}
  - {action: Log, protocol: 1, icmp: {type: 8, code: 0}}
  - {action: Pass, notProtocol: 47}
  egress:
  - action: Deny
    protocol: ICMPv6
    notICMP: {type: 128}
    destination: {nets: ["2001:db8::1"]}
"""
    )
    assert policy == Policy(
        metadata=Metadata(name="web", namespace="shop"),
        spec=PolicySpec(
            tier="security",
            order=10.0,
            selector='app == "web" && !has(off)',
            types=("Ingress", "Egress"),
            ingress=(
                Rule(
                    action="Allow",
                    protocol="TCP",
                    ip_version=4,
                    source=Entity(
                        selector="role in {\"front\", 'edge'}",
                        not_selector="has(banned)",
                        namespace_selector='stage == "live" || global()',
                        nets=("10.0.0.0/8", "192.0.2.1/32"),
                        not_nets=("10.9.0.0/16",),
                        ports=("1024:65535",),
                    ),
                    destination=Entity(ports=(80, 443, "8080:8090", 90), not_ports=(8085,)),
                    metadata=policy.spec.ingress[0].metadata,
                ),
                Rule(action="Log", protocol="ICMP", icmp=Icmp(type=8, code=0)),
                Rule(action="Pass", not_protocol=47),
            ),
            egress=(
                Rule(
                    action="Deny",
                    protocol="ICMPv6",
                    not_icmp=Icmp(type=128),
                    destination=Entity(nets=("2001:db8::1/128",)),
                ),
            ),
        ),
    )


@pytest.mark.parametrize(
    ("spec", "types"),
    [
        ("{}", ("Ingress",)),
        ("{ingress: [{action: Deny}]}", ("Ingress",)),
        ("{egress: [{action: Deny}]}", ("Egress",)),
        ("{ingress: [{action: Deny}], egress: [{action: Deny}]}", ("Ingress", "Egress")),
        ("{types: [Egress]}", ("Egress",)),
        ("{types: [Ingress], egress: [{action: Deny}]}", ("Ingress",)),
    ],
)
def test_the_directions_of_a_policy_are_inferred(spec, types):
    (policy,) = read(kind("GlobalNetworkPolicy", spec))
    assert policy.spec.types == types


def test_documents_lists_and_json_are_read_alike():
    one, two = kind("Tier", "{order: 5}", "{name: a}"), kind("GlobalNetworkSet", "{nets: ['::1']}", "{name: b}")
    three = '{"apiVersion": "projectcalico.org/v3", "kind": "Tier", "metadata": {"name": "c"}, "spec": null}'
    items = "".join(f"- {text.strip()}\n".replace("\n", "\n  ").rstrip() + "\n" for text in (one, two))
    separate = read(f"{one}---\n{two}---\n---\n{three}\n")
    assert [record.name for record in separate] == ["a", "b", "c"]
    assert read(f"kind: List\napiVersion: v1\nitems:\n{items}- {three}") == separate


def test_what_says_nothing_may_be_said():
    """As other programs write it that have such fields, or keep books in the metadata."""
    (policy,) = read(
        kind(
            "GlobalNetworkPolicy",
            "{doNotTrack: false, preDNAT: false, applyOnForward: false, serviceAccountSelector: '', "
            "ingress: [{action: Allow, protocol: ICMP, icmp: {}, source: {serviceAccounts: null}}]}",
            "{name: x, generation: 2, managedFields: [{manager: kubectl}], selfLink: /x}",
        )
    )
    assert policy == Policy(
        metadata=Metadata(name="x"),
        spec=PolicySpec(types=("Ingress",), ingress=(Rule(action="Allow", protocol="ICMP"),)),
    )
    spec = "{cidr: 10.0.0.0/16, nodeSelector: all(), allowedUses: [Workload, Tunnel], assignmentMode: Automatic}"
    assert isinstance(read(kind("IPPool", spec))[0], IpPool)


def test_anchors_stand_for_what_they_name():
    (policy,) = read(HEAD + "  ingress:\n  - &rule {action: Allow, protocol: UDP}\n  - *rule\n")
    assert policy.spec.ingress == (Rule(action="Allow", protocol="UDP"),) * 2


def test_kinds_by_their_names():
    assert [kind_named(text).name for text in ("networkpolicies", "GNP", "IPPoolList", "tier")] == [
        "NetworkPolicy",
        "GlobalNetworkPolicy",
        "IPPool",
        "Tier",
    ]
    with pytest.raises(InvalidArgument, match="no such kind: pod: there are GlobalNetworkPolicy, "):
        kind_named("pod")


# -- what is wrong is said --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "line", "says"),
    [
        (
            "  ingress:\n  - action: Allow\n    source:\n      net: [10.1.1.1]\n",
            10,
            "ingress[0].source.net: unknown field; did you mean nets?",
        ),
        (
            "  ingress:\n  - {action: Allow}\n  - actoin: Allow\n",
            9,
            "ingress[1].actoin: unknown field; did you mean action?",
        ),
        ("  selektor: all()\n", 7, "selektor: unknown field; did you mean selector?"),
        ("  whatever: 1\n", 7, "whatever: unknown field"),
        ("  ingress:\n  - {}\n", 8, "ingress[0].action: it is needed"),
        ("  ingress:\n  - action: allow\n", 8, "ingress[0].action: 'allow': one of Allow, Deny, Log, Pass"),
        ("  ingress: {action: Allow}\n", 7, "ingress: expected a list, got a mapping"),
        ("  order: high\n", 7, "order: expected a number, got text"),
        ("  order: 1.0e+99\n", 7, "order: 1e+99 is not a number that policies can be put in order by"),
        ("  types: [Ingres]\n", 7, "types[0]: 'Ingres': Ingress or Egress"),
        ("  types: [Egress, Ingress, Egress]\n", 7, "types[2]: Egress is there already"),
        ("  selector: app = 'web'\n", 7, "selector: selector \"app = 'web'\": expected =="),
        ("  selector: global()\n", 7, "selector: global() goes into the namespaceSelector of a rule"),
        ("  namespaceSelector: all()\n", 7, "namespaceSelector: a NetworkPolicy is of the network that"),
        ("  doNotTrack: true\n", 7, "doNotTrack: every connection is tracked here"),
        ("  preDNAT: true\n", 7, "preDNAT: published ports are judged where they arrive"),
        ("  applyOnForward: true\n", 7, "applyOnForward: what a host forwards is judged at the container"),
        ("  serviceAccountSelector: all()\n", 7, "serviceAccountSelector: there are no service accounts here"),
        (
            "  ingress: [{action: Allow, source: {services: {name: x}}}]\n",
            7,
            "ingress[0].source.services: there are no Kubernetes services here",
        ),
        (
            "  ingress: [{action: Allow, http: {}}]\n",
            7,
            "ingress[0].http: what is inside a connection is not looked at",
        ),
        (
            "  ingress: [{action: Allow, protocol: TCP, destination: {ports: [http]}}]\n",
            7,
            "ingress[0].destination.ports[0]: 'http': named ports are not supported",
        ),
        (
            "  ingress: [{action: Allow, destination: {ports: [80]}}]\n",
            7,
            "destination.ports: ports go with the protocols",
        ),
        (
            "  ingress: [{action: Allow, protocol: TCP, destination: {ports: [9:8]}}]\n",
            7,
            "ports[0]: 9:8: the range ends before it begins",
        ),
        ("  ingress: [{action: Allow, protocol: UDP, source: {ports: [65536]}}]\n", 7, "ports[0]: 65536 is not a port"),
        ("  ingress: [{action: Allow, protocol: UDP, source: {ports: [-1]}}]\n", 7, "ports[0]: -1 is not a port"),
        ("  ingress: [{action: Allow, protocol: GRE}]\n", 7, "ingress[0].protocol: 'GRE': one of ICMP, TCP"),
        ("  ingress: [{action: Allow, protocol: 256}]\n", 7, "ingress[0].protocol: 256: a protocol's number"),
        ("  ingress: [{action: Allow, protocol: ICMP, ipVersion: 6}]\n", 7, "protocol: ICMP is not of IPv6"),
        ("  ingress: [{action: Allow, ipVersion: 5}]\n", 7, "ipVersion: 5: 4 or 6"),
        ("  ingress: [{action: Allow, icmp: {type: 8}}]\n", 7, "icmp: it goes with protocol ICMP or ICMPv6"),
        ("  ingress: [{action: Allow, protocol: ICMP, icmp: {code: 8}}]\n", 7, "icmp.type: it is needed with a code"),
        ("  ingress: [{action: Allow, protocol: ICMP, icmp: {type: 255}}]\n", 7, "icmp.type: 255 is not from 0 to 254"),
        ("  ingress: [{action: Allow, source: {nets: [10.0.0.0/33]}}]\n", 7, "nets[0]: '10.0.0.0/33' is neither"),
        ("  ingress: [{action: Allow, ipVersion: 4, source: {nets: ['::/0']}}]\n", 7, "nets[0]: ::/0 is not of IPv4"),
    ],
)
def test_a_policy_that_is_wrong_is_named_with_its_line_and_field(spec, line, says):
    found = refusal(HEAD + spec)
    assert found.startswith(f"line {line}: {WEB}spec.") and says in found


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (kind("Tier", "{order: 1}", "{name: default}"), "Tier default: spec: the tier default has the order 1000000"),
        (kind("Tier", "{defaultAction: Allow}"), "spec.defaultAction: 'Allow': Deny or Pass"),
        (kind("HostEndpoint", "{interfaceName: eth0}"), "spec.node: the name of a host is needed"),
        (kind("HostEndpoint", "{node: a}"), "spec.interfaceName: an interface is needed"),
        (kind("HostEndpoint", "{node: a, interfaceName: a/b}"), "'a/b' is not the name of an interface"),
        (kind("HostEndpoint", "{node: a, expectedIPs: [a]}"), "spec.expectedIPs[0]: 'a' is not an address"),
        (kind("HostEndpoint", "{node: a, interfaceName: '*', profiles: [x]}"), "spec.profiles[0]: the one profile"),
        (kind("IPPool", "{}"), "spec.cidr: it is needed"),
        (kind("IPPool", "{cidr: 10.0.0.0/16, vxlanMode: always}"), "spec.vxlanMode: 'always': one of Never, Always"),
        (kind("IPPool", "{cidr: 10.0.0.0/16, vxlanMode: Always, ipipMode: Always}"), "spec.ipipMode: vxlanMode is"),
        (kind("IPPool", "{cidr: 'fd00::/48', ipipMode: Always}"), "spec.ipipMode: IPIP is of IPv4"),
        (kind("IPPool", "{cidr: 10.0.0.0/16, blockSize: 12}"), "spec.blockSize: 12: from 20 to 32"),
        (kind("IPPool", "{cidr: 10.0.0.0/16, natoutgoing: true}"), "did you mean natOutgoing?"),
        (kind("IPPool", "{cidr: 10.0.0.5/16}"), "spec.cidr: 10.0.0.5/16 is an address in a subnet: the subnet is 10.0"),
        (kind("IPPool", "{cidr: 169.254.8.0/24}"), "spec.cidr: 169.254.8.0/24 is of the addresses that are valid on"),
        (kind("IPPool", "{cidr: 10.0.0.0/16, nodeSelector: has(ssd)}"), "spec.nodeSelector: every host takes"),
        (kind("IPPool", "{cidr: 10.0.0.0/16, nodeSelector: 'has('}"), "spec.nodeSelector: selector 'has(': expected"),
        (kind("IPPool", "{cidr: 10.0.0.0/16, allowedUses: [LoadBalancer]}"), "spec.allowedUses[0]: 'LoadBalancer': "),
        (kind("IPPool", "{cidr: 10.0.0.0/16, allowedUses: [Tunnel]}"), "spec.allowedUses: a pool is for containers"),
        (kind("IPPool", "{cidr: 10.0.0.0/16, assignmentMode: Never}"), "spec.assignmentMode: 'Never': Automatic or"),
        (kind("Tier", "{order: 1}", "{name: a.b}"), "metadata.name: 'a.b': a tier's name has no point"),
        (
            kind("GlobalNetworkSet", "{}", "{name: x, labels: {projectcalico.org/namespace: y}}"),
            "metadata.labels.projectcalico.org/namespace: only what is on a network",
        ),
        (kind("HostEndpoint", "{node: a, interfaceName: e, ports: [{name: x}]}"), "spec.ports: named ports are not"),
        (
            kind("BGPConfiguration", "{prefixAdvertisements: [{cidr: 10.0.0.0/8}]}", "{name: default}"),
            "spec.prefixAdvertisements[0].communities: at least one is needed",
        ),
        (
            kind(
                "BGPConfiguration",
                "{nodeToNodeMeshEnabled: false, nodeMeshPassword: {value: a}}",
                "{name: default}",
            ),
            "spec.nodeMeshPassword: nodeToNodeMeshEnabled is false",
        ),
        (kind("IPReservation", "{reservedCIDRs: [x]}"), "spec.reservedCIDRs[0]: 'x' is neither"),
        (kind("GlobalNetworkSet", "{nets: [1]}"), "spec.nets[0]: expected text, got a whole number"),
        (
            kind("GlobalNetworkSet", "{}", "{name: x, namespace: shop}"),
            "metadata.namespace: a GlobalNetworkSet is of no",
        ),
        (kind("GlobalNetworkSet", "{}", "{name: x, labels: {v: 1}}"), "metadata.labels.v: expected text, got a number"),
        (kind("GlobalNetworkSet", "{}", "{name: x, labels: {'a b': v}}"), "metadata.labels.a b: a label's name has"),
        (kind("GlobalNetworkSet", "{}", "{name: Office}"), "metadata.name: 'Office': small letters"),
        (kind("GlobalNetworkSet", "{}", "{}"), "metadata.name: it is needed"),
        (kind("NetworkPolicy", "{}"), "metadata.namespace: the name of a network is needed"),
        (kind("NetworkPolicy", "{}", "{name: x, namespace: a/b}"), "'a/b' is not the name of a network"),
        (kind("BGPConfiguration", "{}", "{name: other}"), "metadata.name: other: a BGPConfiguration is named default"),
        (kind("BGPConfiguration", "{asNumber: 0}", "{name: default}"), "spec.asNumber: 0 is not from 1 to"),
        (kind("BGPConfiguration", "{logSeverityScreen: Loud}", "{name: default}"), "no such value: 'Loud'"),
        (kind("BGPPeer", "{peerIP: 192.0.2.1}"), "line 4: BGPPeer x: spec.asNumber: it goes with peerIP"),
        (kind("BGPPeer", "{peerIP: 192.0.2.1, asNumber: 1, nodeSelector: a}"), "spec.nodeSelector: selector 'a': exp"),
        (
            kind("BGPFilter", "{exportV4: [{action: Maybe}]}"),
            "spec.exportV4[0].action: there is no such value: 'Maybe'",
        ),
        (kind("BGPFilter", "{exportV4: [{action: Accept, cidr: 'fd00::/8', matchOperator: In}]}"), "is not IPv4"),
        (kind("Pod", "{}"), "kind: 'Pod': one of GlobalNetworkPolicy"),
        (HEAD.replace("projectcalico.org/v3", "v1"), "apiVersion: 'v1': only projectcalico.org/v3 is read"),
        (HEAD + "  {}\nstatus: {}\n", "status: unknown field: a resource has apiVersion"),
        (HEAD + "---\n" + HEAD, "line 11: NetworkPolicy shop/web: metadata.name: shop/web is in this file already"),
        ("[]", "line 1: a resource is a mapping"),
        ("kind: List\nitems:\n- 3\n", "line 3: a resource is a mapping"),
        ("", "there is no resource in it"),
        ("---\n---\n# nothing\n", "there is no resource in it"),
    ],
)
def test_a_resource_that_is_wrong(text, says):
    assert says in refusal(text)


def test_all_that_is_wrong_is_said_at_once_but_not_without_end():
    found = refusal("---\n".join(kind("Tier", "{ordre: 1}", f"{{name: t{number}}}") for number in range(12)))
    assert [line.partition(":")[0] for line in found.splitlines()[:2]] == ["line 4", "line 9"]
    assert found.count("did you mean order?") == 10 and found.endswith("and 2 more")


def test_a_resource_that_is_too_large():
    nets = ", ".join(f"10.{a}.{b}.0/24" for a in range(100) for b in range(256))
    assert f"it is too large: {LARGEST >> 10} KiB at most" in refusal(kind("GlobalNetworkSet", f"{{nets: [{nets}]}}"))


# -- what is no YAML --------------------------------------------------------------------------------------------------

BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("a: 1\nb: 2\na: 3\n", "line 3: the key a is there already"),
        ("spec:\n\torder: 1\n", "line 2: this is not YAML: lines are indented by spaces, not tabs"),
        ("a: [1, 2\nb: 3\n", "line 2: this is not YAML"),
        ("a: b: c\n", "line 1: this is not YAML: mapping values are not allowed"),
        ("a: 'open\n", "this is not YAML"),
        ("a: 1\n  b: 2\n", "line 2: this is not YAML"),
        (b"a: 1\nb: \xe9\n", "line 2: this is not UTF-8"),
        ("a: 1".encode("utf-16"), "line 1: this is not UTF-8"),
        ("a: 1\nb: \x00\n", "line 2: this is not YAML"),
        ("a: *nobody\n", "line 1: *nobody stands for nothing above it"),
        ("a: &a [*a]\n", "line 1: *a stands for nothing above it"),
        (BOMB, "more than 200000 values up to here"),
        ("[" * 40, "line 1: more than 32 lists and mappings in each other"),
        ("[" * 100_000, "line 1: this is not YAML: exceeded maximum nesting depth"),
        (
            "a: !!python/object/apply:os.system [ls]\n",
            "line 1: the tag tag:yaml.org,2002:python/object/apply:os.system",
        ),
        ("a: !mine x\n", "line 1: the tag !mine is not supported"),
        ("<<: {a: 1}\n", "line 1: merging mappings (<<) is not supported"),
        ("? [a]\n: 1\n", "line 1: a key must be text"),
        ("1: 2\n", "line 1: a key must be text"),
        ("# " + "x" * LONGEST, "the file is too large"),
    ],
)
def test_malformed_files_are_refused_with_the_line(data, says):
    assert says in refusal(data)


@given(st.text(alphabet="a:-[]{}&*!|>'\"#%@`? \n\t,~<=", max_size=30) | st.binary(max_size=20))
def test_only_our_error_comes_of_any_file(text):
    data = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(InvalidArgument):
        read_resources(data)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"),
        ("10:20", "10:20"),
        ("010", "010"),
        ("1e3", "1e3"),
        ("true", True),
        ("~", None),
        ("-7", -7),
        ("2.50", 2.5),
        ("'80'", "80"),
        ("!!str 80", "80"),
        ("2001:db8::1", "2001:db8::1"),
    ],
)
def test_plain_words_mean_what_they_look_like(text, value):
    (document,) = read_documents(f"a: {text}".encode())
    assert document.value == {"a": value}


# -- what is written reads back ---------------------------------------------------------------------------------------

_words = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=12)
_metadata = st.builds(
    Metadata,
    name=st.from_regex(r"[a-z0-9]([-a-z0-9]{0,8}[a-z0-9])?", fullmatch=True),
    labels=st.dictionaries(st.sampled_from(["a", "b.c/d"]), _words, max_size=2),
    annotations=st.dictionaries(_words, _words, max_size=2),
    resource_version=st.sampled_from(["", "12"]),
)
_nets = st.lists(st.sampled_from(["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32"]), max_size=2, unique=True).map(tuple)
_ports = st.lists(st.sampled_from([1, 80, "8080:8090"]), max_size=2).map(tuple)
_entities = st.builds(
    Entity,
    nets=_nets,
    not_nets=_nets,
    selector=st.sampled_from(["", "a == 'yes'", "has(b.c/d)"]),
    namespace_selector=st.sampled_from(["", "global()"]),
    ports=_ports,
)
_rules = st.builds(
    Rule,
    action=st.sampled_from(["Allow", "Deny", "Log", "Pass"]),
    protocol=st.sampled_from(["TCP", "UDP"]),
    source=_entities,
    destination=_entities,
)
_policies = st.builds(
    lambda metadata, network, order, ingress, egress: Policy(
        metadata=Metadata(name=metadata.name, namespace=network, labels=metadata.labels),
        spec=PolicySpec(order=order, types=("Ingress", "Egress"), ingress=ingress, egress=egress),
    ),
    _metadata,
    st.sampled_from(["", "shop", "10.20", "no"]),
    st.none() | st.floats(-1e9, 1e9),
    st.lists(_rules, max_size=2).map(tuple),
    st.lists(_rules, max_size=2).map(tuple),
)
_records = st.one_of(
    _policies,
    st.builds(Tier, metadata=_metadata, spec=st.builds(TierSpec, order=st.none() | st.integers(-9, 9).map(float))),
    st.builds(NetworkSet, metadata=_metadata, spec=st.builds(NetworkSetSpec, nets=_nets)),
    st.builds(
        HostEndpoint,
        metadata=_metadata,
        spec=st.builds(HostEndpointSpec, node=st.sampled_from(["on", "1.5"]), interface_name=st.just("*")),
    ),
    st.builds(IpPool, metadata=_metadata, spec=st.builds(IpPoolSpec, cidr=st.just("10.0.0.0/16"))),
)


@settings(deadline=None)
@given(st.lists(_records, min_size=1, max_size=3, unique_by=lambda one: (type(one), one.id)))
def test_what_is_written_reads_back(records):
    assert read_resources(yaml_of(records).encode()) == records


def test_manifests_leave_out_what_has_its_default():
    (tier,) = read(kind("Tier", "{order: 10.0}"))
    assert manifest(tier) == {
        "apiVersion": "projectcalico.org/v3",
        "kind": "Tier",
        "metadata": {"name": "x"},
        "spec": {"order": 10},
    }


def test_every_kind_can_be_read():
    specs = {"HostEndpoint": "{node: a, interfaceName: eth0}", "IPPool": "{cidr: 10.1.0.0/16}"}
    specs["BGPPeer"] = "{peerSelector: has(rr)}"
    for one in KINDS:
        metadata = "{name: default, namespace: net}" if one.of_network else "{name: default}"
        (record,) = read(kind(one.name, specs.get(one.name, "{}"), metadata))
        assert isinstance(record, one.record)
