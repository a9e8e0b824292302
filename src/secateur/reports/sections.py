"""The sections of a study's page, top to bottom: each a function from the reported study to markup."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from secateur.analysis import phrasing as say
from secateur.analysis.statistics import BOOTSTRAP_COVERAGE
from secateur.analysis.verdicts import DENSE, Verdict
from secateur.reports import chart_data, charts, markup
from secateur.reports.drawing import Drawn
from secateur.reports.markup import text
from secateur.reports.study import Reported

_SYMBOLS = {"wins": "\u2605 wins", "matches": "\u2713 matches", "unclear": "? unclear", "loses": "\u2715 loses"}
_FULL_CELLS = 8
_BOOTSTRAP = "studentised bootstrap, for comparison; at ten replicates it covered {:.1%} to {:.1%} of simulated means".format(
    *BOOTSTRAP_COVERAGE
)


def first_screen(index: int, reported: Reported, drawn: Drawn) -> str:
    """The answer in words, what was asked, the main chart and the grid of verdicts."""
    study, words = reported.study, reported.headline
    opening, _, rest = words.title.partition(". ")
    title = (
        f'<span class="answer-{words.answer}">{text(opening)}.</span> <span class="rest">{text(rest)}</span>' if rest else text(words.title)
    )
    preset = f", preset {text(study.preset)}" if study.preset else ""
    replicates = reported.results["replicate"].n_unique()
    done = reported.results.filter(reported.results["status"] == "done").height
    kicker = (
        f'<p class="kicker ui"><b>{text(study.title)}</b> &ensp;{text(study.name)}{preset}; '
        f"{say.count(replicates, 'replicate')}, {say.count(done, 'finished run')}</p>"
    )
    findings = "".join(f"<li><b>{text(arm)}</b> {text(found)}</li>" for arm, found in words.findings)
    limits = "".join(f"<p>{text(line)}</p>" for line in words.limits[:2])
    arms = "".join(f"<li><b>{text(arm)}</b>: {what}</li>" for arm, what in _arms_in_words(reported).items())
    caption = (
        f"Test {text(say.metric_name(reported.rule.metric))} against the weights left. Points: mean over replicates; bars: 95 % intervals; "
        "small dots: single replicates; dashed line and band: the dense network and its interval"
        + ("; crosses: published numbers" if "published" in drawn.datasets else "")
        + ("; \u2020: a replicate that diverged" if "lost" in drawn.datasets else "")
        + "."
    )
    label = f"Chart: test {say.metric_name(reported.rule.metric)} against remaining weights for {say.listed(['dense', *drawn.names])}"
    return (
        f'{kicker}<h1>{title}</h1><div class="first"><div class="words">'
        f"<p>A network was trained dense, pruned, and what was left (a <i>ticket</i>) trained again:</p><ul>{arms}</ul>"
        f"<p>What {say.count(replicates, 'replicate')} of each {'shows' if replicates == 1 else 'show'}:</p>"
        f"<ul>{findings}</ul>{limits}</div>"
        f"<div>{markup.key(index, drawn.names)}{markup.figure(index, 'quality', label, caption, kept='')}</div></div>"
        f"{verdict_grid(reported)}"
    )


def verdict_grid(reported: Reported) -> str:
    """A table of verdicts, arms down and densities across."""
    verdicts = reported.judgement.verdicts
    if not verdicts:
        return ""
    columns = sorted({say.density(v.density): v.density for v in verdicts}.items(), key=lambda item: -item[1])
    by_row: dict[str, dict[str, Verdict]] = {}
    for verdict in verdicts:
        by_row.setdefault(_series(verdict), {})[say.density(verdict.density)] = verdict
    many = len(columns) > _FULL_CELLS
    head = "".join(f'<th scope="col">{left}</th>' for left, _ in columns)
    lines = []
    for series, row in by_row.items():
        cells = "".join(_verdict_cell(row.get(left), reported, many) for left, _ in columns)
        lines.append(f'<tr data-series="{text(series)}"><th scope="row">{text(series)}</th>{cells}</tr>')
    margin = say.size(reported.rule, reported.rule.margin)
    legend = (
        f"<b class=matches>matches</b>: the whole 95 % interval of the paired difference to dense is better than a loss of {margin}; "
        "<b class=wins>wins</b>: it also needs no more steps than dense and beats new random weights in the same mask; "
        "<b class=loses>loses</b>: the whole interval is worse than that; <b class=unclear>unclear</b>: these replicates cannot tell."
    )
    return (
        f'<div class="strip"><div class="scroll"><table{" class=many" if many else ""}>'
        "<caption>Verdict on each arm at each density (weights left), with its difference to dense</caption>"
        f"<thead><tr><th scope=col>weights left</th>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
        f'<p class="legend ui">{legend}</p></div>'
    )


def _verdict_cell(verdict: Verdict | None, reported: Reported, many: bool) -> str:
    if verdict is None:
        return '<td class="none"><span class="visually-hidden">not measured</span></td>'
    symbol, _, word = _SYMBOLS[verdict.verdict].partition(" ")
    told = f'{symbol}<span class="visually-hidden"> {word}</span>' if many else f"{symbol} {word}"
    difference = say.difference(reported.rule, verdict.to_dense.difference, unit=False) if verdict.to_dense else ""
    title = "; ".join(verdict.reasons)
    return (
        f'<td class="{verdict.verdict}"{f" title={chr(34)}{text(title)}{chr(34)}" if title else ""}>{told}<small>{difference}</small></td>'
    )


def numbers(reported: Reported) -> str:
    """The whole table: every arm and density with its difference to dense, interval, verdict and reasons."""
    rule = reported.rule
    heads = [
        ("arm", False),
        ("weights left", True),
        (f"test {say.metric_name(rule.metric)}", True),
        ("difference to dense", True),
        ("95 % interval", True),
    ]
    spared = _spared(reported)
    heads += [
        *([("FLOPs spared", True)] if spared else []),
        ("n", True),
        ("best step, to dense", True),
        ("beats reinit", False),
        ("verdict", False),
        ("replicates needed", True),
        ("why", False),
    ]
    rows: list[tuple[str | None, list[str]]] = [
        (
            None,
            [text(row["series"]), row["left"], row["shown"], "", "", *([""] if spared else []), str(row["n"]), "", "", "", "", ""],
        )
        for row in chart_data.points(reported, rule.column)
        if row["level"] == 0
    ]
    for v in reported.judgement.verdicts:
        lost = "".join(f", {len(names)} {what}" for what, names in (("diverged", v.diverged), ("unfinished", v.unfinished)) if names)
        rows.append(
            (
                _series(v),
                [
                    text(_series(v)),
                    say.density(v.density),
                    say.value(rule.metric, v.mean),
                    say.difference(rule, v.to_dense.difference, unit=False) if v.to_dense else "\u2013",
                    _intervals(v, reported),
                    *([spared.get((_series(v), v.level), "\u2013")] if spared else []),
                    f"{v.pairs}{lost}",
                    f"{say.signed(v.steps.difference, 0)}" if v.steps else "\u2013",
                    _beats(v, reported),
                    f'<span class="{v.verdict}">{v.verdict}</span>',
                    _needed(v),
                    text("; ".join(v.reasons)),
                ],
            )
        )
    unit = "percent of dense" if rule.margin_is_relative else "points" if say.is_fraction(rule.metric) else say.metric_name(rule.metric)
    return (
        "<section><h2>The numbers</h2>"
        f"<p class=lead>Differences are paired by replicate (same seeds, same split) and in {unit}. The test split decided nothing "
        f"but this table: every choice was made on validation.{_majority(reported)}</p>"
        + markup.table("Every arm and density against dense", heads, rows)
        + "</section>"
    )


def _majority(reported: Reported) -> str:
    """What is had without a network: the accuracy of the largest class."""
    if reported.majority is None:
        return ""
    largest, part = text(reported.majority[0]), say.value("accuracy", reported.majority[1])
    return f" Always to answer <i>{largest}</i>, the largest class of the training split, has an accuracy of {part}."


def _spared(reported: Reported) -> dict[tuple[str, int], str]:
    """(series, level) -> which part of the dense network's multiply-adds for one example its masks spare, mean over replicates."""
    found: dict[tuple[str, int], list[float]] = {}
    for row in reported.results.iter_rows(named=True):
        if row.get("flop_sparsity") is not None and row["level"]:
            found.setdefault((chart_data.series_of(row), row["level"]), []).append(row["flop_sparsity"])
    return {place: f"{100 * sum(values) / len(values):.1f}\u202f%" for place, values in found.items()}


def speed(index: int, drawn: Drawn) -> str:
    """When the best validation comes."""
    if "speed" not in drawn.specs:
        return ""
    label = "Chart: training step of best validation against remaining weights"
    caption = "Earlier is faster learning, in steps, never seconds. Means with 95 % intervals; dense as line and band."
    return (
        "<section><h2>Speed of learning</h2><p class=lead>A winning ticket does not only end as good as the dense network: "
        "it gets there in no more steps.</p>"
        + markup.figure(index, "speed", label, caption, kept="")
        + markup.lazy_table(index, "speed", "Steps of best validation as a table")
        + "</section>"
    )


def training(index: int, reported: Reported, drawn: Drawn) -> str:
    """Curves while training, one arm at a time."""
    columns = [name.partition(":")[2] for name in drawn.specs if name.startswith("curves:")]
    if not columns:
        return ""
    choose = (
        '<div class="pick">'
        + markup.select(index, "curves", "series", "Arm", {name: name for name in drawn.names})
        + markup.select(index, "curves", "chart", "Measure", {f"curves:{column}": charts.measure_name(column) for column in columns})
        + "</div>"
    )
    label = "Chart: training curves of one arm, a line for each density"
    caption = "Thick: mean over replicates; thin: each replicate. The dense network is drawn in the colour of the text."
    return (
        f"<section><h2>Training curves</h2>{choose}"
        + markup.figure(index, f"curves:{columns[0]}", label, caption, series=drawn.names[0])
        + markup.lazy_table(index, "curves", f"All {reported.curves.height:,} evaluations as a table")
        + "</section>"
    )


def layers(index: int, drawn: Drawn) -> str:
    """Which layers survive."""
    if "layers" not in drawn.specs:
        return ""
    choose = '<div class="pick">' + markup.select(index, "layers", "series", "Arm", {name: name for name in drawn.names}) + "</div>"
    label = "Chart: density of each parameter at each level of pruning"
    caption = "Percent of each parameter's prunable weights that are kept (mean over replicates), against what is left in all."
    return (
        f"<section><h2>What is left of each layer</h2>{choose}"
        + markup.figure(index, "layers", label, caption, series=drawn.names[0])
        + markup.lazy_table(index, "layers", "Density of each layer as a table")
        + "</section>"
    )


def cost(index: int, reported: Reported, drawn: Drawn) -> str:
    """What finding the tickets took, beside how good they are."""
    measures = [name.partition(":")[2] for name in drawn.specs if name.startswith("costs:")]
    if not measures:
        return ""
    best = {arm.arm: arm for arm in reversed(reported.judgement.arms)}
    rows: list[tuple[str | None, list[str]]] = []
    for row in drawn.datasets["costs"]:
        arm = best.get(row["series"])
        rows.append(
            (
                row["series"],
                [
                    text(row["series"]),
                    say.density(arm.matches_down_to) if arm and arm.matches_down_to is not None else "not shown",
                    f"{row['steps']:,.0f}" if row["steps"] is not None else "\u2013",
                    say.large(row["multiply_adds"]) if row["multiply_adds"] is not None else "\u2013",
                    say.duration(row["seconds"]) if row["seconds"] is not None else "\u2013",
                    _times(row["multiply_adds_of_dense"] if row["multiply_adds_of_dense"] is not None else row["steps_of_dense"]),
                ],
            )
        )
    heads = [
        ("arm", False),
        ("matches dense down to", True),
        ("steps", True),
        ("multiply-adds", True),
        ("seconds", True),
        ("of one dense training", True),
    ]
    words = {"multiply_adds": "multiply-adds", "steps": "training steps", "seconds": "seconds"}
    choose = (
        '<div class="pick">' + markup.select(index, "costs", "chart", "Counted in", {f"costs:{m}": words[m] for m in measures}) + "</div>"
    )
    return (
        "<section><h2>What finding the tickets took</h2><p class=lead>A ticket is not free: it is the end of a search. "
        "Here is the price of each arm beside how far down it got.</p>"
        + choose
        + markup.figure(
            index,
            f"costs:{measures[0]}",
            "Chart: cost of each arm as a multiple of training dense once",
            "All runs that one replicate of an arm needs: dense training, every level, every rewind.",
        )
        + markup.table("Cost of finding tickets beside their quality", heads, rows)
        + "</section>"
    )


def published(reported: Reported, drawn: Drawn) -> str:
    """Published numbers beside the measured ones."""
    rows: list[tuple[str | None, list[str]]] = []
    for row in drawn.datasets.get("published", []):
        measured = row["measured"]
        gap = measured - row["value"] if measured is not None else None
        points = say.is_fraction(row["metric"])
        rows.append(
            (
                row["series"],
                [
                    text(row["series"]),
                    f"{say.percent_digits(row['kept'])}\u202f%",
                    text(say.metric_name(row["metric"])),
                    say.value(row["metric"], row["value"]),
                    say.value(row["metric"], measured),
                    "\u2013" if gap is None else say.signed(100 * gap if points else gap, 2) + (" points" if points else ""),
                    str(row["n"]) if row["n"] else "not measured here",
                    text(row["comparable"]),
                    text(row["source"]),
                ],
            )
        )
    if not rows:
        return ""
    heads = [
        ("arm", False),
        ("weights left", True),
        ("metric", False),
        ("published", True),
        ("measured", True),
        ("difference", True),
        ("n", True),
    ]
    heads += [("comparable", False), ("source", False)]
    return "<section><h2>Published and measured</h2>" + markup.table("Published numbers beside measured ones", heads, rows) + "</section>"


def limits(index: int, reported: Reported, drawn: Drawn) -> str:
    """What these replicates can show and what they cannot."""
    lines = "".join(f"<p>{text(line)}</p>" for line in reported.headline.limits)
    lost = [f"<li>{text(name)} diverged</li>" for name in reported.judgement.diverged]
    lost += [f"<li>{text(name)} did not finish</li>" for name in reported.judgement.unfinished]
    named = f'<div class="note"><p>Runs without a result:</p><ul>{"".join(lost)}</ul></div>' if lost else ""
    chart = ""
    if "resolution" in drawn.specs:
        label = "Chart: smallest difference to dense that a number of replicates shows"
        caption = "What n replicates show in 80 % of studies, at this study's median spread. The large point is this study."
        chart = markup.figure(index, "resolution", label, caption) + markup.lazy_table(index, "resolution", "The same as a table")
    title = "What the replicates can show, and what they cannot"
    return f'<section><h2>{title}</h2><div class="two"><div>{lines}{named}</div><div>{chart}</div></div></section>'


def downloads(index: int) -> str:
    """The data, out of the page itself."""
    buttons = "".join(
        f'<button type="button" data-study="{index}" data-download="{name}">{label}</button>'
        for name, label in (("results", "results.csv"), ("curves", "curves.csv"), ("layers", "layers.csv"), ("verdict", "verdict.json"))
    )
    return f'<section><h2>The data</h2><p class=lead>All of it is in this file.</p><div class="downloads">{buttons}</div></section>'


def _intervals(verdict: Verdict, reported: Reported) -> str:
    if verdict.to_dense is None:
        return "\u2013"
    told = say.interval(reported.rule, verdict.to_dense)
    if verdict.to_dense.bootstrap is None:
        return told
    low, high = (say.difference(reported.rule, bound, unit=False) for bound in verdict.to_dense.bootstrap)
    return f'{told}<br><small title="{_BOOTSTRAP}">bootstrap {low} to {high}</small>'


def _times(ratio: float | None) -> str:
    return "\u2013" if ratio is None else f"{ratio:.3g} \u00d7"


def _series(verdict: Verdict) -> str:
    return chart_data.series_of({"arm": verdict.arm} | {f"factor.{name}": value for name, value in verdict.factors.items()})


def _beats(verdict: Verdict, reported: Reported) -> str:
    to_reinit = verdict.to_reinit
    if to_reinit is None:
        return "\u2013"
    told = "yes" if to_reinit.better else "no" if to_reinit.worse else "not shown"
    return f"{told}, {say.difference(reported.rule, to_reinit.difference, unit=False)}".replace(" ", "\u00a0")


def _needed(verdict: Verdict) -> str:
    if verdict.verdict != "unclear" or verdict.to_dense is None or verdict.to_dense.sd is None or verdict.diverged:
        return ""
    if verdict.needed is None:
        return "over 1,000"
    cautious = verdict.needed_cautious
    return f"{verdict.needed}" + (f" (safely {cautious})" if cautious is not None and cautious > verdict.needed else "")


def _arms_in_words(reported: Reported) -> dict[str, str]:
    settings = reported.method.get("arms", {})
    return {arm: arm_in_words(settings.get(arm, {})) for arm in reported.arms}


def arm_in_words(settings: Mapping[str, Any]) -> str:
    """What an arm does, from its own settings: a clause that follows its name."""
    if settings.get("about"):
        return f"{text(str(settings['about']).rstrip('.'))}."
    rewind, source = settings.get("rewind"), settings.get("mask_from")
    prune = settings.get("prune") or {}
    parts = []
    if source:
        parts.append(f"takes the masks of {text(source)}")
    elif prune.get("score"):
        parts.append(f"prunes by {markup.options(prune['score'])}")
    after = {
        "init": "restarts from the initial weights",
        "reinit": "starts from new random weights",
        "end": "restarts from the weights that dense training ended with",
        "finetune": "goes on from the trained weights",
        "lr": "keeps the trained weights and replays the learning-rate schedule",
    }
    if isinstance(rewind, str):
        parts.append(after.get(rewind, f"restarts from the weights it had after {text(_length(rewind))}"))
    elif isinstance(rewind, Mapping):
        parts.append(f"restarts by {markup.options(rewind)}")
    known = {"rewind", "mask_from", "prune"}
    rest = {name: value for name, value in settings.items() if name not in known}
    if rest:
        parts.append(f"differs in {markup.options(rest)}")
    return (" and ".join(parts) or f"differs from {DENSE} only by its masks") + "."


def _length(written: str) -> str:
    """`150it` is 150 steps."""
    unit = {"it": "step", "ep": "epoch"}.get(written[-2:])
    return written if unit is None else f"{written[:-2]} {unit}{'' if written[:-2] == '1' else 's'}"
