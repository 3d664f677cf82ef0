"""Log drivers and their options."""

from __future__ import annotations

import pytest

from linkspan.containers import logging
from linkspan.errors import InvalidArgument, LinkspanError, Unsupported
from linkspan.model.container import LogConfig

DAEMONS = LogConfig(type="json-file", config={"max-size": "10m", "max-file": "3"})


def config(type_: str = "", **options: str) -> LogConfig:
    return LogConfig(type=type_, config={name.replace("_", "-"): value for name, value in options.items()})


def test_the_daemons_driver_and_options_are_the_default() -> None:
    assert logging.check(config()) == config("json-file")
    assert logging.check(config(), DAEMONS) == DAEMONS
    assert logging.check(config("json-file", max_size="1k"), DAEMONS) == config(
        "json-file", max_size="1k", max_file="3"
    )
    assert logging.check(config("local", max_size="1k"), DAEMONS) == config("local", max_size="1k")
    assert logging.check(config("none"), DAEMONS) == config("none")


@pytest.mark.parametrize(
    ("asked", "size"),
    [
        (config("json-file"), 0),
        (config("json-file", max_size="10m"), 10 << 20),
        (config("json-file", max_size="1.5k", max_file="2"), 3072),
        (config("json-file", max_size="-1", max_file="2"), 0),
        (config("json-file", max_size="2GB"), 2 << 30),
        (config("json-file", max_size="100"), 100),
        (config("local"), 100 << 20),
        (config("local", max_file="1"), 20 << 20),
        (config("none"), 0),
    ],
)
def test_how_large_a_log_may_grow(asked: LogConfig, size: int) -> None:
    assert logging.largest(logging.check(asked)) == size


@pytest.mark.parametrize(
    ("asked", "kind", "text"),
    [
        (config("asdf"), InvalidArgument, "logger: no log driver named 'asdf' is registered"),
        (config("journald"), Unsupported, "logging driver journald is not part of linkspan"),
        (config("json-file", colour="red"), InvalidArgument, "unknown log opt 'colour' for json-file log driver"),
        (config("local", tag="x"), InvalidArgument, "unknown log opt 'tag' for local log driver"),
        (config("json-file", max_size="soon"), InvalidArgument, "invalid size: 'soon'"),
        (config("json-file", max_size="0"), InvalidArgument, "invalid size: '0'"),
        (config("json-file", max_file="0"), InvalidArgument, "max-file cannot be less than 1"),
        (config("json-file", max_file="x"), InvalidArgument, "invalid max-file"),
        (config("json-file", mode="lazy"), InvalidArgument, "logging mode not supported: lazy"),
    ],
)
def test_refused(asked: LogConfig, kind: type[LinkspanError], text: str) -> None:
    with pytest.raises(kind, match=text):
        logging.check(asked)
