"""Word problems: their stories, the language of their steps, and the oracle.

The oracle deliberately shares no code with `verifiers`. It is the reference for the labels that
verifiers produce; with shared code, a bug would appear on both sides and confirm itself.
"""
