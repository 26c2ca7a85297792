"""Shared vocabulary: records, plugin loading, identity and errors. Imports no other package."""
