"""Helpers of the `code` verifier: the sandbox, and the roles that run inside it."""
