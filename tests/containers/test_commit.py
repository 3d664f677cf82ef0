"""What an image that is made of a container says of itself."""

from __future__ import annotations

from linkspan.containers.commit import image_config
from linkspan.model.container import Config
from linkspan.model.health import Healthcheck
from linkspan.model.image import ImageConfig

CONTAINER = Config(
    hostname="box",
    user="app",
    env=("A=1", "B=2"),
    cmd=("serve", "now"),
    entrypoint=("/run",),
    working_dir="/srv",
    labels={"of": "container"},
    exposed_ports={"80/tcp": {}},
    volumes={"/data": {}},
    stop_signal="SIGINT",
    healthcheck=Healthcheck(test=("CMD", "look"), retries=2),
)


def test_it_is_the_containers_where_nothing_is_asked_for() -> None:
    assert image_config(CONTAINER, ImageConfig()) == ImageConfig(
        user="app",
        env=("A=1", "B=2"),
        cmd=("serve", "now"),
        entrypoint=("/run",),
        working_dir="/srv",
        labels={"of": "container"},
        exposed_ports={"80/tcp": {}},
        volumes={"/data": {}},
        stop_signal="SIGINT",
        healthcheck=Healthcheck(test=("CMD", "look"), retries=2),
    )


def test_what_is_asked_for_goes_before() -> None:
    asked = ImageConfig(
        user="root",
        env=("B=3", "C=4"),
        cmd=("other",),
        labels={"more": "yes"},
        exposed_ports={"81/udp": {}},
        healthcheck=Healthcheck(retries=9),
    )
    made = image_config(CONTAINER, asked)
    assert (made.user, made.env, made.cmd, made.entrypoint) == ("root", ("B=3", "C=4", "A=1"), ("other",), ("/run",))
    assert made.labels == {"of": "container", "more": "yes"} and set(made.exposed_ports or ()) == {"80/tcp", "81/udp"}
    assert made.healthcheck == Healthcheck(test=("CMD", "look"), retries=9)


def test_a_new_entrypoint_leaves_the_old_command_behind() -> None:
    made = image_config(CONTAINER, ImageConfig(entrypoint=("/new",)))
    assert (made.entrypoint, made.cmd) == (("/new",), None)
    none = image_config(CONTAINER, ImageConfig(entrypoint=()))
    assert (none.entrypoint, none.cmd) == (None, ("serve", "now"))
