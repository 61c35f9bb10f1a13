"""Any history of providers, and a checker of what their feed yields: order, fail-over, health.

The checker keeps its own, plain account of each provider. Time goes on to the deadlines that the feed names; between
them the feed is not asked, so a deadline that it forgets is found.
"""

from __future__ import annotations

from hypothesis.stateful import RuleBasedStateMachine, rule
from hypothesis.strategies import booleans, frozensets, integers, permutations, sampled_from

from inaho.config import ProvisioningConfig
from inaho.core.provisioning.snapshot import ProviderMember, ProviderSnapshot, snapshot_hash
from inaho.core.provisioning.topology_feed import TopologyFeed, Update
from inaho.errors import ProviderInvalid, ProviderUnreachable
from inaho.events import (
    ProviderChanged,
    ProviderHealthChanged,
    ProviderTerminated,
    ProvisioningRestored,
    ProvisioningUnavailable,
)

__all__ = ["CONFIG", "FeedRules", "Promise"]

CONFIG = ProvisioningConfig()
NAMES = ("a", "b", "c")
ERRORS = (ProviderUnreachable("it refuses connections"), ProviderInvalid("the token is refused"))
LONG_AGO = float("-inf")


class Promise(AssertionError):  # noqa: N818  what the feed promises
    """A promise of the feed is broken."""


def promise(kept: bool, what: str) -> None:
    if not kept:
        raise Promise(what)


class Account:
    """What was reported of one provider."""

    def __init__(self, now: float) -> None:
        self.began = now
        self.answered: float | None = None
        self.took_s = 0.0
        self.errors = 0
        self.counted = now
        self.found: tuple[tuple[ProviderMember, ...], tuple[str, ...]] | None = None
        self.told = "starting"
        self.codes: list[str] = []
        self.up_since: float | None = None

    def state(self, now: float) -> str:
        if self.answered is None:
            return "down" if self.errors or now >= self.began + CONFIG.timeout_s else "starting"
        if now >= self.answered + CONFIG.timeout_s or self.errors >= CONFIG.errors_max:
            return "down"
        return "degraded" if self.errors or self.took_s > CONFIG.delay_max_s else "up"


class FeedRules(RuleBasedStateMachine):
    """Three providers at most; see the module."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.feed = TopologyFeed(CONFIG, 8, "shop")
        self.accounts: dict[str, Account] = {}
        self.used = ""
        self.changed_at = LONG_AGO
        self.unavailable = False
        self.last: ProviderSnapshot | None = None
        self.closed = False
        self.set_providers(list(NAMES), frozenset(), 3)

    # What happens.

    @rule(order=permutations(NAMES), renewed=frozensets(sampled_from(NAMES), max_size=1), count=integers(0, 3))
    def set_providers(self, order: list[str], renewed: frozenset[str], count: int) -> None:
        before = self.accounts
        self.accounts = {
            name: before[name] if name in before and name not in renewed else Account(self.now)
            for name in order[:count]
        }
        self.take(self.feed.set_providers(self.now, tuple(self.accounts), renewed))

    @rule(name=sampled_from(NAMES), ports=frozensets(integers(1, 3)), took_s=sampled_from((0.0, 0.0, 6.0)))
    def read(self, name: str, ports: frozenset[int], took_s: float) -> None:
        members = tuple(ProviderMember(f"10.0.0.1:{port}") for port in sorted(ports, reverse=True))
        account = self.accounts.get(name)
        if account is not None:
            account.answered, account.took_s, account.errors = self.now, took_s, 0
            account.found = members[::-1], ()
            account.codes.clear()
        self.take(self.feed.read(self.now, name, members, (), took_s))

    @rule(name=sampled_from(NAMES), member=sampled_from((ProviderMember("x"), ProviderMember("y:1", cluster="z"))))
    def read_of_another_cluster(self, name: str, member: ProviderMember) -> None:
        self.count_failure(name)
        self.take(self.feed.read(self.now, name, (ProviderMember("10.0.0.1:1"), member)))

    @rule(name=sampled_from(NAMES))
    def alive(self, name: str) -> None:
        account = self.accounts.get(name)
        if account is not None and account.state(self.now) in ("up", "degraded"):
            account.answered = self.now
        self.take(self.feed.alive(self.now, name))

    @rule(name=sampled_from(NAMES), error=sampled_from(ERRORS))
    def fail(self, name: str, error: ProviderUnreachable | ProviderInvalid) -> None:
        self.count_failure(name)
        self.take(self.feed.failed(self.now, name, error))

    def count_failure(self, name: str) -> None:
        account = self.accounts.get(name)
        if account is not None and (not account.errors or self.now - account.counted >= CONFIG.back_off_min_s / 2):
            account.errors, account.counted = account.errors + 1, self.now

    @rule(name=sampled_from(NAMES), returns=booleans())
    def go_down(self, name: str, returns: bool) -> None:
        for _ in range(CONFIG.errors_max):
            self.fail(name, ERRORS[0])
            self.wait(2)
        if returns:
            self.read(name, frozenset({1}), 0.0)

    @rule(halves=integers(1, 40))
    def wait(self, halves: int) -> None:
        until = self.now + halves / 2
        while (due := self.feed.next_deadline()) is not None and due <= until:
            promise(due > self.now, "a deadline that is over is not named again")
            self.now = due
            self.take(self.feed.poll(self.now))
        self.now = until
        self.look()

    @rule(halves=integers(8, 30))
    def wait_while_all_answer(self, halves: int) -> None:
        for _ in range(halves):
            self.wait(1)
            for name, account in list(self.accounts.items()):
                if account.found is not None:
                    self.read(name, frozenset(int(one.authority[-1]) for one in account.found[0]), 0.0)

    def teardown(self) -> None:
        self.feed.close()
        self.closed, last = True, self.feed.last
        for name in self.accounts:
            self.read(name, frozenset({2}), 0.0)
            self.fail(name, ERRORS[1])
        promise(self.feed.next_deadline() is None, "a closed feed is not asked again")
        promise(self.feed.last is last, "the last snapshot stays")

    # What was yielded.

    def take(self, updates: list[Update]) -> None:
        promise(not (self.closed and updates), "a closed feed yields nothing")
        for account in self.accounts.values():
            if account.state(self.now) != "up":
                account.up_since = None
            elif account.up_since is None:
                account.up_since = self.now
        expects = ""
        for update in updates:
            if expects:
                promise(isinstance(update, ProviderSnapshot), "a change is followed by a snapshot")
                expects = ""
            if isinstance(update, ProviderSnapshot):
                self.take_snapshot(update)
            elif isinstance(update, ProviderChanged):
                self.take_change(update)
                expects = update.provider
            elif isinstance(update, ProviderTerminated):
                account = self.accounts[update.provider]
                promise(update.code not in account.codes, "an interruption is told once for each kind of failure")
                account.codes.append(update.code)
                self.is_at_last(update)
            elif isinstance(update, ProviderHealthChanged):
                self.accounts[update.provider].told = update.state
            elif isinstance(update, ProvisioningUnavailable):
                promise(not self.unavailable, "a loss of all providers is told once")
                promise(all(one.state(self.now) == "down" for one in self.accounts.values()), "all are down")
                self.unavailable = True
                self.is_at_last(update)
            else:
                promise(isinstance(update, ProvisioningRestored) and self.unavailable, "a return follows a loss")
                promise(update.provider == self.used, "the provider in use has returned")
                self.unavailable = False
        promise(not expects, "a change is followed by a snapshot")
        self.look()

    def take_snapshot(self, snapshot: ProviderSnapshot) -> None:
        last = self.last
        promise(snapshot.seq_no == (0 if last is None else last.seq_no) + 1, "seq_no goes up by one")
        promise(snapshot.provider == self.used, "snapshots come from the provider in use")
        promise((snapshot.members, snapshot.blocked_nodes) == self.accounts[self.used].found, "it is the newest read")
        promise(snapshot.hash == snapshot_hash(snapshot.members, snapshot.blocked_nodes), "the hash is its own")
        repeated = last is not None and (last.provider, last.hash) == (snapshot.provider, snapshot.hash)
        promise(not repeated, "an equal snapshot is not repeated")
        self.last = snapshot

    def take_change(self, change: ProviderChanged) -> None:
        promise(change.previous == self.used != change.provider, "a change names the provider before")
        promise(self.accounts[change.provider].state(self.now) in ("up", "degraded"), "one that answers is chosen")
        self.is_at_last(change)
        if change.previous in self.accounts:
            promise(self.now >= self.changed_at + CONFIG.cool_down_s, "one change in a cool-down")
            self.changed_at = self.now
        self.used = change.provider

    def is_at_last(self, update: ProviderChanged | ProviderTerminated | ProvisioningUnavailable) -> None:
        last = (0, 0) if self.last is None else (self.last.seq_no, self.last.hash)
        promise((update.seq_no, update.hash) == last, "a notice has the position of the last snapshot")

    def look(self) -> None:
        """What holds at any time, whether something was yielded or not."""
        self.feed.check()
        promise(self.feed.last == self.last, "the last snapshot stays")
        if self.closed:
            return
        states = {name: account.state(self.now) for name, account in self.accounts.items()}
        promise({name: one.told for name, one in self.accounts.items()} == states, "each change of health is told")
        free = self.used not in states or self.now >= self.changed_at + CONFIG.cool_down_s
        active = self.feed.active
        promise(not active or (active == self.used and not self.unavailable), "the active provider is the one in use")
        if active and states[active] != "down":
            for name in list(states)[: list(states).index(active)]:
                since = self.accounts[name].up_since
                waits = since is None or self.now < since + CONFIG.cool_down_s or not free
                promise(waits, "a higher one that stays up is used again")
            return
        up_since = min((one.up_since for one in self.accounts.values() if one.up_since is not None), default=self.now)
        starting = self.used not in states and self.now < up_since + CONFIG.delay_max_s
        for name, state in states.items():
            if starting and state == "starting":
                break
            usable = state in ("up", "degraded") and (free or name == self.used)
            promise(not usable or (state == "degraded" and starting), "one that is up is used at once")
        if all(state == "down" for state in states.values()):
            promise(self.unavailable and not active, "the loss of all providers is told")
