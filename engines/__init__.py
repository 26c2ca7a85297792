"""Doors to a language model: one file per engine. The only room that knows vLLM."""
