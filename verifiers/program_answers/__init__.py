"""Answers as programs and computer algebra systems print them: reading, proofs, judgements."""
