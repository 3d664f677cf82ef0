"""Images: skopeo moves and unpacks them, we keep their names and read what is there.

skopeo      running skopeo, credentials, and its errors in Docker's words
store       the index: images by id and name, their layers' directories; tagging and removal
transfer    pull and push, with Docker's progress
archives    load, save and import
"""

from linkspan.runtime.images.store import ImageStore

__all__ = ["ImageStore"]
