"""Where training restarts after pruning: the specification only. The loop carries it out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast, get_args

from secateur.errors import InputError, PruningError, UnknownName
from secateur.steps import Step

RewindKind = Literal["init", "step", "end", "finetune", "lr", "reinit"]
OptimizerState = Literal["fresh", "kept"]
KeptPart = Literal["values", "signs", "constant", "magnitudes", "shuffled", "shuffled-magnitudes"]

_WORDS: tuple[RewindKind, ...] = ("init", "end", "finetune", "lr", "reinit")


@dataclass(frozen=True, slots=True)
class Rewind:
    """The state that training restarts from once a mask is drawn.

    | kind | weights and buffers | learning-rate schedule and data order | optimiser |
    |---|---|---|---|
    | `init` | the initial ones | from step 0 | fresh |
    | `step` | those of `step`, early in training (Frankle et al. 2019) | from that step | fresh, or `kept`: the state it had there |
    | `end` | those that the dense network ended with, in every round | from step 0 | fresh, or `kept`: the state it had there |
    | `lr` | the final ones (Renda et al. 2020) | from step 0 | fresh, or `kept`: the final state |
    | `finetune` | the final ones | go on: the last learning rate | fresh, or `kept`: the final state |
    | `reinit` | newly drawn for each replicate; pretrained embeddings stay | from step 0 | fresh |

    `keep` says what of the kept weights survives the return: their `values`, or, to see what matters, less (`analysis.signs`).
    """

    kind: RewindKind = "init"
    step: Step | None = None
    optimizer: OptimizerState = "fresh"
    keep: KeptPart = "values"

    def __post_init__(self) -> None:
        if self.kind not in get_args(RewindKind):
            raise UnknownName("rewind", str(self.kind), get_args(RewindKind))
        if self.optimizer not in get_args(OptimizerState):
            raise UnknownName("optimizer state", str(self.optimizer), get_args(OptimizerState), "rewind")
        if (self.kind == "step") != (self.step is not None):
            raise PruningError(f"rewind {self.kind!r}: a step is given if, and only if, training restarts from one")
        if self.optimizer == "kept" and self.kind in ("init", "reinit"):
            raise PruningError(f"rewind {self.kind!r}: there is no optimiser state to keep before the first step")

    @classmethod
    def parse(cls, written: str | Step | Mapping[str, str] | Rewind) -> Rewind:
        """The rewind that a recipe means: `"init"`, `"500it"`, `"1ep"`, `"end"`, `"finetune"`, `"lr"`, `"reinit"`, or a table
        `{ to = "500it", optimizer = "kept" }`, `{ to = "init", keep = "signs" }`. A step of zero is `init`."""
        if isinstance(written, Rewind):
            return written
        if isinstance(written, Mapping):
            for key in written:
                if key not in ("to", "optimizer", "keep"):
                    raise UnknownName("key", key, ("to", "optimizer", "keep"), "rewind")
            if "to" not in written:
                raise InputError('rewind: say where to: { to = "500it", optimizer = "kept" }')
            to, optimizer, part = (str(written.get(key, usual)) for key, usual in (("to", ""), ("optimizer", "fresh"), ("keep", "values")))
        else:
            to, optimizer, part = str(written), "fresh", "values"
        if part not in get_args(KeptPart):
            raise UnknownName("value", part, get_args(KeptPart), "rewind: keep")
        keep = cast(KeptPart, part)
        if optimizer not in get_args(OptimizerState):
            raise UnknownName("optimizer state", str(optimizer), get_args(OptimizerState), "rewind")
        state: OptimizerState = "kept" if optimizer == "kept" else "fresh"
        for word in _WORDS:
            if to == word:
                return cls(word, None, state, keep)
        try:
            step = Step.parse(to)
        except InputError:
            raise UnknownName("rewind", str(to), (*_WORDS, "500it", "1ep")) from None
        return cls("init", None, state, keep) if step.count == 0 else cls("step", step, state, keep)

    @property
    def from_end(self) -> bool:
        """Whether the weights are those that a training ended with."""
        return self.kind in ("end", "finetune", "lr")

    def position(self, steps_per_epoch: int) -> int | None:
        """The step from which schedule and data order go on; None where they go on from the end (`finetune`)."""
        if self.kind == "finetune":
            return None
        return self.step.iterations(steps_per_epoch) if self.step is not None else 0

    def __str__(self) -> str:
        return str(self.step) if self.step is not None else self.kind
