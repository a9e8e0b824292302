"""The errors that Secateur raises on purpose. Each says what was wrong, where, and what would be right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SecateurError(Exception):
    """Any error that Secateur raises on purpose."""


class InputError(SecateurError):
    """What the user gave is wrong: a recipe, a name, an argument. The command line exits with 2."""


class UnknownName(InputError):
    """A name that is not registered, or a key that does not exist here."""

    def __init__(self, what: str, found: str, allowed: Iterable[str], where: str = "") -> None:
        allowed = sorted(allowed)
        near = difflib.get_close_matches(found, allowed, n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        listed = ", ".join(allowed) if allowed else "none"
        prefix = f"{where}: " if where else ""
        super().__init__(f"{prefix}unknown {what} {found!r}.{hint} Known: {listed}.")
        self.what = what
        self.found = found
        self.allowed = allowed
        self.nearest = near[0] if near else None


class RecipeError(InputError):
    """A recipe that cannot be run as written; names file and key."""


class DataError(InputError):
    """Raw data that are missing, altered, truncated or malformed; names file and line."""


class PruningError(InputError):
    """A mask, score, scope, unit or schedule that does not fit the model or one another."""


class StoreError(SecateurError):
    """A store whose contents are damaged or cannot be written."""


class RunFailed(SecateurError):
    """A node of a study failed while it ran. The command line exits with 1."""
