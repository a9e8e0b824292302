"""Studies made of drawn numbers, shaped like real ones: what the pages are tested and looked at with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl

LAYERS = [
    ("embedding.weight", "embedding", 1_250_000, 1.15),
    ("convolutions.0.weight", "conv", 7_500, 0.8),
    ("convolutions.1.weight", "conv", 10_000, 0.85),
    ("convolutions.2.weight", "conv", 12_500, 0.9),
    ("output.weight", "linear", 1_200, 0.5),
]
DROP = {"winning": 3.2, "late": 2.6, "reinit": 7.5, "random": 9.0}


class GeneratedStudy:
    """A study of `arms` over `levels` at `keep_each`, with seeded noise."""

    def __init__(
        self,
        name: str = "quickstart",
        arms: tuple[str, ...] = ("winning", "late", "reinit"),
        replicates: int = 3,
        levels: int = 5,
        epochs: int = 4,
        keep_each: float = 0.5,
        dense: float = 0.677,
        noise: float = 0.004,
        metric: str = "accuracy",
        margin: float = 0.005,
        relative: bool = False,
        diverged: tuple[tuple[str, int, int], ...] = (),
        missing: tuple[tuple[str, int, int], ...] = (),
        factors: dict[str, list[Any]] | None = None,
        seed: int = 0,
    ) -> None:
        self.name, self.preset, self.metric = name, "quick", metric
        self.title = "Does a text CNN have winning tickets?"
        self.higher_is_better, self.margin, self.margin_is_relative = metric != "perplexity", margin, relative
        self.arms, self.replicates, self.levels, self.epochs, self.keep_each = arms, replicates, levels, epochs, keep_each
        self.expectations: list[dict[str, Any]] = [
            {
                "arm": "winning",
                "at": {"sparsity": 1 - keep_each**2},
                "metric": f"test_{metric}",
                "value": dense + 0.01,
                "source": "study E, table 1",
                "comparable": "no: partial training data",
            }
        ]
        draw = np.random.default_rng(seed)
        results, curves, layers = [], [], []
        for factor in _crossed(factors or {}):
            for replicate in range(replicates):
                luck = draw.normal(0, noise)
                for arm, level in [("dense", 0)] + [(arm, level) for arm in arms for level in range(1, levels + 1)]:
                    density = keep_each**level
                    curve_drop = (
                        DROP.get(arm, 5.0) * 0.01 * max(0.0, -np.log2(density) - (0 if arm in ("reinit", "random") else 1.2)) ** 1.2
                    )
                    value = (
                        dense + luck + draw.normal(0, noise) + (0.012 if level and arm != "reinit" else 0.0) * (density > 0.2) - curve_drop
                    )
                    value = float(np.clip(value, 0.05, 0.995))
                    status = (
                        "diverged" if (arm, level, replicate) in diverged else "missing" if (arm, level, replicate) in missing else "done"
                    )
                    steps = epochs * 195
                    best = int(
                        steps
                        * np.clip((0.72 if level else 0.8) + draw.normal(0, 0.08) + (0.05 * level if arm == "reinit" else 0), 0.2, 1.0)
                    )
                    base = {"arm": arm, "level": level, "replicate": replicate, **{f"factor.{k}": v for k, v in factor.items()}}
                    done = status == "done"
                    scale = (lambda x: x) if self.higher_is_better else (lambda x: 400 * (1 - x))
                    results.append(
                        {"study": name, "preset": self.preset, "data": "bible"}
                        | base
                        | {
                            "density": density,
                            "sparsity": 1 - density,
                            "compression": -np.log10(density),
                            f"test_{metric}": scale(value) if done else None,
                            f"valid_{metric}": scale(value + draw.normal(0, 0.002)) if done else None,
                            "test_loss": 3.1 * (1 - value) if done else None,
                            "valid_loss": 3.1 * (1 - value) if done else None,
                            "best_step": best if done else None,
                            "steps": steps if done else None,
                            "multiply_adds": 4.2e9 * (0.3 + 0.7 * density) * epochs if done else None,
                            "seconds": 9.0 * epochs / 4 * (1 + draw.normal(0, 0.03)) if done else None,
                            "execution": "dense",
                            "status": status,
                            "node": f"{arm}{level}{replicate}",
                        }
                    )
                    if done:
                        progress = np.arange(1, epochs + 1) / epochs
                        rise = 1 - np.exp(-4 * progress)
                        curves += [
                            base
                            | {
                                "step": (epoch + 1) * 195,
                                "epoch": float(epoch + 1),
                                "train_loss": float(2.0 - 1.6 * rise[epoch] + draw.normal(0, 0.01)),
                                "valid_loss": float(2.0 - 1.1 * rise[epoch] + 0.15 * progress[epoch] ** 3 + draw.normal(0, 0.01)),
                                f"valid_{metric}": scale(float(value * (0.4 + 0.6 * rise[epoch]) + draw.normal(0, 0.003))),
                            }
                            for epoch in range(epochs)
                        ]
                    for parameter, kind, prunable, power in LAYERS:
                        layers.append(
                            base | {"parameter": parameter, "kind": kind, "prunable": prunable, "kept": int(prunable * density**power)}
                        )
        self._results, self._curves, self._layers = (
            pl.DataFrame(results, infer_schema_length=None),
            pl.DataFrame(curves),
            pl.DataFrame(layers),
        )

    def frame(self) -> pl.DataFrame:
        return self._results

    def curves(self) -> pl.DataFrame:
        return self._curves

    def layers(self) -> pl.DataFrame:
        return self._layers

    def method(self) -> dict[str, Any]:
        settings: dict[str, dict[str, Any]] = {
            "winning": {"rewind": "init"},
            "late": {"rewind": "150it"},
            "reinit": {"mask_from": "winning", "rewind": "reinit"},
        }
        return {
            "data": {
                "label": "World English Bible, sections of the canon",
                "digest": "5d206077ff3e96161868c5c280ec8a28e9ad5617ef99ee0e734aaef6130c5aa0",
                "splits": {"train": 24_872, "validation": 3_109, "test": 3_109},
                "notes": [
                    {"what": "verses whose text occurs in another split too", "count": 41},
                    {"what": "empty verses dropped", "count": 7},
                ],
                "classes": ["Law", "History", "Wisdom", "Prophets", "Gospels", "Acts", "Epistles", "Revelation"],
            },
            "model": {"name": "kim-cnn", "embedding": 50, "filters": 50, "widths": [3, 4, 5], "dropout": 0.5, "init": "xavier-normal"},
            "task": {"name": "classification", "class_weights": "none"},
            "train": {"length": f"{self.epochs}ep", "batch": 128, "optimizer": {"name": "adam", "lr": 0.002}, "select": "best-validation"},
            "prune": {
                "score": "magnitude",
                "scope": "layer",
                "unit": "weight",
                "prunable": ["linear", "conv", "embedding"],
                "schedule": {"name": "iterative", "keep_each": self.keep_each, "levels": self.levels},
            },
            "arms": {arm: settings.get(arm, {"rewind": "init"}) for arm in self.arms},
            "seeds": {"split": 0, "replicates": list(range(self.replicates))},
            "versions": {"python": "3.11.2", "torch": "2.13.0+cpu", "secateur": "0.1.0", "isa": "avx2"},
            "machine": {"cpu": "a plain CPU", "cores": 2, "memory": 8_000_000_000},
            "threads": 1,
            "started": "2026-01-05T09:00:00+00:00",
            "finished": "2026-01-05T09:04:10+00:00",
            "seconds": 250.0,
            "cost": {
                arm: {
                    "steps": 195.0 * self.epochs * (self.levels + 1) * self.replicates,
                    "multiply_adds": 4.2e9 * self.epochs * (1 + self.levels * 0.6) * self.replicates,
                    "seconds": 9.0 * (1 + self.levels) * self.replicates,
                }
                for arm in self.arms
            },
            "fingerprints_mixed": False,
        }


class OpenStudy(GeneratedStudy):
    """A generated study that also tells what its networks predict and hold."""

    words_looked_at = ("king", "temple")

    def predictions(self) -> Iterator[tuple[dict[str, Any], np.ndarray, np.ndarray]]:
        classes = len(self.method()["data"]["classes"])
        targets = np.random.default_rng(0).integers(0, classes, 800)
        for row in self._results.filter(pl.col("status") == "done").iter_rows(named=True):
            draw = np.random.default_rng([row["replicate"], row["level"], len(row["arm"])])
            right = draw.random(800) < row["test_accuracy"] - 0.25 * (targets == 3) * (1 - row["density"])
            yield (
                {key: row[key] for key in ("arm", "level", "replicate")},
                targets,
                np.where(right, targets, (targets + draw.integers(1, 3, 800)) % classes),
            )

    def weights(self) -> Iterator[tuple[dict[str, Any], str, dict[str, np.ndarray], dict[str, np.ndarray]]]:
        draw = np.random.default_rng(1)
        start = {
            "embedding.weight": draw.normal(0, 0.1, (60, 24)),
            "output.weight": draw.normal(0, 0.3, (8, 120)),
            "output.bias": np.zeros(8),
        }
        end = {name: values + draw.normal(0, 0.05, values.shape) for name, values in start.items()}
        yield {"arm": "dense", "level": 0, "replicate": 0}, "start", start, {}
        yield {"arm": "dense", "level": 0, "replicate": 0}, "end", end, {}
        for level in (2, self.levels):
            kept = {
                name: np.abs(end[name]) > np.quantile(np.abs(end[name]), 1 - self.keep_each**level)
                for name in ("embedding.weight", "output.weight")
            }
            yield (
                {"arm": self.arms[0], "level": level, "replicate": 0},
                "end",
                {name: values * kept.get(name, 1) for name, values in end.items()},
                kept,
            )

    def words(self) -> tuple[list[str], tuple[str, ...]]:
        return ["<pad>", "<unk>", "king", "temple", *(f"word{number}" for number in range(56))], self.words_looked_at


def _crossed(factors: dict[str, list[Any]]) -> list[dict[str, Any]]:
    crossed: list[dict[str, Any]] = [{}]
    for name, values in factors.items():
        crossed = [before | {name: value} for before in crossed for value in values]
    return crossed
