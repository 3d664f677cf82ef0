"""One lab for all that is tried between hosts."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bgp.lab import Lab, lab


@pytest.fixture(scope="module")
def fabric() -> Iterator[Lab]:
    """Its folder has a short path: there are sockets in it."""
    folder = Path(tempfile.mkdtemp(prefix="bgp"))
    folder.chmod(0o711)
    try:
        with lab(folder) as made:
            for speaker in made.speakers.values():
                speaker.start()
            yield made
    finally:
        shutil.rmtree(folder)
