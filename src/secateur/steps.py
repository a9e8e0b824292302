"""`Step`: a length of training or a moment in it, in optimiser steps (`500it`) or epochs (`10ep`)."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from secateur.errors import InputError

_WRITTEN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(it|ep)\s*")


@dataclass(frozen=True, slots=True)
class Step:
    """A number of optimiser steps or epochs, written `500it`, `10ep` or `0.5ep`."""

    count: Fraction
    unit: Literal["it", "ep"]

    @classmethod
    def parse(cls, written: str | Step) -> Step:
        """The step that `written` means; `InputError` when it is not of the form `500it` or `10ep`."""
        if isinstance(written, Step):
            return written
        match = _WRITTEN.fullmatch(written) if isinstance(written, str) else None
        if match is None:
            raise InputError(f"{written!r} is no length of training: write '500it' for optimiser steps or '10ep' for epochs")
        count = Fraction(match[1])
        if match[2] == "it":
            if count.denominator != 1:
                raise InputError(f"{written!r}: a number of optimiser steps is whole")
            return cls(count, "it")
        return cls(count, "ep")

    def iterations(self, steps_per_epoch: int) -> int:
        """The same length in optimiser steps; a part of an epoch is rounded to the nearest step, halves up."""
        if self.unit == "it":
            return int(self.count)
        return math.floor(self.count * steps_per_epoch + Fraction(1, 2))

    def __str__(self) -> str:
        number = str(self.count.numerator) if self.count.denominator == 1 else f"{float(self.count):g}"
        return f"{number}{self.unit}"
