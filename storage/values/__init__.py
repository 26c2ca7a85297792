"""Values of steps, derived from what is stored: one formula a file, in SQL; no new token."""
