"""Reserved: topics, subscriptions and their delivery policies."""
