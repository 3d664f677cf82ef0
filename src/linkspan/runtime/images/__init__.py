"""Images: moved by skopeo, kept as they came, unpacked once.

manifest    the JSON of OCI and Docker images
skopeo      a registry, spoken to by skopeo; whom to trust, and logging in
store       blobs, layers, records and names on disk; looking them up, tagging and removal
pull        from a registry into the store, with Docker's progress
push        the way back
archives    load, save and import
changes     the Dockerfile lines of `import --change` (pure)

Why not in containers-storage: docs/decisions/images.md.
"""

from linkspan.runtime.images.store import ImageStore

__all__ = ["ImageStore"]
