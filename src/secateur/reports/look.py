"""One look for page and figures: fonts, colours for light and dark, and the Vega-Lite configuration made of them.

Charts name colours as CSS variables, `var(--ink)`: in the page the style sheet gives them their value, so that switching
to dark or printing needs no redrawing; for static figures `resolved` writes the light value in their place.
"""

from __future__ import annotations

import re
from typing import Any

SANS = "Inter, 'Segoe UI', 'Helvetica Neue', 'Liberation Sans', Arial, sans-serif"
FIGURE_FONT = "Liberation Sans, Helvetica, Arial, DejaVu Sans, sans-serif"

LIGHT = {
    "paper": "#fdfcfa",
    "panel": "#f5f3ee",
    "ink": "#1c2127",
    "muted": "#5c6570",
    "line": "#dcd8cf",
    "accent": "#0b6e69",
    "wins": "#0b6e4f",
    "matches": "#3f7d33",
    "unclear": "#8a6100",
    "loses": "#b02a1f",
    "arm-0": "#0b7a75",
    "arm-1": "#6a4fb3",
    "arm-2": "#c2571a",
    "arm-3": "#1d6fd1",
    "arm-4": "#b3316f",
    "arm-5": "#6b7a12",
    "arm-6": "#8a5a2b",
    "arm-7": "#4d5b6a",
}
DARK = {
    "paper": "#14171b",
    "panel": "#1c2026",
    "ink": "#e9e6df",
    "muted": "#a2a9b3",
    "line": "#343a43",
    "accent": "#4cc5bb",
    "wins": "#4fd0a0",
    "matches": "#93cf83",
    "unclear": "#e2b34f",
    "loses": "#ff8a7d",
    "arm-0": "#45c4bb",
    "arm-1": "#b09af5",
    "arm-2": "#f2a067",
    "arm-3": "#74b0fa",
    "arm-4": "#f287b9",
    "arm-5": "#bccb52",
    "arm-6": "#d6ab80",
    "arm-7": "#a7b6c6",
}
ARM_COLOURS = 8
SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "triangle-right", "triangle-left")
DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3])
# from dense to sparse: blue over violet to amber, each readable on light and on dark paper
_RAMP = ((58, 110, 190), (122, 92, 190), (186, 80, 140), (206, 98, 66), (196, 140, 30))


def arm_colour(index: int) -> str:
    """The colour of the arm at this place, as a CSS variable; places beyond the palette start over (shape and dash differ)."""
    return f"var(--arm-{index % ARM_COLOURS})"


def ramp(steps: int) -> list[str]:
    """`steps` colours from dense to sparse, as hex."""
    colours = []
    for index in range(steps):
        place = index / max(1, steps - 1) * (len(_RAMP) - 1)
        low = min(int(place), len(_RAMP) - 2)
        mixed = (round(a + (b - a) * (place - low)) for a, b in zip(_RAMP[low], _RAMP[low + 1], strict=True))
        colours.append("#" + "".join(f"{channel:02x}" for channel in mixed))
    return colours


def style_sheet_colours() -> str:
    """The CSS that gives each colour variable its value in light, in dark and on paper."""
    light, dark = _declarations(LIGHT), _declarations(DARK)
    return (
        f":root{{color-scheme:light;{light}}}\n"
        f"@media (prefers-color-scheme:dark){{:root:not([data-theme=light]){{color-scheme:dark;{dark}}}}}\n"
        f":root[data-theme=dark]{{color-scheme:dark;{dark}}}\n"
        f"@media print{{:root,:root[data-theme=dark],:root:not([data-theme=light]){{color-scheme:light;{light}--paper:#fff}}}}\n"
    )


def vega_config(font: str = SANS) -> dict[str, Any]:
    """The Vega-Lite configuration of every chart."""
    return {
        "background": "transparent",
        "font": font,
        "padding": 4,
        "view": {"stroke": None},
        "axis": {
            "domainColor": "var(--line)",
            "tickColor": "var(--line)",
            "gridColor": "var(--line)",
            "gridOpacity": 0.6,
            "labelColor": "var(--muted)",
            "titleColor": "var(--muted)",
            "labelFontSize": 12,
            "titleFontSize": 12,
            "titleFontWeight": "normal",
            "titlePadding": 8,
            "labelPadding": 5,
        },
        "axisX": {"grid": False},
        "header": {
            "labelColor": "var(--ink)",
            "titleColor": "var(--muted)",
            "labelFontSize": 12,
            "titleFontSize": 12,
            "titleFontWeight": "normal",
        },
        "legend": {
            "labelColor": "var(--ink)",
            "titleColor": "var(--muted)",
            "labelFontSize": 12,
            "titleFontSize": 12,
            "titleFontWeight": "normal",
        },
        "title": {"color": "var(--ink)", "fontSize": 13, "fontWeight": "normal", "anchor": "start"},
        "text": {"color": "var(--ink)"},
        "line": {"strokeWidth": 2},
    }


def resolved(spec: Any) -> Any:
    """The spec with every `var(--name)` replaced by its light colour: for static figures."""
    if isinstance(spec, dict):
        return {key: resolved(value) for key, value in spec.items()}
    if isinstance(spec, list):
        return [resolved(value) for value in spec]
    if isinstance(spec, str):
        return re.sub(r"var\(--([a-z0-9-]+)\)", lambda match: LIGHT[match[1]], spec)
    return spec


def _declarations(colours: dict[str, str]) -> str:
    return "".join(f"--{name}:{value};" for name, value in colours.items())
