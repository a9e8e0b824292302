"""The docs of pruning name every component, and carry the table of what cannot be combined word for word."""

from pathlib import Path

import pytest

from secateur.pruning.combinations import as_markdown
from secateur.registry import dynamic_methods, schedules, scopes, scores, units

DOCS = (Path(__file__).parents[2] / "docs" / "pruning.md").read_text()


def test_the_table_of_refusals_is_printed() -> None:
    assert as_markdown() in DOCS


@pytest.mark.parametrize("registry", [scores, scopes, units, schedules, dynamic_methods], ids=lambda registry: registry.what)
def test_every_component_is_named_with_its_summary(registry: object) -> None:
    for entry in registry:  # type: ignore[attr-defined]
        assert f"| `{entry.name}` | {entry.summary.replace('|', chr(92) + '|')}" in DOCS
        assert all(f"`{option} = " in DOCS for option in entry.options)
