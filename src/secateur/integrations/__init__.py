"""Secateur beside other tools: experiment trackers. Each needs its optional package, imported only when it is used."""
