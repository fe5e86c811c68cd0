"""Results for programs: one JSON object, or one per line for lists."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence, Set
from datetime import datetime
from pathlib import Path
from typing import Any


def to_json(result: Any) -> str:
    """A result as JSON; a list gives one line per element."""
    if isinstance(result, (list, tuple)):
        return "\n".join(to_json(each) for each in result)
    return json.dumps(to_plain(result), ensure_ascii=False)


def to_plain(value: Any) -> Any:
    """A value as the types that JSON has; NaN and infinity become null."""
    if hasattr(value, "to_dict") and not isinstance(value, type):
        return to_plain(value.to_dict())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            each.name: to_plain(getattr(value, each.name)) for each in dataclasses.fields(value)
        }
    if isinstance(value, Mapping):
        return {str(key): to_plain(each) for key, each in value.items()}
    if isinstance(value, (str, bool, int)) or value is None:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (Path, datetime)):
        return str(value) if isinstance(value, Path) else value.isoformat()
    if hasattr(value, "tolist"):  # NumPy arrays and numbers
        return to_plain(value.tolist())
    if isinstance(value, (Sequence, Set)):
        return [to_plain(each) for each in value]
    raise TypeError(f"{type(value).__name__} has no JSON form: expected to_dict() on the record")
