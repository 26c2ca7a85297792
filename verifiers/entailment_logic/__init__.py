"""What `verifiers.entailment` is made of."""
