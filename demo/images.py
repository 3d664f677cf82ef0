"""Where the images come from: Docker Hub where it answers, Debian packages where not; kept for the next run.

The recipes are in setup/images, one folder an image: `image.toml` (packages, configuration) and `files/` (what is laid
over them). A common Debian base is the first layer of each; an image's own layer is what installing its packages on
top of the base has changed, which an overlay mount's upper directory holds. What is built goes to an OCI layout and
from there into the storage of a registry:

    CACHE/<key>/oci        OCI layout with mysql, postgres and busybox
    CACHE/<key>/registry   storage of a docker-registry with the same
    CACHE/current          link to the one in use

The key is a digest of everything that decides what comes out. A build happens beside it and is renamed when complete.

`python -m demo.images` builds what is not there and prints the folder.
"""

import contextlib
import datetime
import fcntl
import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from demo import registry
from demo.console import Console
from demo.hosts import DYING_WITH_US, Host
from demo.layers import Layer, Layout

CACHE = Path("/var/lib/linkspan/demo/images")
RECIPES = Path(__file__).parent.parent / "setup" / "images"
NAMES = ("mysql", "postgres", "busybox")
SUITE = "bookworm"

# Documentation and translations, and what only matters while packages are installed.
LEFT_OUT = (
    "dev",
    "etc/apt",
    "etc/hostname",
    "etc/resolv.conf",
    "usr/share/doc",
    "usr/share/i18n",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/postgresql/15/man",
    "usr/share/zoneinfo/right",
    "var/cache/apt",
    "var/cache/debconf",
    "var/lib/apt/lists",
    "var/log/apt",
    "var/log/bootstrap.log",
    "var/log/dpkg.log",
)


def source() -> str:
    """Where the images come from, for the reader."""
    if _from_hub():
        return "Docker Hub, through a local registry"
    return "Debian packages: Docker Hub could not be reached from here (MariaDB serves as mysql; PostgreSQL 15)"


def ready(console: Console) -> Path:
    """The folder with the images, built if it is not there."""
    place = CACHE / _key()
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        with console.working("waiting for another build of the images"):
            fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            part = CACHE / "part"
            shutil.rmtree(part, ignore_errors=True)  # of a build that was killed
            part.mkdir()
            try:
                _fetch(part, console) if _from_hub() else _build(part, console)
                _fill_registry(part, console)
                part.rename(place)
            finally:
                shutil.rmtree(part, ignore_errors=True)
        _forget_former(place)
    return place


def _forget_former(place: Path) -> None:
    """Points `current` at what is used now, and removes what former recipes made a day ago or longer."""
    current = CACHE / "current"
    if not current.is_symlink() or current.readlink() != Path(place.name):
        current.unlink(missing_ok=True)
        current.symlink_to(place.name)
    for old in CACHE.iterdir():
        if old.is_dir() and not old.is_symlink() and old != place and time.time() - old.stat().st_mtime > 86400:
            shutil.rmtree(old, ignore_errors=True)


_hub: list[bool] = []


def _from_hub() -> bool:
    if not _hub:
        _hub.append(registry.hub_is_reachable())
    return _hub[0]


def _key() -> str:
    if _from_hub():
        return "hub"
    digest = hashlib.sha256()
    here = Path(__file__).parent
    for file in [*sorted(RECIPES.rglob("*")), here / "images.py", here / "layers.py"]:
        if file.is_file():
            digest.update(f"{file.name} {file.stat().st_mode & 0o777:o}\n".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def _fetch(place: Path, console: Console) -> None:
    for name in NAMES:
        with console.working(f"{name}: fetching it from Docker Hub"):
            _run(["skopeo", "copy", "-q", f"docker://docker.io/library/{name}", f"oci:{place}/oci:{name}:latest"])
        console.line(f"  {name}: fetched from Docker Hub ({console.elapsed():.0f} s)")


def _build(place: Path, console: Console) -> None:
    recipes = {name: tomllib.loads((RECIPES / name / "image.toml").read_text()) for name in NAMES}
    created = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    architecture = _output(["dpkg", "--print-architecture"])
    work = place / "work"
    work.mkdir()
    layout = Layout(place / "oci")

    base = work / "base"
    with console.working("base: installing Debian's essential packages"):
        _bootstrap(base, ["--variant=essential", "--skip=cleanup/apt/lists"])
    for node in (base / "dev").iterdir():  # a container has its own; and making them twice would fail
        shutil.rmtree(node) if node.is_dir() and not node.is_symlink() else node.unlink()
    with console.working("base: packing"):
        debian = layout.add_layer(base, f"mmdebstrap --variant=essential {SUITE}", LEFT_OUT)
    console.line(f"  base: Debian {SUITE}, {debian.size / 1e6:.0f} MB packed ({console.elapsed():.0f} s)")

    for name, recipe in recipes.items():
        if "program" in recipe:
            layers = [_program_layer(layout, work / name, recipe["program"])]
        else:
            with console.working(f"{name}: installing {', '.join(recipe['packages'])}"):
                own = _package_layer(layout, work, name, recipe)
            layers = [debian, own]
        layout.add_image(name, recipe["tags"], layers, recipe["config"], created, architecture)
        size = sum(layer.size for layer in layers)
        console.line(f"  {name}: {size / 1e6:.0f} MB packed ({console.elapsed():.0f} s)")
    shutil.rmtree(work)


def _package_layer(layout: Layout, work: Path, name: str, recipe: dict[str, Any]) -> Layer:
    upper, root = work / f"{name}.upper", work / f"{name}.root"
    for folder in (upper, root, work / f"{name}.work"):
        folder.mkdir()
    for path, text in recipe.get("before", {}).items():
        (upper / path).parent.mkdir(parents=True, exist_ok=True)
        (upper / path).write_text(text)
    options = f"lowerdir={work}/base,upperdir={upper},workdir={work}/{name}.work,redirect_dir=off,metacopy=off"
    _bootstrap(
        root,
        ["--variant=custom", "--skip=check/empty", "--include=" + ",".join(recipe["packages"])],
        before=f'mount -t overlay overlay -o "{options}" "{root}"',
    )
    for user in recipe.get("users", ()):
        _add_user(upper, work / "base", *user.split(":"))
    shutil.copytree(RECIPES / name / "files", upper, dirs_exist_ok=True, symlinks=True)
    left_out = (*LEFT_OUT, *recipe.get("leave_out", ()))
    return layout.add_layer(upper, f"apt-get install {' '.join(recipe['packages'])}", left_out)


def _add_user(upper: Path, base: Path, name: str, number: str) -> None:
    """A system user with a group of the same name, in the account files of the layer."""
    lines = {
        "passwd": f"{name}:*:{number}:{number}::/nonexistent:/usr/sbin/nologin\n",
        "group": f"{name}:x:{number}:\n",
    }
    for file, line in lines.items():
        mine, below = upper / "etc" / file, base / "etc" / file
        if not mine.exists():
            mine.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(below, mine)
        with mine.open("a") as accounts:
            accounts.write(line)


def _program_layer(layout: Layout, root: Path, program: dict[str, str]) -> Layer:
    """A layer with one static program that acts under many names, and the few files that every program expects."""
    for folder in ("bin", "etc", "proc", "root", "sys", "dev", "tmp", "usr/bin", "var/spool"):
        (root / folder).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")
    (root / "etc/group").write_text("root:x:0:\nnobody:x:65534:\n")
    binary = root / program["path"]
    shutil.copy2("/" + program["path"], binary)
    for name in _output([str(binary), "--list"]).split():
        if name != binary.name:
            (binary.parent / name).symlink_to(binary.name)
    return layout.add_layer(root, f"the static program of {program['package']}")


def _bootstrap(root: Path, options: list[str], before: str = ":") -> None:
    settings = [f"--aptopt={file}" for file in _apt_settings()]
    hush = ["--aptopt=APT::Install-Recommends false", "--dpkgopt=force-unsafe-io"]
    command = ["mmdebstrap", "--mode=root", *settings, *hush, *options, SUITE, str(root), *_apt_sources()]
    # In mounts and processes of its own: what is interrupted leaves neither.
    spaces = ["unshare", "--mount", "--pid", "--propagation=private", "--mount-proc", "--fork", "--kill-child"]
    _run([*DYING_WITH_US, *spaces, "sh", "-ec", before + '\nexec "$@"', "sh", *command])


def _apt_sources() -> list[str]:
    """Where this machine's Debian packages come from; mmdebstrap's own default where it does not say."""
    files = (Path("/etc/apt/sources.list"), Path("/etc/apt/sources.list.d/debian.sources"))
    return [str(file) for file in files if file.exists() and SUITE in file.read_text()]


def _apt_settings() -> Iterator[Path]:
    """This machine's settings of how packages are fetched: proxies and the like."""
    for file in sorted(Path("/etc/apt/apt.conf.d").glob("*")):
        with contextlib.suppress(OSError):
            if any(line.lower().startswith("acquire") for line in file.read_text().splitlines()):
                yield file


def _fill_registry(place: Path, console: Console) -> None:
    """Pushes the images into a registry's storage, through a registry in a host that exists only meanwhile."""
    address = "127.0.0.1:5000"
    host = Host("filling")
    try:
        process = registry.start(host.enter(), place / "registry", place, address)
        registry.wait_until_it_answers(host.enter(), process, address)
        index = json.loads((place / "oci" / "index.json").read_text())
        for entry in index["manifests"]:
            name = entry["annotations"]["org.opencontainers.image.ref.name"]
            with console.working(f"{name}: pushing it to the local registry"):
                copy = ["skopeo", "copy", "-q", "--dest-tls-verify=false", "--format=v2s2"]
                _run([*host.enter(), *copy, f"oci:{place}/oci:{name}", f"docker://{address}/{name}"])
    finally:
        host.end()
    for file in ("registry.yml", "registry.log"):
        (place / file).unlink(missing_ok=True)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed:\n" + (done.stdout + done.stderr).strip()[-3000:])


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def main() -> int:
    """Builds the images that are not there, and prints the folder that holds them."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    console = Console()
    console.line(f"Images from {source()}")
    try:
        place = ready(console)
    except RuntimeError as error:
        print(f"images: {error}", file=sys.stderr)
        return 1
    console.line(f"Images ready in {place} ({console.elapsed():.0f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
