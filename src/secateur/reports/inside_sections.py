"""The sections that look inside: classes and examples that pruning forgets, weights, words. Empty where a study cannot tell."""

from __future__ import annotations

from secateur.reports import markup
from secateur.reports.drawing import Drawn
from secateur.reports.markup import text


def forgotten(index: int, drawn: Drawn) -> str:
    """Which classes and examples pruning forgets, and what is mistaken for what."""
    if "forgetting" not in drawn.specs:
        return ""
    series = list(dict.fromkeys(row["series"] for row in drawn.datasets["forgetting"]))
    picks = list(dict.fromkeys(row["pick"] for row in drawn.datasets["confusion"]))
    pruned = [pick for pick in picks if not pick.startswith("dense")] or picks
    always = {(row["series"], row["left"]): f"{row['always']:,}" for row in drawn.datasets["forgotten"]}
    lefts = list(dict.fromkeys(row["left"] for row in sorted(drawn.datasets["forgotten"], key=lambda row: row["level"])))
    rows: list[tuple[str | None, list[str]]] = [(name, [text(name), *(always.get((name, left), "") for left in lefts)]) for name in series]
    heads = [("weights left", False), *((left, True) for left in lefts)]
    first = drawn.datasets["forgotten"][0]
    caption = f"Of {first['examples']:,} test examples, how many every dense network gets right and every ticket gets wrong"
    return (
        "<section><h2>What pruning forgets</h2><p class=lead>An average can stay while a class goes. Recall of each class against "
        "the dense network, in points; paired by replicate.</p>"
        '<div class="pick">'
        + markup.select(index, "forgetting", "series", "Arm", {name: name for name in series})
        + "</div>"
        + markup.figure(
            index, "forgetting", "Chart: change of each class's recall by density", "Point at a cell for its interval.", series=series[0]
        )
        + markup.lazy_table(index, "forgetting", "Recall by class as a table")
        + markup.table(caption, heads, rows)
        + "<h3>What is taken for what</h3>"
        + '<div class="two"><div><p class="pick ui">dense</p>'
        + markup.figure(index, "confusion", "Chart: confusion matrix of the dense network", "Percent of the true class.", series=picks[0])
        + '</div><div><div class="pick">'
        + markup.select(index, "confusion-pruned", "series", "Network", {pick: pick for pick in pruned})
        + "</div>"
        + markup.figure(
            index, "confusion-pruned", "Chart: confusion matrix of a pruned network", "Percent of the true class.", series=pruned[0]
        )
        + "</div></div>"
        + markup.lazy_table(index, "confusion", "Confusion as a table")
        + "</section>"
    )


def weights(index: int, drawn: Drawn) -> str:
    """What the weights look like, and for text what the embedding holds near a word."""
    if "histograms" not in drawn.specs:
        return ""
    parameters = list(dict.fromkeys(row["parameter"] for row in drawn.datasets["histograms"]))
    parts = [
        "<section><h2>Inside the network</h2><div class=two><div>",
        '<div class="pick">' + markup.select(index, "histograms", "series", "Parameter", {name: name for name in parameters}) + "</div>",
        markup.figure(index, "histograms", "Chart: distribution of a parameter's kept weights", "One replicate.", series=parameters[0]),
        "</div><div>",
    ]
    if "heat" in drawn.specs:
        picks = list(dict.fromkeys(row["pick"] for row in drawn.datasets["heat"]))
        caption = "Root mean square over blocks; what is dark is pruned or small. One replicate."
        parts.append('<div class="pick">' + markup.select(index, "heat", "series", "Matrix", {pick: pick for pick in picks}) + "</div>")
        parts.append(markup.figure(index, "heat", "Chart: magnitudes of a weight matrix", caption, series=picks[0]))
    parts.append("</div></div>" + markup.lazy_table(index, "histograms", "Histograms as a table"))
    if "radar" in drawn.specs:
        labels = list(dict.fromkeys(row["pick"] for row in drawn.datasets["radar"]))
        rows = [
            (None, [text(row["word"]), text(row["label"]), text(row["near"])])
            for row in sorted(drawn.datasets["neighbours"], key=lambda row: row["word"])
        ]
        heads = [("word", False), ("network", False), ("nearest words, with cosine", False)]
        parts += [
            '<h3>Words</h3><div class="two"><div><div class="pick">',
            markup.select(index, "radar", "series", "Network", {label: label for label in labels}),
            "</div>",
            markup.figure(
                index, "radar", "Chart: embeddings of two words", "An axis a dimension; the inner ring is zero.", series=labels[0]
            ),
            "</div><div>",
            markup.table("Nearest words before and after pruning", heads, rows),
            "</div></div>",
        ]
    return "".join(parts) + "</section>"
