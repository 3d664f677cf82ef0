"""One daemon for most tests; each test leaves of what it made nothing behind, which is checked after each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.docker_client import MISSING, THERE
from tests.product.engine import Done
from tests.product.place import Place, place
from tests.product.traces import settles, traces


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of it needs root and the docker client."""
    here = Path(__file__).parent
    missing = pytest.mark.skip(reason=MISSING)
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.root)
            if not THERE:
                item.add_marker(missing)


@pytest.fixture(scope="session")
def session_place(new_folder: Callable[[], Path]) -> Iterator[Place]:
    with place(new_folder()) as made:
        made.start()
        made.import_images()
        yield made
        assert "Traceback" not in made.log.read_text(), made.log.read_text()[-4000:]


@pytest.fixture
def engine(session_place: Place) -> Iterator[Place]:
    """The daemon that the tests share."""
    yield from undisturbed(session_place)


@pytest.fixture(params=["docker", "linkspan"])
def client(request: pytest.FixtureRequest, engine: Place) -> Callable[..., Done]:
    """Either command."""
    return engine.docker if request.param == "docker" else engine.linkspan


def undisturbed(made: Place) -> Iterator[Place]:
    """Nothing is left after the test, and the daemon has nothing to be ashamed of in its log."""
    if not made.answers():  # every test to come would wait a minute to find that out
        pytest.exit(f"the daemon of the tests does not answer any more; it is busy with:\n{made.busy_with()}", 1)
    before = traces(made)
    size = made.log.stat().st_size
    yield made
    made.clear()
    settles(made, before)
    said = made.log.read_bytes()[size:].decode(errors="replace")
    assert "Traceback" not in said, said
