"""Tests of the package `stepmark`."""
