"""Recorded results that hold the behaviour of the code to the last digit (see README.md)."""
