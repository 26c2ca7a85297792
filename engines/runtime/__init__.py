"""Helpers that run models and requests for the engine plugins."""
