"""One way to write a value as JSON, and its digest: equal values give equal bytes."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def canonical_json(value: Any) -> str:
    """`value` as JSON with sorted keys and no spaces. NaN and infinity are refused: they are no JSON."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any) -> str:
    """The sha256, in hex, of `value` as canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()
