"""The loop, optimisers, schedules, checkpoints, and what acts at the loop's named points."""
