"""Sources of problems: every module but `base` is a plugin."""
