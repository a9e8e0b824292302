"""Named points at which a test can kill the process, to see that nothing is lost or done twice.

`SECATEUR_FAULT="manifest.before-rename:3"` kills the process (as `kill -9` would) when it reaches that point the third time.
"""

from __future__ import annotations

import os
import signal

_MOMENTS = ("before-fsync", "after-fsync", "before-rename", "after-rename", "after-directory-fsync")
_WRITTEN = ("artefact", "manifest", "checkpoint", "study")

POINTS: tuple[str, ...] = (
    *(f"{what}.{moment}" for what in _WRITTEN for moment in _MOMENTS),
    *(f"lease.{moment}" for moment in ("before-link", "after-link", "before-release", "after-release")),
)

_wanted, _, _count = os.environ.get("SECATEUR_FAULT", "").partition(":")
_left = int(_count or 1)


def reach(point: str) -> None:
    """Say that the process is at `point`; it ends here if that is what SECATEUR_FAULT asks for."""
    global _left
    if point == _wanted:
        _left -= 1
        if _left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
