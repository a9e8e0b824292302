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

_left: dict[str, int] = {}


def arm(wanted: str) -> None:
    """Ask for death at a point: `manifest.before-rename:3` is the third time it is reached. An empty text asks for none."""
    _left.clear()
    point, _, count = wanted.partition(":")
    if point:
        _left[point] = int(count or 1)


def reach(point: str) -> None:
    """Say that the process is at `point`; it ends here if that is what was asked for."""
    if point in _left:
        _left[point] -= 1
        if _left[point] == 0:
            os.kill(os.getpid(), signal.SIGKILL)


arm(os.environ.get("SECATEUR_FAULT", ""))
