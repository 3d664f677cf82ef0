"""One field for all tests; each leaves nothing behind on any host, nor in etcd."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.flannel.field import Field


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    no_etcd = pytest.mark.skip(reason="no etcd: it is in Debian's package etcd-server, which `make test` installs")
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.root)
            if shutil.which("etcd") is None:
                item.add_marker(no_etcd)


@pytest.fixture(scope="session")
def session_field(new_folder: Callable[[], Path]) -> Iterator[Field]:
    made = Field(new_folder())
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def field(session_field: Field) -> Iterator[Field]:
    yield session_field
    session_field.clear()
