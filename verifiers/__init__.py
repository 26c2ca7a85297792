"""Deciders of claims: no model, no network; three-valued, and an unknown is never a negative."""
