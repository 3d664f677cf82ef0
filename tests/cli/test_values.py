"""Pure parts: templates, ports, sizes, times, tables."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkspan.cli import attachments, mounts, ports, quantities, words
from linkspan.cli.failure import Failure
from linkspan.cli.table import align
from linkspan.cli.template import render

VALUE = {
    "Name": "/web",
    "State": {"Running": True, "Pid": 4711},
    "Args": ["-g", "daemon off;"],
    "Nothing": None,
    "Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}], "33060/tcp": None},
    "Labels": {"b": "2", "a": "<1>"},
    "Size": 1.5,
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{.Name}} {{.name}}", "/web /web"),
        ("{{.State.Pid}}", "4711"),
        ("{{.Ports}}", "map[33060/tcp:<nil> 80/tcp:[{0.0.0.0 8080}]]"),
        ("{{.Args}} {{.Nothing}} {{.Size}}", "[-g daemon off;] <no value> 1.5"),
        ("{{json .Labels}} {{json .Args}}", '{"a":"<1>","b":"2"} ["-g","daemon off;"]'),
        ('{{index .Labels "b"}}{{index .Args 1}}', "2daemon off;"),
        ('{{(index (index .Ports "80/tcp") 0).HostPort}}', "8080"),
        ("{{range $k, $v := .Labels}}{{$k}}={{$v}},{{end}}", "a=<1>,b=2,"),
        ("{{range .Args}}{{.}};{{else}}none{{end}}", "-g;daemon off;;"),
        ("{{range .Nothing}}x{{else}}none{{end}}", "none"),
        ("{{range $i, $e := .Args}}{{if $i}}, {{end}}{{$e}}{{end}}", "-g, daemon off;"),
        ("{{range .Args}}{{break}}{{end}}{{range .Args}}{{continue}}x{{end}}.", "."),
        ("{{if .Nothing}}a{{else if .State.Running}}b{{else}}c{{end}}", "b"),
        ("{{with .State}}{{.Pid}} {{$.Name}}{{end}}", "4711 /web"),
        ("{{$n := len .Args}}{{$n}}", "2"),
        ("{{if and .State.Running (eq .State.Pid 4711)}}yes{{end}}", "yes"),
        ('{{.Name | printf "%s-%05d" | upper}}', "/WEB-%!D(MISSING)"),
        ('{{printf "%s %q %v %d%%" .Name .Name .Args .State.Pid}}', '/web "/web" [-g daemon off;] 4711%'),
        (
            '{{join .Args " "}} {{split "a,b" ","}} {{title "ab"}} {{truncate "abcdef" 3}}',
            "-g daemon off; [a b] Ab abc",
        ),
        ("a {{- .Name -}} b{{/* no */}}", "a/webb"),
        ("{{not true}} {{or nil .Name}} {{lt 1 2}} {{ne 1 1}} {{slice .Name 1 3}}", "false /web true false we"),
        ('{{`raw "`}}{{println 1 2}}', 'raw "1 2\n'),
    ],
)
def test_templates(template: str, text: str) -> None:
    assert render(template, VALUE) == text


@pytest.mark.parametrize(
    "template", ["{{.Missing}}", "{{.Name.x}}", "{{", "{{if}}", "{{end}}", "{{foo .}}", "{{range .Size}}{{end}}",
                 "{{index .Args 9}}", "{{if .Name}}", "{{}}", "{{$x}}", "{{(.Name}}", "{{.Name | }}"],
)  # fmt: skip
def test_wrong_templates(template: str) -> None:
    with pytest.raises(Failure):
        render(template, VALUE)


@given(st.text(alphabet='{}. |"()$ifrangeend0a', max_size=30))
def test_no_template_breaks_the_command(text: str) -> None:
    with contextlib.suppress(Failure):
        render("{{" + text + "}}", VALUE)


@given(st.text(max_size=20))
def test_no_value_breaks_the_command(text: str) -> None:
    """Only Failure and ValueError, which the command turns into words, may come out."""
    parsers: list[Any] = [
        lambda: ports.published([text]), lambda: ports.exposed([text]), lambda: quantities.size(text),
        lambda: quantities.duration(text), lambda: quantities.timestamp(text, 0), lambda: quantities.cpus(text),
        lambda: mounts.mount(text), lambda: mounts.device(text), lambda: attachments.long_form(text),
    ]  # fmt: skip
    for parse in parsers:
        with contextlib.suppress(Failure, ValueError):
            parse()


def test_ports() -> None:
    assert ports.published(["8000-8001:8000-8001/udp", "[::1]:80:80", "8000-8010:90"])[1] == {
        "8000/udp": [{"HostIp": "", "HostPort": "8000"}],
        "8001/udp": [{"HostIp": "", "HostPort": "8001"}],
        "80/tcp": [{"HostIp": "::1", "HostPort": "80"}],
        "90/tcp": [{"HostIp": "", "HostPort": "8000-8010"}],
    }


def test_sizes_and_times() -> None:
    assert [quantities.size(text) for text in ("512", "64k", "1.5g", "10MiB", "2 gb")] == [
        512, 65536, 1610612736, 10485760, 2147483648
    ]  # fmt: skip
    assert quantities.duration("1h2m3.5s") == 3723500000000
    assert quantities.duration("-1ms") == -1000000
    assert quantities.timestamp("10m", 1000) == "400.000000000"
    assert quantities.timestamp("2025-01-02T03:04:05.5Z", 0) == "1735787045.500000000"
    lengths = (0.5, 1, 59, 60, 119, 120, 3600, 7200, 86400 * 3, 86400 * 20, 86400 * 100, 86400 * 900)
    assert [words.ago(length) for length in lengths] == [
        "Less than a second", "1 second", "59 seconds", "About a minute", "About a minute", "2 minutes",
        "About an hour", "2 hours", "3 days", "2 weeks", "3 months", "2 years",
    ]  # fmt: skip
    assert (words.size(1234567), words.binary_size(1536)) == ("1.235MB", "1.5KiB")


def test_columns() -> None:
    assert (
        align([["A", "B", "C"], ["a long cell", "", "x"]]) == "A             B         C\na long cell             x\n"
    )
