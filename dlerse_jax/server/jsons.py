"""JSON of values that are right already: a model would look at each of them again."""

import json
from typing import Any

from pydantic_core import PydanticSerializationError, to_json


def json_bytes(content: Any) -> bytes:
    """In ASCII, so that nothing in it can colour a terminal; null for nan and inf."""
    try:
        return to_json(content, ensure_ascii=True, inf_nan_mode="null")
    except PydanticSerializationError:  # half a surrogate pair, which JSON can say
        return json.dumps(content, separators=(",", ":"), allow_nan=False).encode()
