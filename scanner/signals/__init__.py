"""Published memorization signals as pure functions on tensors, one equation each."""
