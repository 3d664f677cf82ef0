"""--change of import and commit."""

from __future__ import annotations

import pytest

from linkspan.errors import InvalidArgument
from linkspan.runtime.images.changes import apply_changes

SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("changes", "config"),
    [
        (('CMD ["a", "b"]',), {"Cmd": ["a", "b"]}),
        (("cmd a b",), {"Cmd": ["/bin/sh", "-c", "a b"]}),
        (('ENTRYPOINT ["a"]', "USER app"), {"Entrypoint": ["a"], "User": "app"}),
        (("ENV A=1 B='two words'", "ENV A 3 and more"), {"Env": ["A=3 and more", "B=two words"]}),
        (("LABEL a=b", 'LABEL c="d e"'), {"Labels": {"a": "b", "c": "d e"}}),
        (("EXPOSE 80 53/udp",), {"ExposedPorts": {"80/tcp": {}, "53/udp": {}}}),
        (("VOLUME /a /b", 'VOLUME ["/c"]'), {"Volumes": {"/a": {}, "/b": {}, "/c": {}}}),
        (("WORKDIR /a", "WORKDIR b/../c"), {"WorkingDir": "/a/c"}),
        (("STOPSIGNAL SIGINT", "ONBUILD RUN x"), {"StopSignal": "SIGINT", "OnBuild": ["RUN x"]}),
        (("HEALTHCHECK NONE",), {"Healthcheck": {"Test": ["NONE"]}}),
        (
            ("HEALTHCHECK --interval=1m30s --retries=2 --start-period=5s CMD look -x",),
            {
                "Healthcheck": {
                    "Test": ["CMD-SHELL", "look -x"],
                    "Interval": 90 * SECOND,
                    "Retries": 2,
                    "StartPeriod": 5 * SECOND,
                }
            },
        ),
        (
            ("EXPOSE 80\\\n 81-82\n\n# a remark\nUSER app\n", ""),
            {"ExposedPorts": {f"{n}/tcp": {} for n in (80, 81, 82)}, "User": "app"},
        ),
        (('HEALTHCHECK CMD ["look"]',), {"Healthcheck": {"Test": ["CMD", "look"]}}),
    ],
)
def test_changes(changes: tuple[str, ...], config: dict[str, object]) -> None:
    assert apply_changes(changes) == config


def test_on_top_of_what_is_there() -> None:
    before = {"Env": ["A=1", "B=2"], "Labels": None, "Cmd": ["x"], "ExposedPorts": {"80/tcp": {}}}
    changed = apply_changes(("ENV B=3", "LABEL a=b", "EXPOSE 81"), before)
    assert changed == {
        "Env": ["A=1", "B=3"],
        "Labels": {"a": "b"},
        "Cmd": ["x"],
        "ExposedPorts": {"80/tcp": {}, "81/tcp": {}},
    }
    assert before["ExposedPorts"] == {"80/tcp": {}}


@pytest.mark.parametrize(
    "change",
    [
        "RUN x",
        "FROM scratch",
        "CMD",
        "EXPOSE http",
        "LABEL a='b",
        "HEALTHCHECK",
        "HEALTHCHECK CMD",
        "HEALTHCHECK --interval=soon CMD x",
        "HEALTHCHECK --every=5s CMD x",
        "HEALTHCHECK --retries=2 NONE",
    ],
)
def test_what_is_no_change(change: str) -> None:
    with pytest.raises(InvalidArgument):
        apply_changes((change,))
