"""PR-2 and PR-5.3: any history of three providers keeps the promises of the feed (`support.feed_rules`)."""

from __future__ import annotations

from hypothesis import settings

from support.feed_rules import FeedRules

TestFeed = FeedRules.TestCase
TestFeed.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
