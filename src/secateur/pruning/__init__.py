"""Scores, scopes, units, schedules, dynamic sparsity, and what training rewinds to."""
