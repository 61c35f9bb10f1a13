"""Back ends of providers as the conformance suite and the list of faults need them, one module for each."""
