"""0. The image: pulled from a registry on every host."""

from demo.cluster.stage import ADDRESSES
from demo.seat import REGISTRY
from demo.step import Section, Step, prints

SECTION = Section(
    0,
    "Images, on every host",
    tuple(
        Step(
            f"docker pull -q {REGISTRY}/mysql && docker tag {REGISTRY}/mysql mysql",
            "the image's name",
            prints(f"{REGISTRY}/mysql"),
            where=name,
            vital=True,
        )
        for name in ADDRESSES
    ),
)
