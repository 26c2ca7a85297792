"""The commands of `stepmark`, one per module."""
