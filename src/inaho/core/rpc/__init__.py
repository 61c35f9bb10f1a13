"""Rules of a call: schema agreement, retries, turns and deadlines."""
