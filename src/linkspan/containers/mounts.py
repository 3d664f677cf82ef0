"""Where a container's files come from besides its image: binds, volumes and tmpfs.

Parsing and precedence only; that a bind's source exists, and that a volume does, is seen to by those who do.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping

import msgspec

from linkspan.errors import InvalidArgument
from linkspan.model.container import Config, Container, HostConfig, Mount, MountRequest

_VOLUME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_PROPAGATIONS = ("private", "rprivate", "slave", "rslave", "shared", "rshared")
_BIND_OPTIONS = (
    "Propagation",
    "NonRecursive",
    "CreateMountpoint",
    "ReadOnlyNonRecursive",  # read-only without what is mounted below it is what we do anyway
    "ReadOnlyForceRecursive",
)
_MODES = ("rw", "ro", "z", "Z", "nocopy", "copy", "cached", "delegated", "consistent", *_PROPAGATIONS)


def resolve_mounts(config: Config, host: HostConfig, others: Mapping[str, Container]) -> tuple[Mount, ...]:
    """Every mount, by destination, later ones over earlier: VOLUME of the image, --volumes-from, -v, --mount, --tmpfs.

    An anonymous volume has an empty name, which the daemon fills. `others` are the containers of `volumes_from`.
    Raises InvalidArgument with Docker's words.
    """
    found: dict[str, Mount] = {}
    explicit: set[str] = set()
    for spec in host.volumes_from or ():
        ref, _, mode = spec.partition(":")
        if mode not in ("", "ro", "rw", "z", "Z"):
            raise InvalidArgument(f"invalid mode: {mode}")
        for mount in others[ref].mounts:
            found[mount.destination] = msgspec.structs.replace(mount, writable=mount.writable and mode != "ro")
    binds = [parse_bind(spec) for spec in host.binds or ()]
    if config.volumes or any(mount.type == "volume" for mount in binds):  # of no meaning otherwise
        check_volume_driver(host.volume_driver)
    for mount in [*binds, *map(_requested, host.mounts or ()), *_tmpfs(host.tmpfs or {})]:
        if mount.destination in explicit:
            raise InvalidArgument(f"Duplicate mount point: {mount.destination}")
        explicit.add(mount.destination)
        found[mount.destination] = mount
    for destination in config.volumes or ():
        clean = _destination(destination, destination)
        found.setdefault(clean, Mount(type="volume", destination=clean, driver="local"))
    return tuple(found[destination] for destination in sorted(found))


def parse_bind(spec: str) -> Mount:
    """`-v`: source:destination[:mode] or a destination alone (an anonymous volume)."""
    source, destination, *rest = spec.split(":") if ":" in spec else ("", spec)
    if len(rest) > 1 or not destination:
        raise InvalidArgument(f"invalid volume specification: '{spec}'")
    modes = [mode for mode in rest[0].split(",") if mode] if rest else []
    if unknown := [mode for mode in modes if mode not in _MODES]:
        raise InvalidArgument(f"invalid mode: {','.join(unknown)} in volume specification '{spec}'")
    clean = _destination(destination, spec)
    writable = "ro" not in modes
    propagation = next((mode for mode in modes if mode in _PROPAGATIONS), "")
    mode = ",".join(modes)
    if source.startswith("/"):
        return Mount(
            type="bind",
            source=posixpath.normpath(source),
            destination=clean,
            mode=mode,
            writable=writable,
            propagation=propagation or "rprivate",
            options=("create",),  # -v makes the directory where it is missing; --mount does not
        )
    if source:
        check_volume_name(source)
    options = ("nocopy",) if "nocopy" in modes else ()
    return Mount(
        type="volume",
        name=source,
        destination=clean,
        driver="local",
        mode=mode or "z",
        writable=writable,
        propagation=propagation,
        options=options,
    )


def check_volume_name(name: str) -> str:
    """Raises InvalidArgument with Docker's words."""
    if not _VOLUME.fullmatch(name):
        raise InvalidArgument(
            f'create {name}: "{name}" includes invalid characters for a local volume name, only '
            '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path'
        )
    return name


def _requested(request: MountRequest) -> Mount:
    where = f'invalid mount config for type "{request.type}"'
    if not request.target:
        raise InvalidArgument(f"{where}: field Target must not be empty")
    destination = _destination(request.target, request.target)
    writable = not request.read_only
    match request.type:
        case "bind":
            if not request.source.startswith("/"):
                raise InvalidArgument(f"{where}: invalid mount path: '{request.source}' mount path must be absolute")
            options = request.bind_options or {}
            _refuse(options, known=_BIND_OPTIONS, where=where)
            propagation = str(options.get("Propagation") or "rprivate")
            if propagation not in _PROPAGATIONS:
                raise InvalidArgument(f"{where}: invalid propagation mode: {propagation}")
            how = (
                "create" if options.get("CreateMountpoint") else "",
                "bind" if options.get("NonRecursive") else "",
                "rro" if options.get("ReadOnlyForceRecursive") else "",
            )
            return Mount(
                type="bind",
                source=posixpath.normpath(request.source),
                destination=destination,
                writable=writable,
                propagation=propagation,
                options=tuple(filter(None, how)),
            )
        case "volume":
            if request.source:
                check_volume_name(request.source)
            volume = request.volume_options or {}
            _refuse(volume, known=("NoCopy", "Labels", "DriverConfig"), where=where)
            driver = volume.get("DriverConfig") or {}
            if isinstance(driver, dict):
                check_volume_driver(driver.get("Name"))
                _refuse(driver, known=("Name",), where=where)
            nocopy = volume.get("NoCopy")
            return Mount(
                type="volume",
                name=request.source,
                destination=destination,
                driver="local",
                mode="z",
                writable=writable,
                options=("nocopy",) if nocopy else (),
                labels=_labels(volume.get("Labels"), where),
            )
        case "tmpfs":
            _refuse(request.tmpfs_options or {}, known=("SizeBytes", "Mode"), where=where)
            size, mode = (request.tmpfs_options or {}).get("SizeBytes"), (request.tmpfs_options or {}).get("Mode")
            parts = (f"size={size}" if size else "", f"mode={mode:o}" if isinstance(mode, int) and mode else "")
            return Mount(type="tmpfs", destination=destination, writable=writable, options=tuple(filter(None, parts)))
    raise InvalidArgument(f"mount type unknown: {request.type!r}: use bind, volume or tmpfs")


def _refuse(options: Mapping[str, object], *, known: Iterable[str], where: str) -> None:
    """An option that would not be acted on is an error, unless it is given as "not set"."""
    if unknown := sorted(key for key, value in options.items() if value and key not in known):
        raise InvalidArgument(f"{where}: not supported: {', '.join(unknown)}")


def _labels(labels: object, where: str) -> Mapping[str, str] | None:
    if not labels:
        return None
    if not isinstance(labels, dict) or not all(isinstance(text, str) for text in labels.values()):
        raise InvalidArgument(f"{where}: Labels is an object of strings")
    return labels


def check_volume_driver(name: object) -> None:
    """Raises InvalidArgument with Docker's words."""
    if name not in (None, "", "local"):
        raise InvalidArgument(f'error looking up volume plugin {name}: plugin "{name}" not found')


def _tmpfs(wanted: Mapping[str, str]) -> Iterable[Mount]:
    for destination, options in wanted.items():
        parts = tuple(part for part in options.split(",") if part)
        yield Mount(
            type="tmpfs", destination=_destination(destination, destination), options=parts, writable="ro" not in parts
        )


def _destination(path: str, spec: str) -> str:
    if not path.startswith("/"):
        raise InvalidArgument(
            f"invalid volume specification: '{spec}': invalid mount path: '{path}' mount path must be absolute"
        )
    clean = posixpath.normpath(path)
    if clean in ("/", "//"):
        raise InvalidArgument(
            f"invalid volume specification: '{spec}': invalid specification: destination can't be '/'"
        )
    return clean
