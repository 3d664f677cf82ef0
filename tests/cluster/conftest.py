"""One cluster for most tests; each test leaves of what it made nothing behind on any host, nor in etcd."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from tests.cluster.left import everything, settles
from tests.cluster.place import Cluster, cluster
from tests.cluster.switches import words_of_switch
from tests.docker_client import MISSING, THERE


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of it needs root, the docker client and etcd."""
    here = Path(__file__).parent
    missing = pytest.mark.skip(reason=MISSING)
    no_etcd = pytest.mark.skip(reason="no etcd: it is in Debian's package etcd-server, which `make test` installs")
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.root)
            if not THERE:
                item.add_marker(missing)
            if shutil.which("etcd") is None:
                item.add_marker(no_etcd)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What the daemons have said lately, where something went wrong."""
    report = yield
    for made in getattr(item, "funcargs", {}).values() if report.failed else ():
        # After the last test the hosts have gone already.
        for member in made if isinstance(made, Cluster) and made.folder.exists() else ():
            report.sections.append((f"last words of {member.name}", member.log.read_text(errors="replace")[-4000:]))
            if (member.folder / "ovs").exists():
                report.sections.append((f"the switch of {member.name}", words_of_switch(member.folder / "ovs")))
    return report


@pytest.fixture(scope="session")
def session_cluster(new_folder: Callable[[], Path]) -> Iterator[Cluster]:
    with cluster(new_folder()) as made:
        made.start()
        yield made
        for member in made:
            assert "Traceback" not in member.log.read_text(), member.log.read_text()[-4000:]


@pytest.fixture
def hosts(session_cluster: Cluster) -> Iterator[Cluster]:
    """The hosts that the tests share; nothing is left after the test, and no daemon has anything to be ashamed of."""
    yield from undisturbed(session_cluster)


def undisturbed(made: Cluster) -> Iterator[Cluster]:
    for member in made:
        if not member.answers():  # every test to come would wait a minute to find that out
            pytest.exit(f"{member.name} does not answer any more; it is busy with:\n{member.busy_with()}", 1)
    before = everything(made)
    sizes = {member.name: member.log.stat().st_size for member in made}
    yield made
    made.heal()
    made.clear()
    settles(made, before)
    for member in made:
        said = member.log.read_bytes()[sizes[member.name] :].decode(errors="replace")
        assert "Traceback" not in said, said
