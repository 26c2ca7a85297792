"""The pages of `stepmark view`: what a dataset contains, and why each step has its label."""
