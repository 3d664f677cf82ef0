"""`update`: other limits for containers, while they run."""

from __future__ import annotations

from typing import Any

from linkspan.cli import quantities
from linkspan.cli.client import Client
from linkspan.cli.configuration import FLAGS, restart_policy
from linkspan.cli.flags import Invocation, Verb
from linkspan.cli.verbs.each import each

NUMBERS = {
    "BlkioWeight": "blkio-weight", "CpuPeriod": "cpu-period", "CpuQuota": "cpu-quota", "CpuShares": "cpu-shares",
    "CpuRealtimePeriod": "cpu-rt-period", "CpuRealtimeRuntime": "cpu-rt-runtime", "PidsLimit": "pids-limit",
}  # fmt: skip
SIZES = {"Memory": "memory", "MemoryReservation": "memory-reservation", "MemorySwap": "memory-swap"}
TEXTS = {"CpusetCpus": "cpuset-cpus", "CpusetMems": "cpuset-mems"}
_NAMES = {*NUMBERS.values(), *SIZES.values(), *TEXTS.values(), "cpus", "restart"}


def run(call: Invocation) -> int:
    line = call.line
    if not line.values:
        from linkspan.cli.failure import Failure

        raise Failure("you must provide one or more flags when using this command")
    changes: dict[str, Any] = {key: line.number(flag) for key, flag in NUMBERS.items() if line.given(flag)}
    changes.update(
        {key: quantities.size_or_unlimited(line.text(flag)) for key, flag in SIZES.items() if line.given(flag)}
    )
    changes.update({key: line.text(flag) for key, flag in TEXTS.items() if line.given(flag)})
    if line.given("cpus"):
        changes["NanoCpus"] = quantities.cpus(line.text("cpus"))
    if line.given("restart"):
        changes["RestartPolicy"] = restart_policy(line.text("restart"))
    warnings: list[str] = []

    def update(client: Client, name: str) -> None:
        answer = client.post(f"/containers/{name}/update", None, changes) or {}
        warnings.extend(answer.get("Warnings") or [])

    status = each(call, update, in_order=True)
    if warnings:
        print("\n".join(warnings))
    return status


VERB = Verb(
    "[OPTIONS] CONTAINER [CONTAINER...]",
    "Change the limits and the restart policy of containers.",
    run,
    tuple(flag for flag in FLAGS if flag.name in _NAMES),
    least=1,
)
