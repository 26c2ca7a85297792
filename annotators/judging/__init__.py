"""Requests to LLM judges and the parsing of their replies."""
