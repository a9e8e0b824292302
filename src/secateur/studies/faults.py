"""Named points at which a test can kill the process, to see that nothing is lost or done twice.

`SECATEUR_FAULT="manifest.before-rename:3"` kills the process (as `kill -9` would) when it reaches that point the third time.
"""

from __future__ import annotations

import os
import signal

POINTS: tuple[str, ...] = tuple(
    f"{what}.{moment}"
    for what in ("artefact", "manifest", "checkpoint", "study")
    for moment in ("before-fsync", "after-fsync", "before-rename", "after-rename", "after-directory-fsync")
) + ("lease.before-link", "lease.after-link", "lease.before-release", "lease.after-release")

_wanted, _, _count = os.environ.get("SECATEUR_FAULT", "").partition(":")
_left = int(_count or 1)


def reach(point: str) -> None:
    """Say that the process is at `point`; it ends here if that is what SECATEUR_FAULT asks for."""
    global _left
    if point == _wanted:
        _left -= 1
        if _left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
