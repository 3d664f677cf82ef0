"""What an image that is made of a container says of itself."""

from __future__ import annotations

from linkspan.containers import health
from linkspan.model.container import Config
from linkspan.model.image import ImageConfig


def image_config(container: Config, asked: ImageConfig) -> ImageConfig:
    """The container's own settings where nothing else is asked for. Raises InvalidArgument."""
    asked_env = {entry.partition("=")[0] for entry in asked.env or ()}
    kept_env = [entry for entry in container.env or () if entry.partition("=")[0] not in asked_env]
    cmd, entrypoint = asked.cmd, asked.entrypoint
    if not entrypoint:  # a new entrypoint leaves the old command behind
        cmd = cmd or container.cmd
        entrypoint = container.entrypoint if asked.entrypoint is None else None
    return ImageConfig(
        user=asked.user or container.user,
        env=(*(asked.env or ()), *kept_env) or None,
        cmd=cmd,
        entrypoint=entrypoint,
        working_dir=asked.working_dir or container.working_dir,
        labels={**(container.labels or {}), **(asked.labels or {})} or None,
        exposed_ports={**(container.exposed_ports or {}), **(asked.exposed_ports or {})} or None,
        volumes={**(container.volumes or {}), **(asked.volumes or {})} or None,
        stop_signal=asked.stop_signal or container.stop_signal,
        healthcheck=health.merged(asked.healthcheck, container.healthcheck),
        shell=asked.shell or container.shell,
        on_build=asked.on_build or container.on_build,
    )
