"""Commands as they are typed, and the claims about what they print."""

from typing import cast

import pytest
from demo.client import Client
from demo.stage import Stage
from demo.step import Output, Wrong, fails_with, prints, prints_an_id, prints_exactly, published

STAGE = cast(Stage, None)  # the claims look at the output alone


def test_the_client_stands_in_dockers_place() -> None:
    linkspan = Client("linkspan", "/bin/linkspan")
    typed = linkspan.typed("ip link del docker0; docker rm -f $(docker ps -aq) # docker-entrypoint.sh")
    assert typed == "ip link del docker0; linkspan rm -f $(linkspan ps -aq) # docker-entrypoint.sh"


def test_what_matches_is_what_was_seen() -> None:
    output = Output(0, "one\nthe row that counts\nthree\n", "")
    assert prints("row")(STAGE, output) == "the row that counts"
    with pytest.raises(Wrong, match="one"):
        prints("row", "four")(STAGE, output)


def test_a_failure_holds_only_where_one_is_expected() -> None:
    failed = Output(125, "", "docker: conflicting options")
    assert fails_with("conflicting")(STAGE, failed) == "docker: conflicting options"
    for check in (prints("conflicting"), prints_exactly(""), prints_an_id):
        with pytest.raises(Wrong, match="status 125"):
            check(STAGE, failed)
    with pytest.raises(Wrong, match="succeeded"):
        fails_with("conflicting")(STAGE, Output(0, "conflicting", ""))


def test_ports_are_read_from_older_clients_too() -> None:
    older = Output(0, "0.0.0.0:80\n:::80\n", "")
    assert published(older) == published(Output(0, "0.0.0.0:80\n[::]:80\n", "")) == ["0.0.0.0:80", "[::]:80"]
    all_of_them = Output(0, "80/tcp -> 0.0.0.0:80\n80/tcp -> :::80\n80/tcp -> [::1]:81\n", "")
    assert published(all_of_them) == ["80/tcp -> 0.0.0.0:80", "80/tcp -> [::]:80", "80/tcp -> [::1]:81"]
