"""What `code` is made of: a process with two locks on it, and what runs in there."""
