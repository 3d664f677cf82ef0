"""Pure parts: detach keys, times, filters."""

from __future__ import annotations

import dataclasses

import pytest
from canned_daemon import app, bridge, image, job, web
from hypothesis import given
from hypothesis import strategies as st

from linkspan.api import filters
from linkspan.api.json_containers import familiar, status_text
from linkspan.api.streams import DetachScanner, parse_detach_keys
from linkspan.api.times import age, parse_moment, parse_span, seconds
from linkspan.containers.filter import matches_labels, parse_flag
from linkspan.daemon.views import ImageView, NetworkView, VolumeView
from linkspan.errors import InvalidArgument
from linkspan.model.container import Container, State
from linkspan.model.event import Event
from linkspan.model.image import Image
from linkspan.model.volume import Volume

KEYS = b"\x10\x11"


@given(st.lists(st.lists(st.sampled_from([b"\x10", b"\x11", b"a"]), max_size=6).map(b"".join), max_size=6))
def test_the_scanner_passes_everything_up_to_the_keys(pieces: list[bytes]) -> None:
    scanner, out, found = DetachScanner(KEYS), b"", False
    for piece in pieces:
        passed, found = scanner.feed(piece)
        out += passed
        if found:
            break
    typed = b"".join(pieces)
    if found:
        assert out == typed[: typed.index(KEYS)]
    else:
        assert KEYS not in typed
        assert out == (typed[:-1] if typed.endswith(b"\x10") else typed)


def test_detach_keys() -> None:
    assert parse_detach_keys("") == KEYS
    assert parse_detach_keys("ctrl-@,a,ctrl-]") == b"\x00a\x1d"
    for bad in ("ctrl-1", "ab", ",", "é"):
        with pytest.raises(InvalidArgument):
            parse_detach_keys(bad)


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (-5, "Less than a second"),
        (0.4, "Less than a second"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "About a minute"),
        (180, "3 minutes"),
        (3599, "59 minutes"),
        (3600, "About an hour"),
        (7200, "2 hours"),
        (86400 * 2, "2 days"),
        (86400 * 14, "2 weeks"),
        (86400 * 60, "2 months"),
        (86400 * 730, "2 years"),
    ],
)
def test_ages(span: float, text: str) -> None:
    assert age(span) == text


def test_moments() -> None:
    assert parse_moment("", 100) == 0
    assert parse_moment("12.5", 100) == 12.5
    assert parse_moment("1m30s", 100) == 10
    assert parse_moment("1970-01-01T01:00:00+01:00", 100) == 0
    assert parse_moment("1970-01-02", 100) == 86400
    assert seconds("1970-01-01T00:00:01.25Z") == 1.25
    assert seconds("0001-01-01T00:00:00Z") < 0
    assert parse_span("1h1") is None and parse_span("") is None and parse_span("5x") is None
    for bad in ("yesterday", "2020-13-01", "2020-01-01T25:00:00Z", "\u0661", "9" * 30):
        with pytest.raises(InvalidArgument):
            parse_moment(bad, 100)


def _with(**state: object) -> Container:
    stamp = "1970-01-01T00:00:00Z"
    return Container(
        id="x",
        name="x",
        created=stamp,
        image_id="",
        config=web().container.config,
        host_config=web().container.host_config,
        state=State(**state),  # type: ignore[arg-type]
    )


def test_status_texts() -> None:
    then = "1970-01-01T00:00:00Z"
    assert status_text(_with(), 180) == "Created"
    assert status_text(_with(status="running", started_at=then), 180) == "Up 3 minutes"
    assert status_text(_with(status="paused", started_at=then), 180) == "Up 3 minutes (Paused)"
    assert status_text(_with(status="exited", started_at=then, finished_at=then), 7200) == "Exited (0) 2 hours ago"
    restarting = _with(status="restarting", exit_code=1, started_at=then, finished_at=then)
    assert status_text(restarting, 5) == "Restarting (1) 5 seconds ago"
    assert status_text(_with(status="dead"), 0) == "Dead"
    assert status_text(_with(status="removing"), 0) == "Removal In Progress"
    assert status_text(_with(status="exited", started_at=then), 0) == ""


def test_familiar_names() -> None:
    assert familiar("docker.io/library/mysql") == "mysql:latest"
    assert familiar("localhost:5000/a/b") == "localhost:5000/a/b:latest"
    assert familiar("a@sha256:1") == "a@sha256:1"


def test_labels_and_flags() -> None:
    assert matches_labels(("a", "b=1"), {"a": "", "b": "1"})
    assert not matches_labels(("a=1",), {"a": "2"}) and not matches_labels(("a",), None)
    assert parse_flag("x", ("true",)) and not parse_flag("x", ("0",))
    for bad in (("maybe",), ("true", "false"), ()):
        with pytest.raises(InvalidArgument):
            parse_flag("x", bad)


def test_network_filters() -> None:
    busy, idle = NetworkView(bridge(), ((web().container, web().attachments[0].endpoint),)), NetworkView(app(), ())  # type: ignore[arg-type]

    def found(**wanted: list[str]) -> list[str]:
        return [v.network.name for v in (busy, idle) if filters.networks(wanted)(v)]

    assert found() == ["bridge", "app"]
    assert found(dangling=["true"]) == ["app"] and found(dangling=["false"]) == ["bridge"]
    assert found(type=["builtin"]) == ["bridge"] and found(label=["tier=app"]) == ["app"]
    assert found(driver=["overlay"]) == [] and found(scope=["local"]) == ["bridge", "app"]
    assert found(name=["br"]) == ["bridge"] and found(id=[app().id[:9]]) == ["app"]
    with pytest.raises(InvalidArgument, match="invalid filter"):
        found(type=["odd"])
    keep = filters.networks_to_keep({"label": ["tier"]}, 0)
    assert keep(busy) and not keep(idle)
    assert filters.networks_to_keep({"until": ["1"]}, 0)(idle)
    with pytest.raises(InvalidArgument, match="more than one until"):
        filters.networks_to_keep({"until": ["1", "2"]}, 0)


def test_volume_filters() -> None:
    named = VolumeView(Volume(name="named", created="", mountpoint=""), ("x",))
    nameless = VolumeView(Volume(name="0" * 64, created="", mountpoint="", anonymous=True), ())

    def found(**wanted: list[str]) -> list[VolumeView]:
        return [v for v in (named, nameless) if filters.volumes(wanted)(v)]

    assert found(dangling=["true"]) == [nameless] and found(name=["nam"]) == [named]
    assert filters.volumes_to_keep({}, all_by_default=False)(named)
    assert not filters.volumes_to_keep({}, all_by_default=False)(nameless)
    assert not filters.volumes_to_keep({"all": ["true"]}, all_by_default=False)(named)


def test_image_filters() -> None:
    tagged, bare = ImageView(image(), 0), ImageView(Image(id="sha256:1", created="2026-02-01T00:00:00Z"), 0)

    def found(**wanted: list[str]) -> list[ImageView]:
        return [v for v in (tagged, bare) if filters.images(wanted, lambda ref: tagged, 0)(v)]

    assert found(since=["mysql"]) == [bare] and found(dangling=["1"]) == [bare]
    assert found(reference=["m[xy]sql:*"]) == [tagged] and found(reference=["*/mysql"]) == []
    assert found(before=["mysql"]) == []
    assert found(until=["2026-01-15"]) == [tagged] and found(until=["2000-01-01"]) == []
    with pytest.raises(InvalidArgument):
        found(reference=["[b-a]"])
    drop = filters.images_to_prune({}, 0)
    assert drop(bare) and not drop(tagged)
    assert filters.images_to_prune({"dangling": ["false"]}, 0)(tagged)
    assert not filters.images_to_prune({"dangling": ["false"]}, 0)(dataclasses.replace(tagged, containers=1))
    assert filters.containers_to_keep({"label!": ["role"]}, 0)(web())
    assert not filters.containers_to_keep({"label!": ["role"]}, 0)(job())


def test_event_filters() -> None:
    event = Event(
        kind="container", action="exec_create: sh", id="abcdef", attributes={"name": "web", "image": "mysql:8"}
    )
    for wanted in (
        {"event": ["exec_create"]},
        {"container": ["web"]},
        {"container": ["abcd"]},
        {"image": ["mysql"]},
        {"type": ["container"], "scope": ["local"]},
    ):
        assert filters.events(wanted)(event), wanted
    for wanted in ({"event": ["start"]}, {"container": ["x"]}, {"network": ["web"]}, {"scope": ["swarm"]}):
        assert not filters.events(wanted)(event), wanted
