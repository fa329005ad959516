"""Everything that needs Ray, and nothing else does."""
