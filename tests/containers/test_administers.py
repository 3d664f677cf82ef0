"""Who may administrate its network namespace: by the same rules by which capabilities are given."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from linkspan.model.container import HostConfig
from linkspan.runtime.capabilities import effective

names = st.none() | st.lists(st.sampled_from(["ALL", "all", "NET_ADMIN", "cap_net_admin", "CHOWN"]), max_size=3)


@given(names, names, st.booleans())
def test_it_is_what_the_runtime_gives(add: list[str] | None, drop: list[str] | None, privileged: bool) -> None:
    host = HostConfig(
        cap_add=None if add is None else tuple(add),
        cap_drop=None if drop is None else tuple(drop),
        privileged=privileged,
    )
    assert host.administers_network == ("CAP_NET_ADMIN" in effective(add, drop, privileged=privileged))
