"""Annotation methods: every module is a plugin."""
