"""`events`: what happens in the engine, as it happens."""

from __future__ import annotations

import time
from typing import Any

from linkspan.cli import quantities, streams
from linkspan.cli.failure import Failure
from linkspan.cli.flags import Flag, Invocation, Verb
from linkspan.cli.template import Template, to_json


def run(call: Invocation) -> int:
    line, now = call.line, time.time()
    try:
        times = {
            flag: quantities.timestamp(line.text(flag), now) if line.text(flag) else None for flag in ("since", "until")
        }
    except ValueError as error:
        raise Failure(str(error)) from None
    format = line.text("format")
    template = None if format in ("", "json") else Template(format.replace("\\t", "\t").replace("\\n", "\n"))
    query = {**times, "filters": quantities.filters(line.list("filter"))}
    streams.end_with_reader()
    for event in call.client.request("GET", "/events", query).objects():
        text = template.render(event, strict=False) if template else to_json(event) if format else words(event)
        print(text, flush=True)
    return 0


def words(event: dict[str, Any]) -> str:
    """`2025-01-31T12:00:00.000000001+01:00 container start 0123… (image=alpine, name=web)`."""
    nanoseconds = event.get("timeNano") or event.get("time", 0) * 10**9
    local = time.localtime(nanoseconds // 10**9)
    zone = time.strftime("%z", local)
    zone = f"{zone[:3]}:{zone[3:]}" if zone != "+0000" else "Z"
    moment = f"{time.strftime('%Y-%m-%dT%H:%M:%S', local)}.{nanoseconds % 10**9:09d}{zone}"
    actor = event.get("Actor") or {}
    attributes = ", ".join(f"{key}={value}" for key, value in sorted((actor.get("Attributes") or {}).items()))
    text = f"{moment} {event.get('Type', '')} {event.get('Action', '')} {actor.get('ID', '')}"
    return f"{text} ({attributes})" if attributes else text


VERB = Verb(
    "[OPTIONS]",
    "Show what happens in the engine, as it happens, until interrupted.",
    run,
    (
        Flag("filter", "f", "filter", "Only what matches (type=container, event=start, container=web …)",
             check=quantities.filter_entry),
        Flag("format", "", "string", "json, or a Go template ({{.Action}})"),
        Flag("since", "", "time", "Also what happened since a time, or a while ago (10m)"),
        Flag("until", "", "time", "Stop at a time"),
    ),
    most=0,
)  # fmt: skip
