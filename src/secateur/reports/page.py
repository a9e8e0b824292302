"""`report.html`: one self-contained page for one study or several, with no network and no framework."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from importlib import resources
from typing import Any

import secateur
from secateur.reports import analyses, chart_data, comparison, inside_sections, look, method, sections, vega
from secateur.reports.drawing import Drawn, draw
from secateur.reports.markup import text
from secateur.reports.study import Reported
from secateur.reports.tables import verdict_document

_SELF, _NONE = "'self'", "'none'"


def page(studies: Sequence[Reported], drawn: Sequence[Drawn] | None = None, poll: float | None = None) -> str:
    """The page's HTML. With `poll` seconds it asks its own server whether a running study has news, and renews itself."""
    drawn = drawn if drawn is not None else [draw(reported) for reported in studies]
    pairs = list(zip(studies, drawn, strict=True))
    articles = "".join(_article(index, reported, charts) for index, (reported, charts) in enumerate(pairs))
    charted = comparison.drawn(studies) if len(studies) > 1 else None
    together = comparison.section(studies, charted) if charted else ""
    library, script = vega.bundle(), _asset("report.js")
    policy = (
        f"default-src 'none'; script-src {_hash(library)} {_hash(script)}; style-src 'unsafe-inline'; "
        f"img-src data: blob:; connect-src {_SELF if poll is not None else _NONE}; base-uri 'none'; form-action 'none'"
    )
    title = studies[0].study.title if len(studies) == 1 else f"{len(studies)} studies compared"
    live = f' data-poll="{poll:g}"' if poll is not None else ""
    embedded = [_embedded(reported, charts) for reported, charts in pairs]
    if charted:
        datasets = {name: chart_data.columnar(rows) for name, rows in charted.datasets.items()}
        embedded.append({"name": "comparison", "charts": charted.specs, "datasets": datasets, "tables": {}, "verdict": {}})
    data = _json({"config": look.vega_config(), "studies": embedded})
    return (
        "<!doctype html>\n"
        f'<html lang="en"{live}><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="generator" content="secateur">'
        f'<link rel="icon" href="data:,"><title>{text(title)} \u2013 Secateur</title>'
        f"<style>{look.style_sheet_colours()}{_asset('report.css')}</style></head>\n"
        f'<body><a class="skip" href="#main">To the result</a><header class="top"><b>Secateur</b>'
        f"<span>study report</span>{_navigation(pairs)}</header>\n"
        f'<main id="main">{_progress(studies) if poll is not None else ""}{together}{articles}</main>\n'
        f"<footer>Written by Secateur {text(_version())}. Charts are drawn by Vega-Lite, in this file; nothing is loaded from a network."
        '<span id="status" role="status" class="visually-hidden"></span></footer>\n'
        f'<script type="application/json" id="secateur-data">{data}</script>\n'
        f"<script>{library}</script>\n<script>{script}</script></body></html>\n"
    )


def _article(index: int, reported: Reported, drawn: Drawn) -> str:
    main, further = ([question for question in drawn.questions if question.main is first] for first in (True, False))
    parts = [
        sections.numbers(reported),
        analyses.section(index, main),
        sections.limits(index, reported, drawn),
        sections.speed(index, drawn),
        sections.training(index, reported, drawn),
        sections.layers(index, drawn),
        inside_sections.forgotten(index, drawn),
        inside_sections.weights(index, drawn),
        analyses.section(index, further),
        sections.cost(index, reported, drawn),
        sections.published(reported, drawn),
        method.data_and_method(reported),
        sections.downloads(index),
    ]
    below, contents = _with_contents(index, "".join(parts))
    return (
        f'<article data-study="{index}" id="study-{index}" aria-label="{text(reported.study.name)}">'
        f"{sections.first_screen(index, reported, drawn)}{contents}{below}</article>\n"
    )


def _with_contents(index: int, body: str) -> tuple[str, str]:
    """The sections, each with an anchor, and the list of their titles as links."""
    titles: list[str] = []

    def anchored(found: re.Match[str]) -> str:
        titles.append(found[1])
        return f'<section id="study-{index}-{len(titles)}"><h2>{found[1]}</h2>'

    body = re.sub(r"<section><h2>(.*?)</h2>", anchored, body)
    links = "".join(f'<li><a href="#study-{index}-{number}">{title}</a></li>' for number, title in enumerate(titles, start=1))
    return body, f'<nav class="contents ui" aria-label="Sections"><ul>{links}</ul></nav>'


def _progress(studies: Sequence[Reported]) -> str:
    done = sum(int((reported.results["status"] != "missing").sum()) for reported in studies)
    wanted = sum(reported.results.height for reported in studies)
    told = "All runs have ended." if done == wanted else f"Running: {done} of {wanted} runs have ended. This page renews itself."
    return (
        f'<p class="live ui" role="status"><progress max="{max(wanted, 1)}" value="{done}" aria-label="runs ended"></progress> {told}</p>'
    )


def _navigation(pairs: Sequence[tuple[Reported, Drawn]]) -> str:
    links = ""
    if len(pairs) > 1:
        links = "".join(f'<a href="#study-{index}">{text(reported.study.name)}</a>' for index, (reported, _) in enumerate(pairs))
    return f'<nav aria-label="Page">{links}<button type="button" id="theme">Light or dark</button></nav>'


def _embedded(reported: Reported, drawn: Drawn) -> dict[str, Any]:
    datasets = {name: chart_data.columnar(rows) for name, rows in drawn.datasets.items()}
    return {
        "name": reported.study.name,
        "charts": drawn.specs,
        "datasets": datasets,
        "tables": {
            "results": {name: chart_data.compact(values) for name, values in reported.results.to_dict(as_series=False).items()},
            "curves": datasets.get("curves", {}),
            "layers": datasets.get("layers", {}),
            **{name: datasets.get(name, {}) for name in ("speed", "resolution", "forgetting", "confusion", "histograms")},
            **{name: columns for name, columns in datasets.items() if name.startswith("analysis-")},
        },
        "verdict": verdict_document(reported),
    }


def _json(value: Any) -> str:
    """JSON that can stand in a script element: no `<` in it can end or open anything."""
    return json.dumps(_finite(value), separators=(",", ":"), ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value


def _asset(name: str) -> str:
    return resources.files("secateur.reports").joinpath("assets", name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _version() -> str:
    return str(getattr(secateur, "__version__", "0.1"))
