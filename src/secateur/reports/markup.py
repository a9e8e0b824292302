"""Small pieces of HTML: escaped text, tables, figures, lists of facts. Strings in, strings out."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from secateur.reports import look

_SWATCHES = {
    "circle": '<circle cx="7" cy="7" r="4.5"/>',
    "square": '<rect x="3" y="3" width="8" height="8"/>',
    "triangle-up": '<path d="M7 2.5 12 11.5H2z"/>',
    "diamond": '<path d="M7 1.5 12.5 7 7 12.5 1.5 7z"/>',
    "triangle-down": '<path d="M7 11.5 12 2.5H2z"/>',
    "cross": '<path d="M5 1.5h4V5h3.5v4H9v3.5H5V9H1.5V5H5z"/>',
    "triangle-right": '<path d="M11.5 7 2.5 12V2z"/>',
    "triangle-left": '<path d="M2.5 7 11.5 12V2z"/>',
}


def text(value: Any) -> str:
    """`value` as text that cannot be taken for markup."""
    return html.escape(str(value), quote=True)


def table(caption: str, heads: Sequence[tuple[str, bool]], rows: Iterable[tuple[str | None, Sequence[str]]]) -> str:
    """A table. `heads` are (title, is a number); a row is (its series, for the arm toggles) and cells that are markup already.

    The first cell of a row is its header.
    """
    head = "".join(f'<th scope="col"{" class=n" if number else ""}>{text(title)}</th>' for title, number in heads)
    lines = []
    for series, cells in rows:
        mark = f' data-series="{text(series)}"' if series is not None else ""
        rest = "".join(f"<td{' class=n' if number else ''}>{cell}</td>" for cell, (_, number) in zip(cells[1:], heads[1:], strict=True))
        lines.append(f'<tr{mark}><th scope="row">{cells[0]}</th>{rest}</tr>')
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{text(caption)}"><table><caption>{text(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def figure(study: int, chart: str, label: str, caption: str, extra: str = "", **data: str) -> str:
    """A chart's place: drawn by the page's script, described for those who do not see it. `label` says what it shows."""
    marks = "".join(f' data-{name}="{text(value)}"' for name, value in data.items())
    identity = f"chart-{study}-{chart.partition(':')[0]}"
    return (
        f'<figure id="{identity}" data-study="{study}" data-chart="{text(chart)}"{marks} role="group" aria-label="{text(label)}">{extra}'
        f'<div class="plot"></div><figcaption>{caption} <button type="button" data-save>Save as SVG</button></figcaption></figure>'
    )


def facts(pairs: Mapping[str, str]) -> str:
    """A list of terms with their descriptions, which are markup already; empty ones are left out."""
    return '<dl class="facts">' + "".join(f"<dt>{text(term)}</dt><dd>{what}</dd>" for term, what in pairs.items() if what) + "</dl>"


def details(summary: str, inside: str) -> str:
    """Something that opens."""
    return f"<details><summary>{text(summary)}</summary>{inside}</details>"


def lazy_table(study: int, name: str, summary: str) -> str:
    """The data of a chart as a table, built from the page's own data when it is opened."""
    place = f'data-study="{study}" data-table="{text(name)}" tabindex="0" role="region" aria-label="{text(summary)}"'
    return details(summary, f'<div class="scroll" {place}></div>')


def key(study: int, names: Sequence[str]) -> str:
    """The arms as toggles, with their colour and shape, the key of every chart below."""
    buttons = []
    for index, name in enumerate(names):
        shape = look.SHAPES[(index + index // len(look.SHAPES)) % len(look.SHAPES)]
        swatch = f'<svg viewBox="0 0 14 14" aria-hidden="true" fill="{look.arm_colour(index)}">{_SWATCHES[shape]}</svg>'
        buttons.append(
            f'<button type="button" aria-pressed="true" data-study="{study}" data-series="{text(name)}" title="Show or hide {text(name)}">'
            f"{swatch}{text(name)}</button>"
        )
    dense = (
        '<span class="dense"><svg viewBox="0 0 14 14" aria-hidden="true"><rect y="2" width="14" height="10" fill="var(--ink)"'
        ' opacity=".12"/>'
        '<path d="M0 7h14" stroke="var(--ink)" stroke-width="1.6" stroke-dasharray="4 2.5"/></svg>dense</span>'
    )
    scale = '<label><input type="checkbox" data-scale checked> log axis</label>'
    return f'<div class="key" role="group" aria-label="Arms shown in charts and tables">{dense}{"".join(buttons)}{scale}</div>'


def select(index: int, chart: str, pick: str, label: str, choices: Mapping[str, str]) -> str:
    """A choice that redraws the chart it names: `pick` is the chart's datum that it sets (series, chart)."""
    choose = "".join(f'<option value="{text(value)}">{text(shown)}</option>' for value, shown in choices.items())
    return f'<label>{text(label)} <select data-pick="{pick}" aria-controls="chart-{index}-{chart}">{choose}</select></label>'


def options(settings: Any) -> str:
    """A recipe's table in a line: `adam (lr 0.002), batch 128`."""
    if isinstance(settings, Mapping):
        settings = dict(settings)
        name = settings.pop("name", None)
        inner = ", ".join(f"{text(str(term).replace('_', ' '))}\u00a0{options(value)}" for term, value in settings.items())
        if name is None:
            return inner
        return f"{text(name)} ({inner})" if inner else text(name)
    if isinstance(settings, (list, tuple)):
        return ", ".join(options(value) for value in settings) if settings else "none"
    if settings is None:
        return "none"
    if isinstance(settings, bool):
        return "yes" if settings else "no"
    if isinstance(settings, float):
        return f"{settings:g}"
    return text(settings)
