"""What `verifiers.answers` is made of."""
