"""Tests of the pages, with requests in this process and with a real browser."""
