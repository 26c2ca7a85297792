"""Word problems: stories and the language of their steps."""
