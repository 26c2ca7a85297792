"""Sources of problems: every module except `base` is a plugin."""
