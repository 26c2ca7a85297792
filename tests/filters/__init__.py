"""Tests of the package `filters`."""
