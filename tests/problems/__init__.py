"""Tests of the problems package."""
