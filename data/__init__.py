"""Data sets, clips, features and caches."""
