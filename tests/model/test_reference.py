"""Image names in Docker's forms."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkspan.errors import InvalidArgument
from linkspan.model.reference import parse_reference

DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "full", "familiar"),
    [
        ("mysql", "docker.io/library/mysql:latest", "mysql:latest"),
        ("mysql:5.6", "docker.io/library/mysql:5.6", "mysql:5.6"),
        ("team/app", "docker.io/team/app:latest", "team/app:latest"),
        ("docker.io/mysql", "docker.io/library/mysql:latest", "mysql:latest"),
        ("index.docker.io/library/mysql", "docker.io/library/mysql:latest", "mysql:latest"),
        ("docker.io/library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest"),
        ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
        ("localhost:5000/a/b:1", "localhost:5000/a/b:1", "localhost:5000/a/b:1"),
        ("[::1]:5000/a", "[::1]:5000/a:latest", "[::1]:5000/a:latest"),
        ("example.com/a__b-c.d", "example.com/a__b-c.d:latest", "example.com/a__b-c.d:latest"),
        (f"mysql@{DIGEST}", f"docker.io/library/mysql@{DIGEST}", f"mysql@{DIGEST}"),
        (f"mysql:5.6@{DIGEST}", f"docker.io/library/mysql@{DIGEST}", f"mysql@{DIGEST}"),
    ],
)
def test_forms(text: str, full: str, familiar: str) -> None:
    found = parse_reference(text).tagged()
    assert (str(found), found.familiar) == (full, familiar)
    assert str(parse_reference(str(found)).tagged()) == full


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "invalid reference format"),
        ("a b", "invalid reference format"),
        ("-a", "invalid reference format"),
        ("a:", "invalid reference format"),
        ("a:b:c", "invalid reference format"),
        ("a//b", "invalid reference format"),
        ("../etc", "invalid reference format"),
        ("mysql@sha256:12", "invalid reference format"),
        ("a:" + "t" * 129, "invalid reference format"),
        ("a" * 256, "invalid reference format"),
        ("ex_ample.com/a", "invalid reference format"),
        ("MySQL", "invalid reference format: repository name (MySQL) must be lowercase"),
        ("0" * 64, f"invalid repository name ({'0' * 64}), cannot specify 64-byte hexadecimal strings"),
    ],
)
def test_refusals(text: str, message: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        parse_reference(text)
    assert str(refused.value) == message


def test_a_hostile_name_costs_no_time() -> None:
    begun = time.perf_counter()
    for text in ("a" * 5000 + "._/b", "a-" * 5000 + "/b", "localhost:" + "1" * 5000 + "x/b"):
        with pytest.raises(InvalidArgument):
            parse_reference(text)
    assert time.perf_counter() - begun < 1


@given(st.text(alphabet="abA.:/@-_ 0\n", max_size=30))
def test_only_our_own_errors(text: str) -> None:
    try:
        found = parse_reference(text)
    except InvalidArgument:
        return
    assert parse_reference(str(found)) == found
