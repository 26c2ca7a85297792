"""Solution formats beyond a mapping of columns: every module except `base` is a plugin."""
