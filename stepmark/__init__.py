"""The vocabulary of Stepmark: records, plugin loading, identity and errors. Imports nothing of ours."""
