"""Judging what was trained: which questions are asked of it, what has been answered, and how that is shown."""
