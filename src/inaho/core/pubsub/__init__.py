"""Topics, subscriptions and their delivery policies."""
