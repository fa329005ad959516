"""The street world."""
