"""The method section: how a study was done, written from its own record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from secateur.analysis import phrasing as say
from secateur.analysis.statistics import CONFIDENCE, POWER
from secateur.reports import markup
from secateur.reports.markup import text
from secateur.reports.sections import arm_in_words
from secateur.reports.study import Reported

_SHOWN = 12


def data_and_method(reported: Reported) -> str:
    """Data, model, training, pruning, arms, statistics, seeds, versions, machine and time, as facts."""
    method = reported.method
    sources = method.get("all_data") or [method.get("data", {})]
    listed = "".join(f"<li>{int(note['count']):,} {text(note['what'])}</li>" for data in sources for note in data.get("notes", []))
    what_was_done = {
        "Data": "<br>".join(_data(data) for data in sources),
        "Model": markup.options(method.get("model", {})),
        "Task": markup.options(method.get("task", {})),
        "Training": markup.options(method.get("train", {})),
        "Pruning": markup.options(method.get("prune", {})),
        "Arms": "<br>".join(f"<b>{text(arm)}</b>: {arm_in_words(settings)}" for arm, settings in method.get("arms", {}).items()),
        "Deciding": _deciding(reported),
        "Tuned": _tuned(reported),
    }
    where = {
        "Seeds": markup.options(method.get("seeds", {})),
        "Versions": markup.options(method.get("versions", {})),
        "Machine": _machine(method.get("machine", {}), method.get("threads")),
        "Time": _time(method),
        "Fingerprint": "Runs of <b>different</b> library versions or instruction sets are mixed here."
        if method.get("fingerprints_mixed")
        else "",
    }
    seen = f"<h3>What the loader dropped or found</h3><ul class=ui style='font-size:.82rem'>{listed}</ul>" if listed else ""
    return f"<section><h2>How it was done</h2>{markup.facts(what_was_done)}{seen}<h3>With what</h3>{markup.facts(where)}</section>"


def _data(data: Mapping[str, Any]) -> str:
    parts = [f"<b>{text(data['label'])}</b>"] if data.get("label") else []
    splits = data.get("splits", {})
    if splits:
        parts.append(say.listed([f"{int(number):,} {text(name)}" for name, number in splits.items()]) + " examples")
    classes = data.get("classes") or []
    if classes:
        more = f" and {len(classes) - _SHOWN} more" if len(classes) > _SHOWN else ""
        parts.append(f"{len(classes)} classes: {text(', '.join(map(str, classes[:_SHOWN])))}{more}")
    if data.get("digest"):
        parts.append(f"digest <code>{text(str(data['digest'])[:16])}</code>")
    return "; ".join(parts)


def _tuned(reported: Reported) -> str:
    """What was tuned, among which settings, and what each arm and density took."""
    keys = reported.method.get("tune", [])
    if not keys:
        return ""
    parts = []
    for key in keys:
        column, tried = f"chosen.{key}", reported.method.get("sweep", {}).get(key, [])
        rows = (
            reported.results.select("arm", "level", column, "density").drop_nulls("density").unique(["arm", "level"], maintain_order=True)
        )
        taken = [f"{row['arm']} {say.density(row['density'])}: {row[column]}" for row in rows.iter_rows(named=True)]
        parts.append(f"<b>{text(key)}</b> among {markup.options(tried)}, by mean validation {text(say.metric_name(reported.rule.metric))}, "
                     f"for each arm and density; costs are those of all settings tried. Taken: {text('; '.join(taken))}")  # fmt: skip
    return "<br>".join(parts)


def _deciding(reported: Reported) -> str:
    rule = reported.rule
    better = "higher" if rule.higher_is_better else "lower"
    return (
        f"Test {text(say.metric_name(rule.metric))} ({better} is better), read once after every choice was made on validation. "
        f"Differences to dense are paired by replicate; {100 * CONFIDENCE:.0f}\u202f% intervals are Student's t; "
        f"the margin is {say.size(rule, rule.margin)}. "
        "Densities are tested from dense downwards up to the first that is not shown to match. "
        f"Replicates needed: for a power of {100 * POWER:.0f}\u202f% at the difference and spread seen here. "
        "A replicate that diverges counts as a loss."
    )


def _machine(machine: Mapping[str, Any], threads: Any) -> str:
    parts = [text(machine["cpu"])] if machine.get("cpu") else []
    if machine.get("cores"):
        parts.append(say.count(int(machine["cores"]), "core"))
    if machine.get("memory"):
        parts.append(f"{float(machine['memory']) / 2**30:.1f} GiB of memory")
    if threads:
        parts.append(f"{say.count(int(threads), 'thread')} a run")
    return ", ".join(parts)


def _time(method: Mapping[str, Any]) -> str:
    parts = []
    if method.get("started"):
        parts.append(f"started {text(str(method['started'])[:16].replace('T', ' '))}")
    if method.get("finished"):
        parts.append(f"finished {text(str(method['finished'])[:16].replace('T', ' '))}")
    if method.get("seconds") is not None:
        parts.append(f"{say.duration(float(method['seconds']))} of training in all")
    return ", ".join(parts)
