"""Where a container's output is kept: `--log-driver`, `--log-opt`.

Every log is conmon's file, read back as Docker's; what the drivers differ in is whether there is one.
"""

from __future__ import annotations

import re

from linkspan.errors import InvalidArgument, Unsupported
from linkspan.model.container import LogConfig

DEFAULT = LogConfig(type="json-file")
NONE = "none"  # the driver that keeps nothing

# The options of each driver. Of a file's, those about labels and the environment choose what else is written beside
# each line of Docker's, which nobody reads back.
_EVERY = frozenset({"mode", "max-buffer-size"})
_FILE = frozenset({"max-size", "max-file", "compress"})
_OPTIONS = {
    "json-file": _EVERY | _FILE | {"labels", "labels-regex", "env", "env-regex", "tag"},
    "local": _EVERY | _FILE,
    NONE: _EVERY | _FILE | {"labels", "labels-regex", "env", "env-regex", "tag"},  # Docker does not look at them
}
_ELSEWHERE = ("awslogs", "etwlogs", "fluentd", "gcplogs", "gelf", "journald", "splunk", "syslog")
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([kmgtp]?)(?:i?b)?", re.IGNORECASE | re.ASCII)
_LOCAL_SIZE, _LOCAL_FILES = 20 << 20, 5  # Docker's defaults for `local`


def check(asked: LogConfig, default: LogConfig = DEFAULT) -> LogConfig:
    """What is kept in the record: of who names no driver the daemon's, and its options where it says none.

    Raises InvalidArgument with Docker's words, Unsupported for Docker's drivers that are not here.
    """
    if not asked.type or asked.type == default.type:
        asked = LogConfig(type=default.type, config={**(default.config or {}), **(asked.config or {})})
    if asked.type in _ELSEWHERE:
        raise Unsupported(f"logging driver {asked.type} is not part of linkspan: use json-file, local or none")
    if asked.type not in _OPTIONS:
        raise InvalidArgument(f"logger: no log driver named '{asked.type}' is registered")
    options = dict(asked.config or {})
    if unknown := sorted(set(options) - _OPTIONS[asked.type]):
        raise InvalidArgument(f"unknown log opt '{unknown[0]}' for {asked.type} log driver")
    if options.get("mode", "blocking") not in ("blocking", "non-blocking"):
        raise InvalidArgument(f"logger: logging mode not supported: {options['mode']}")
    if "max-size" in options:
        _size(options["max-size"])
    if "max-file" in options and not (options["max-file"].isdecimal() and int(options["max-file"]) > 0):
        raise InvalidArgument("max-file cannot be less than 1" if options["max-file"] == "0" else "invalid max-file")
    return LogConfig(type=asked.type, config=options)


def largest(config: LogConfig) -> int:
    """Bytes that a log may grow to, 0 without a limit: what Docker's files would hold together."""
    options = config.config or {}
    local = config.type == "local"
    size = _size(options["max-size"]) if "max-size" in options else _LOCAL_SIZE if local else 0
    return size * int(options.get("max-file", _LOCAL_FILES if local else 1))


def _size(text: str) -> int:
    """`10m`, as go-units reads it. 0 for "-1", which is no limit."""
    if text == "-1":
        return 0
    match = _SIZE.fullmatch(text.strip())
    if match is None or not (size := int(float(match[1]) * 1024 ** " kmgtp".index(match[2].lower() or " "))):
        raise InvalidArgument(f"invalid size: '{text}'")
    return size
