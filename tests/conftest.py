"""What every test has: mounts and a temporary folder of the run's own, as root.

Tests marked `root` are left out where pytest does not run as root, and the end says so.
"""

import itertools
import os
import shutil
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest
from hypothesis import HealthCheck, settings

from tests.machine import WORKSHOP, own_mounts

# How long an example takes says more about who else is at work on the machine.
settings.register_profile("linkspan", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("linkspan")

_LEFT_OUT = pytest.StashKey[int]()
_FOLDER = pytest.StashKey[Path]()
_numbers = itertools.count()


# How long one example takes says more about what else the machine does than about us.
hypothesis.settings.register_profile("linkspan", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("linkspan")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--cluster-runs", default=24, type=int, help="containers started on each host by the test of their addresses"
    )


def pytest_configure(config: pytest.Config) -> None:
    # Started in the background by a shell, we ignore Ctrl-C, and so would every client that a test interrupts.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if os.geteuid() != 0:
        return
    own_mounts()
    if not config.option.basetemp:
        folder = WORKSHOP / f"pytest-{os.getpid()}"
        folder.parent.mkdir(exist_ok=True, mode=0o711)
        config.option.basetemp = config.stash[_FOLDER] = folder


def pytest_unconfigure(config: pytest.Config) -> None:
    folder = config.stash.get(_FOLDER, None)
    if folder:
        shutil.rmtree(folder, ignore_errors=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what needs root, where we are not."""
    if os.geteuid() == 0:
        return
    needing = [item for item in items if item.get_closest_marker("root") is not None]
    if needing:
        config.stash[_LEFT_OUT] = len(needing)
        config.hook.pytest_deselected(items=needing)
        items[:] = [item for item in items if item.get_closest_marker("root") is None]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Says at the end what was left out, and how to run it."""
    count = config.stash.get(_LEFT_OUT, 0)
    if count:
        terminalreporter.write_line(
            f"Left out: {count} tests that need root, network namespaces and containers. To run them: sudo make test",
            yellow=True,
            bold=True,
        )


@pytest.fixture(scope="session")
def new_folder() -> Callable[[], Path]:
    """Names of folders that are not there yet, on a disk where layers can be mounted, and short enough for sockets."""
    base = WORKSHOP
    try:
        base.mkdir(exist_ok=True)
    except OSError:
        base = Path(tempfile.gettempdir())
    return lambda: base / f"product-{os.getpid()}-{next(_numbers)}"
