"""Scores of methods and labels against gold first errors."""
