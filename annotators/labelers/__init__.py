"""Labelers turn annotations into training labels: every module is a plugin."""
