"""Rules of a call: order of turns, deadlines, retries, limits of warnings."""
