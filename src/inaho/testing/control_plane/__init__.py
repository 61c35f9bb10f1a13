"""Control planes without runtime, simulated by hundreds, and the checkers of what must hold of them."""
