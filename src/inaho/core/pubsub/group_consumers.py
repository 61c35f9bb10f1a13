"""The consumers of one subscription of one partition: whose turn it is, and what they had before the keeper moved.

A keeper that begins knows nothing of deliveries under way. A consumer that comes back names what it has, its *claims*:
when those messages are read, they are not delivered to anybody else.
"""

from __future__ import annotations

from inaho.core.pubsub.delivery_entries import GroupConsumer

__all__ = ["GroupConsumers"]


class GroupConsumers:
    """Consumers by name, the oldest first, and their claims.

    Attributes:
        by_name: the consumers.
        claims: name of the consumer and attempt, by offset.
    """

    __slots__ = ("_rotation", "by_name", "claims")

    def __init__(self) -> None:
        self.by_name: dict[str, GroupConsumer] = {}
        self.claims: dict[int, tuple[str, int]] = {}
        self._rotation: list[GroupConsumer] = []

    def add(self, name: str) -> GroupConsumer:
        """A new consumer, last in turn."""
        consumer = self.by_name[name] = GroupConsumer(name)
        self._rotation.append(consumer)
        return consumer

    def remove(self, name: str) -> GroupConsumer | None:
        """A consumer has ended; its claims are void."""
        consumer = self.by_name.pop(name, None)
        if consumer is not None:
            self._rotation.remove(consumer)
            self.forget_claims(consumer)
        return consumer

    def forget_claims(self, consumer: GroupConsumer) -> None:
        """It has none of the messages that it has claimed."""
        for offset in [offset for offset, (owner, _) in self.claims.items() if owner == consumer.name]:
            del self.claims[offset]
        consumer.claimed = 0

    def claim(self, consumer: GroupConsumer, offset: int, attempt: int) -> bool:
        """Notes that it has a message. Returns False if another one said so before."""
        if offset in self.claims:
            return False
        self.claims[offset] = (consumer.name, attempt)
        consumer.claimed += 1
        return True

    def settle_claim(self, name: str, offset: int, attempt: int) -> bool:
        """A consumer says what has become of a message. Returns whether it had claimed it; the claim has ended then."""
        return self.claims.get(offset) == (name, attempt) and self.drop_claim(offset) is not None

    def drop_claim(self, offset: int) -> tuple[GroupConsumer, int] | None:
        """Forgets a claim. Returns who had it, and the attempt."""
        claim = self.claims.pop(offset, None)
        if claim is None:
            return None
        consumer = self.by_name[claim[0]]
        consumer.claimed -= 1
        return consumer, claim[1]

    def give_back(self, name: str, offset: int, attempt: int) -> bool:
        """A consumer gives back what it has claimed. Returns False if it has not."""
        if self.claims.get(offset) != (name, attempt):
            return False
        self.drop_claim(offset)
        return True

    def end_claims(self, before: int | None) -> None:
        """Ends the claims of messages before that offset, or all, and tells who has them."""
        for offset in [offset for offset in self.claims if before is None or offset < before]:
            claim = self.drop_claim(offset)
            if claim is not None:
                claim[0].over.append((offset, claim[1]))

    def can_take(self, consumer: GroupConsumer) -> bool:
        """Whether it may get a message now."""
        if consumer.credit_left <= 0:
            return False
        first = next(iter(self.by_name.values()))
        return consumer is first or not (first.exclusive or consumer.exclusive)

    def pick(self) -> GroupConsumer | None:
        """The next one in turn that may get a message; it is the last one in turn then."""
        rotation = self._rotation
        if len(rotation) == 1:  # what most subscriptions have, for each message
            return rotation[0] if rotation[0].credit_left > 0 else None
        for at, consumer in enumerate(rotation):
            if self.can_take(consumer):
                del rotation[at]
                rotation.append(consumer)
                return consumer
        return None

    def check(self) -> None:
        """Asserts that claims and turns agree with the consumers."""
        assert sorted(consumer.name for consumer in self._rotation) == sorted(self.by_name)
        for consumer in self.by_name.values():
            claimed = sum(owner == consumer.name for owner, _ in self.claims.values())
            assert consumer.claimed == claimed, f"{consumer.claimed} counted, {claimed} claimed"
