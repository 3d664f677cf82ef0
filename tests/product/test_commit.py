"""docker commit: a container and what it has written, as an image."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator

import pytest

from tests.product.engine import Done
from tests.product.place import Place

WRITES = (
    "rm -rf /www && mkdir /www && echo new >/www/new; rm /etc/plain; echo more >>/etc/group; "
    "echo x >/root/x; chown 7:8 /root/x; chmod 4711 /root/x; ln /root/x /root/y; ln -s x /root/z; mkfifo /root/p"
)
LOOKS = "cat /www/new; ls /www /etc/plain; tail -n 1 /etc/group; stat -c '%a %u %g %h' /root/x; "
LOOKS += "readlink /root/z; ls -l /root"


@pytest.fixture
def made(engine: Place) -> Iterator[None]:
    """Removes the images that a test has made."""
    before = set(engine.out("images", "-aq", "--no-trunc").split())
    yield
    for image in set(engine.out("images", "-aq", "--no-trunc").split()) - before:
        engine.docker("rmi", "-f", image)


@pytest.mark.usefixtures("made")
def test_what_it_has_written_is_in_the_image(engine: Place, client: Callable[..., Done]) -> None:
    engine.docker("run", "--name", "box", "-e", "MINE=1", "-l", "mine=yes", "plain", "sh", "-c", WRITES)
    done = client("commit", "-a", "somebody", "-m", "what it is", "-c", "USER app", "box", "made/one:1")
    image = engine.inspect("made/one:1")
    assert done.out.strip() == image["Id"] and image["RepoTags"] == ["made/one:1"]
    assert (image["Author"], image["Comment"], image["Parent"]) == (
        "somebody",
        "what it is",
        engine.inspect("plain")["Id"],
    )
    config = image["Config"]
    assert config["User"] == "app" and config["Cmd"] == ["sh", "-c", WRITES]
    assert {"MINE=1", "IN_IMAGE=yes"} <= set(config["Env"]) and config["Labels"] == {"of": "image", "mine": "yes"}
    seen = engine.docker("run", "--rm", "-u", "0", "made/one:1", "sh", "-c", LOOKS).both.splitlines()
    assert seen[:2] == ["new", "/www:"] and seen[2] == "new"
    assert "ls: /etc/plain: No such file or directory" in seen
    assert "more" in seen and "4711 7 8 2" in seen and "x" in seen and any(line.startswith("prw") for line in seen)
    # Of what is bind-mounted or made to start it on, nothing belongs to the image.
    assert engine.out("run", "--rm", "-u", "0", "made/one:1", "sh", "-c", "wc -c </.dockerenv") == "0"
    history = engine.out("history", "--no-trunc", "--format", "{{.CreatedBy}}|{{.Comment}}", "made/one:1").splitlines()
    assert history[0] == f"sh -c {WRITES}|what it is" and len(history) == 2


@pytest.mark.usefixtures("made")
def test_images_of_images(engine: Place) -> None:
    """Each has its own layer; they go and stay independently, and travel as any image does."""
    engine.docker("run", "--name", "one", "plain", "sh", "-c", "echo 1 >/1; echo 1 >/both")
    engine.docker("commit", "one", "first")
    engine.docker("run", "--name", "two", "first", "sh", "-c", "rm /1; echo 2 >/both")
    engine.docker("commit", "two", "second")
    engine.docker("rm", "one", "two")
    assert engine.out("ps", "-aq", "-f", "ancestor=plain") == ""
    engine.docker("save", "-o", str(engine.folder / "second.tar"), "second")
    engine.docker("rmi", "first")
    engine.docker("rmi", "second")
    engine.docker("load", "-i", str(engine.folder / "second.tar"))
    (engine.folder / "second.tar").unlink()
    assert engine.out("run", "--rm", "second", "sh", "-c", "cat /both; test -e /1 || echo gone") == "2\ngone"


@pytest.mark.usefixtures("made")
def test_while_it_runs(engine: Place) -> None:
    engine.run("--name", "box", "plain", "sh", "-c", "while :; do echo x >>/log; done")
    since = time.time()
    engine.docker("commit", "box", "paused")
    engine.docker("commit", "--pause=false", "box", "unpaused")
    assert engine.inspect("box")["State"]["Status"] == "running"
    _, events = engine.request("GET", f"/events?since={since}&until={time.time()}")
    assert [json.loads(line)["Action"] for line in events.splitlines()] == ["pause", "unpause", "commit", "commit"]
    engine.docker("pause", "box")
    engine.docker("commit", "box", "still")
    assert engine.inspect("box")["State"]["Status"] == "paused"
    engine.docker("unpause", "box")


@pytest.mark.usefixtures("made")
def test_one_that_never_ran_and_no_name(engine: Place) -> None:
    engine.docker("create", "--name", "box", "plain", "true")
    image = engine.out("commit", "-c", 'CMD ["ls"]', "box")
    found = engine.inspect(image)
    assert found["RepoTags"] == [] and found["Config"]["Cmd"] == ["ls"]
    for version, tags, digests in (("1.42", ["<none>:<none>"], ["<none>@<none>"]), ("1.43", [], [])):
        (listed,) = [one for one in engine.request("GET", f"/v{version}/images/json")[1] if one["Id"] == found["Id"]]
        assert (listed["RepoTags"], listed["RepoDigests"]) == (tags, digests)
    assert found["Id"] in engine.out("images", "-q", "--no-trunc", "-f", "dangling=true")
    status, old = engine.request("GET", f"/v1.44/images/{image}/json")  # what went away with 1.45
    assert (
        status == 200 and old["Container"] == engine.inspect("box")["Id"] and old["ContainerConfig"]["Image"] == "plain"
    )
    engine.restart()
    assert engine.inspect(image)["Parent"] == engine.inspect("plain")["Id"]
    assert engine.request("POST", "/commit?container=box", {"Cmd": ["a"], "Env": ["B=1"]})[0] == 201


@pytest.mark.parametrize(
    ("query", "body", "status", "text"),
    [
        ("container=nobody", None, 404, "No such container: nobody"),
        ("container=box&repo=UPPER", None, 400, "invalid reference format"),
        ("container=box&repo=a&tag=b:c", None, 400, "invalid"),
        ("container=box&changes=RUN+x", None, 400, "RUN is not a valid change command"),
        ("container=box", {"Cmd": 7}, 400, "invalid request"),
        ("container=box", b"[", 400, "invalid JSON"),
    ],
)
def test_refused(engine: Place, query: str, body: object, status: int, text: str) -> None:
    engine.docker("create", "--name", "box", "plain", "true")
    before = engine.out("images", "-aq")
    answer = engine.request("POST", f"/commit?{query}", body)
    assert answer[0] == status and text in answer[1]["message"], answer
    assert engine.out("images", "-aq") == before


@pytest.mark.usefixtures("made")
def test_layers_are_counted_once(engine: Place) -> None:
    engine.docker("run", "--name", "box", "plain", "sh", "-c", "head -c 100000 /dev/zero >/zeros")
    before = engine.request("GET", "/system/df")[1]["LayersSize"]
    engine.docker("commit", "box", "more")
    found = engine.request("GET", "/system/df")[1]
    assert found["LayersSize"] - before == 100_000
    (image,) = [one for one in found["Images"] if one["RepoTags"] == ["more:latest"]]
    assert image["Size"] - image["SharedSize"] == 100_000
    sizes = engine.out("history", "-H=false", "--format", "{{.Size}}", "more").split()
    assert sizes == ["100000", str(image["Size"] - 100_000)]


@pytest.mark.usefixtures("made")
def test_images_until(engine: Place) -> None:
    engine.docker("create", "--name", "box", "plain")
    engine.docker("commit", "box", "more")
    made = engine.inspect("more")["Created"]
    assert "more" not in engine.out("images", "--filter", f"until={made}")
    assert "more" in engine.out("images", "--filter", "until=2100-01-01")


@pytest.mark.usefixtures("made")
def test_changes_are_lines_of_one_dockerfile(engine: Place) -> None:
    """aiodocker sends them all in one text."""
    engine.docker("create", "--name", "box", "plain")
    status, made = engine.request("POST", "/commit?container=box&changes=EXPOSE%208000%0ACMD%20%5B%22py%22%5D")
    config = engine.inspect(made["Id"])["Config"]
    assert status == 201 and (config["Cmd"], config["ExposedPorts"]) == (["py"], {"8000/tcp": {}})
