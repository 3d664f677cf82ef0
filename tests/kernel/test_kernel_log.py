"""Whether the kernel's log shows what happens in sandboxes."""

from __future__ import annotations

from pathlib import Path

import pytest

from linkspan.kernel.kernel_log import hidden


@pytest.mark.parametrize(("switch", "said"), [("1\n", ""), ("0\n", "before `sysctl net.netfilter.nf_log_all_netns=1`")])
def test_by_a_switch_of_the_machine(tmp_path: Path, switch: str, said: str) -> None:
    file = tmp_path / "switch"
    file.write_text(switch)
    assert hidden(file).endswith(said) and bool(hidden(file)) == bool(said)


def test_which_is_seen_in_the_machines_own_namespace_alone(tmp_path: Path) -> None:
    assert "linkspand is itself in a network namespace" in hidden(tmp_path / "switch")
