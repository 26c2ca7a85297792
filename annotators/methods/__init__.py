"""Labelling methods: every module is a plugin."""
