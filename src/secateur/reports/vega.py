"""The plotting library that a page carries: Vega, Vega-Lite and Vega-Embed as one script, made offline and kept in the cache."""

from __future__ import annotations

import os
import tempfile
from importlib.metadata import version
from pathlib import Path

_NOTICE = (
    "/*! Vega, Vega-Lite and Vega-Embed, copyright University of Washington Interactive Data Lab, BSD-3-Clause; https://vega.github.io */\n"
)
_COMPLETE = "\n/* complete */"


def bundle(cache: Path | None = None) -> str:
    """The script (about 0.9 MB) that sets `window.vegaEmbed`. Making it takes a second, so it is kept in `cache`."""
    import platformdirs
    import vl_convert

    folder = cache if cache is not None else Path(platformdirs.user_cache_dir("secateur"))
    kept = folder / f"vega-{version('vl-convert-python')}.js"
    if kept.is_file():
        text = kept.read_text(encoding="utf-8")
        if text.startswith(_NOTICE) and text.endswith(_COMPLETE):
            return text
    text = _NOTICE + str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")).replace("</script", "<\\/script") + _COMPLETE
    _keep(kept, text)
    return text


def _keep(path: Path, text: str) -> None:
    """Write aside and rename, so that no other process reads half a script; a cache that cannot be written is no error."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, aside = tempfile.mkstemp(dir=path.parent, prefix=path.name)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(aside, path)
    except OSError:
        return
