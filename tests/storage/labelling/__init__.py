"""Tests of labels by hand: journals, drafts, and the annotations made from them."""
