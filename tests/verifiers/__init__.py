"""Tests of the package `verifiers`."""
