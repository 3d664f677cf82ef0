"""Names of fields as Go reads them: in any case. Clients rely on it (docker-py sends `detachKeys`)."""

from __future__ import annotations

import functools
from typing import Any

from msgspec import inspect


def folded(value: Any, type_: object) -> Any:
    """The JSON value with the keys of its objects spelled as `type_` has them. Keys of free maps stay as they are."""
    return _folded(value, _info(type_))


@functools.lru_cache(maxsize=64)
def _info(type_: object) -> inspect.Type:
    return inspect.type_info(type_)


def _folded(value: Any, info: inspect.Type) -> Any:
    match info:
        case inspect.UnionType():
            fitting = next((kind for kind in info.types if _fits(value, kind)), None)
            return _folded(value, fitting) if fitting else value
        case inspect.StructType() if isinstance(value, dict):
            return _struct(value, info)
        case inspect.DictType() if isinstance(value, dict):
            return {key: _folded(one, info.value_type) for key, one in value.items()}
        case inspect.ListType() | inspect.VarTupleType() if isinstance(value, list):
            return [_folded(one, info.item_type) for one in value]
    return value


def _fits(value: Any, info: inspect.Type) -> bool:
    if isinstance(value, dict):
        return isinstance(info, inspect.StructType | inspect.DictType)
    return isinstance(value, list) and isinstance(info, inspect.ListType | inspect.VarTupleType)


def _struct(value: dict[str, Any], info: inspect.StructType) -> dict[str, Any]:
    fields = {field.encode_name: field for field in info.fields}
    lowered = {name.lower(): name for name in fields}
    result: dict[str, Any] = {}
    for key, one in value.items():
        name = key if key in fields else lowered.get(key.lower(), key)
        if name in result and name != key:  # the name as it should be goes before
            continue
        result[name] = _folded(one, fields[name].type) if name in fields else one
    return result
