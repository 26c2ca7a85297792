"""Data for generative verifiers: models that reply to a request with verdicts on the steps."""
