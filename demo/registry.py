"""Debian's docker-registry, as a process of ours in a test host."""

import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

CONFIGURATION = """\
version: 0.1
log: {{level: warn, accesslog: {{disabled: true}}}}
storage:
  filesystem: {{rootdirectory: "{storage}"}}
  delete: {{enabled: true}}
http: {{addr: "{address}"}}
"""


def start(inside: Sequence[str], storage: Path, work: Path, address: str) -> subprocess.Popen[bytes]:
    """Starts a registry on `address` (host:port) that keeps its images in `storage`.

    `inside` is the command prefix that enters the host; configuration and log go to `work`. Returns at once: wait for
    it with `answers`.
    """
    storage.mkdir(parents=True, exist_ok=True)
    configuration = work / "registry.yml"
    configuration.write_text(CONFIGURATION.format(storage=storage, address=address))
    with (work / "registry.log").open("wb") as log:
        return subprocess.Popen(
            [*inside, "docker-registry", "serve", str(configuration)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "OTEL_TRACES_EXPORTER": "none"},
        )


def wait_until_it_answers(inside: Sequence[str], process: subprocess.Popen[bytes], address: str) -> None:
    """Waits until the registry listens, for 20 s at most; its log is in the error."""
    host, port = address.rsplit(":", 1)
    probe = f"exec 3<>/dev/tcp/{host}/{port}"
    deadline = time.monotonic() + 20
    while subprocess.run([*inside, "bash", "-c", probe], capture_output=True, check=False).returncode:
        if process.poll() is not None:
            raise RuntimeError(f"docker-registry ended with status {process.returncode}")
        if time.monotonic() > deadline:
            raise RuntimeError(f"docker-registry does not listen on {address} after 20 s")
        time.sleep(0.05)


def hub_is_reachable(seconds: float = 3.0) -> bool:
    """Whether Docker Hub answers this machine."""
    answers: list[bool] = []
    # In a thread: looking its name up knows no timeout.
    asking = threading.Thread(target=lambda: answers.append(_hub_answers(seconds)), daemon=True)
    asking.start()
    asking.join(seconds)
    return answers == [True]


def _hub_answers(seconds: float) -> bool:
    try:
        with urllib.request.urlopen("https://registry-1.docker.io/v2/", timeout=seconds):
            return True
    except urllib.error.HTTPError as answer:
        return answer.code == 401  # what the hub says to everybody who has not logged in
    except OSError:
        return False
