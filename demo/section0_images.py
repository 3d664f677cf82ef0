"""0. Images: pulled from a registry, and given the names that the talk uses."""

from demo.seat import REGISTRY
from demo.step import Section, Step, prints, works

_TAGS = ("mysql mysql", "postgres postgres", "postgres postgres:9.4", "busybox busybox")

SECTION = Section(
    0,
    "Images",
    (
        Step(
            f"docker pull {REGISTRY}/mysql",
            "the digest, and that a newer image was downloaded",
            prints(r"Digest: sha256:[0-9a-f]{64}", r"Status: (Downloaded newer image|Image is up to date) for"),
            vital=True,
        ),
        Step(
            f"docker pull {REGISTRY}/postgres",
            "the same; the Debian layer that both stand on is there already",
            prints(r"Digest: sha256:[0-9a-f]{64}", r"Status: (Downloaded newer image|Image is up to date) for"),
            vital=True,
        ),
        Step(f"docker pull -q {REGISTRY}/busybox", "the image's name", prints(f"{REGISTRY}/busybox"), vital=True),
        Step(
            " && ".join(f"docker tag {REGISTRY}/{names}" for names in _TAGS),
            "the names that the talk uses",
            works,
            vital=True,
        ),
        Step(
            "docker images",
            "mysql, postgres, postgres:9.4 and busybox",
            prints(r"^mysql +latest ", r"^postgres +latest ", r"^postgres +9\.4 ", r"^busybox +latest "),
        ),
        Step(
            "docker inspect -f '{{json .Config.ExposedPorts}} {{json .Config.Volumes}}' mysql postgres",
            "ports 3306 and 33060, 5432; data in /var/lib/mysql, /var/lib/postgresql/data",
            prints(r"3306/tcp.*33060/tcp.*/var/lib/mysql", r"5432/tcp.*/var/lib/postgresql/data"),
        ),
    ),
)
