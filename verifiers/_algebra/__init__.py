"""What `verifiers.algebra` is made of."""
