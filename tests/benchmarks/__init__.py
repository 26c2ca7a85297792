"""Tests of the benchmarks' helpers; the benchmarks themselves run with `make bench`."""
