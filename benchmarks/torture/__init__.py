"""Kill a run at random moments, restart it, and compare the result with an undisturbed run."""
