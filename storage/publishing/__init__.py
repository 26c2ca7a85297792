"""Exports of a dataset to folders and to the Hugging Face Hub."""
