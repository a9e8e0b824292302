"""From a store to something to look at: tables, figures, the HTML page."""
