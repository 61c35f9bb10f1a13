"""The providers of one node: those of the configuration, and those that were added while it ran (SPEC PR-1, PR-5).

A change is validated first, then written to the file, then made in one step: who asks has the old set or the new set
(SPEC PR-5.4). What fails changes nothing. A provider that lacks a needed capability is kept, `disabled` with the
reason, because it would otherwise have to be added again when the needs change.

Validation that fails again and again is suspended for a while (SPEC PR-5.2): each attempt costs connections and log-ins
at a server that refuses them, and a server may lock an account for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Generator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

from inaho.config import ProviderDescriptor, ProvisioningConfig
from inaho.core.provisioning.descriptor import Capabilities
from inaho.errors import ProviderInvalid, ProviderStreamFailed, ProviderUnreachable, ShuttingDown
from inaho.events import (
    Event,
    ProviderDisabled,
    ProviderRegistered,
    ProviderRemoved,
    ProviderValidationSuspended,
)
from inaho.providers.base import TopologyProvider
from inaho.providers.registered import DefinitionStore, Owner, RegisteredProvider, named, registered
from inaho.providers.validator import ProviderValidator, missing_capabilities

__all__ = ["ProviderRegistry"]

START_CHECK_S: Final = 2.0
"""How long a starting node waits for the checks of its providers. Their streams ask on anyway."""

_log: Final = logging.getLogger("inaho.providers")


class ProviderRegistry:
    """The set of providers of one node.

    Args:
        validator: makes and checks providers.
        store: keeps what is added while the node runs; None for a node without a folder.
        config: `providers_max`, `validation_failures_max`, `suspension_s`.
        needed: capabilities that the node needs of each provider.
        now: the time in seconds.
        publish: takes events.
        changed: called with the new set after each change, in the same step. What is not in it any more is to be closed
            by who is called, after its stream.
    """

    def __init__(
        self,
        validator: ProviderValidator,
        store: DefinitionStore | None,
        config: ProvisioningConfig,
        needed: Capabilities,
        *,
        now: Callable[[], float],
        publish: Callable[[Event], None],
        changed: Callable[[tuple[RegisteredProvider, ...]], None],
    ) -> None:
        self._validator = validator
        self._store = store
        self._config = config
        self._needed = needed
        self._now = now
        self._publish = publish
        self._changed = changed
        self._registered: tuple[RegisteredProvider, ...] = ()  # in the order of registration
        self._changing = asyncio.Lock()
        self._failures = 0
        self._suspended_until = float("-inf")
        self._closed = False

    @property
    def providers(self) -> tuple[RegisteredProvider, ...]:
        """All providers, the one of highest priority first; equal ones in the order in which they were registered."""
        return tuple(sorted(self._registered, key=lambda each: each.priority))

    async def open(self, given: Sequence[str | ProviderDescriptor | TopologyProvider]) -> None:
        """Makes the set of a node that starts: the configuration, then what the file has.

        A back end that is down is no error: it may come up. A definition in the file that is not valid any more is
        disabled; one whose name the configuration has is not used, and stays in the file.

        Args:
            given: URLs, definitions and objects, the most important first among equal priorities. An object of a
                program has the priority 0.

        Raises:
            ProviderInvalid: some of the configuration are not valid; the reason names all.
            ProviderStoreDamaged, ProviderStoreFailed: as `FileProviderStore.load`.
        """
        stored = await self._store.load() if self._store is not None else ()
        definitions = named(given)
        names = [getattr(each, "name", "") for each in definitions]
        for definition in stored:
            if definition.name in names and definition not in definitions:
                _log.warning("the added provider %s is not used: the configuration has its name", definition.name)
        works = [self._at_start(each, Owner.CONFIGURATION) for each in definitions]
        works += [self._at_start(each, Owner.STORE) for each in stored if each.name not in names]
        found = await self._all(works)
        await self._commit((), found, write=False)

    async def add(self, definition: ProviderDescriptor | TopologyProvider, *, priority: int = 0) -> RegisteredProvider:
        """Adds a provider while the node runs. Its back end must be reachable.

        If the caller is cancelled while the definition is written, it is added all the same.

        Args:
            definition: of the provider, kept over restarts; or an object, which is not.
            priority: of an object; a definition has its own.

        Raises:
            ProviderInvalid: the definition is not valid, its name is taken, there are too many providers, or too many
                definitions in a row were not valid (SPEC PR-5.2).
            ProviderUnreachable, ProviderStreamFailed: its back end cannot be reached, or answers strangely.
            ProviderStoreDamaged, ProviderStoreFailed: it cannot be written to the file.
            ShuttingDown: the node leaves.
        """
        async with self._changing:
            with self._counted():
                self._after((), [getattr(definition, "name", "")])
                [candidate] = await self._all([self._candidate(definition, priority)])
                await self._commit((), [candidate])
        return candidate

    async def remove(self, name: str) -> None:
        """Removes a provider that was added while the node ran.

        Raises:
            ProviderInvalid: there is no such provider, or the configuration has it.
            ProviderStoreDamaged, ProviderStoreFailed: the file cannot be written.
        """
        async with self._changing:
            await self._commit([name], [])

    async def replace_all(self, definitions: Sequence[ProviderDescriptor]) -> None:
        """Replaces all definitions that were added while the node ran by these, in one step (SPEC PR-5.4).

        Those of the configuration, and objects, stay. A definition that is in both sets keeps its connection.

        Raises:
            ProviderError: as `add`; the old set stays.
        """
        async with self._changing:
            with self._counted():
                old = {each.name: each for each in self._registered if each.owner is Owner.STORE}
                self._after(list(old), [each.name for each in definitions])
                found = await self._all([self._candidate(each, old=old.get(each.name)) for each in definitions])
                await self._commit(list(old), found)

    def close(self) -> None:
        """The node leaves: nothing is added or removed any more. The back ends are closed by who uses them."""
        self._closed = True

    # Candidates.

    async def _at_start(self, definition: ProviderDescriptor | TopologyProvider, owner: Owner) -> RegisteredProvider:
        """One provider of a node that starts."""
        try:
            return await self._made(definition, owner, START_CHECK_S, required=False)
        except ProviderInvalid as error:
            if owner is Owner.CONFIGURATION or not isinstance(definition, ProviderDescriptor):
                raise
            return registered(definition, owner, None, definition.priority, error.reason)

    async def _candidate(
        self,
        definition: ProviderDescriptor | TopologyProvider,
        priority: int = 0,
        old: RegisteredProvider | None = None,
    ) -> RegisteredProvider:
        """A provider that is valid and reachable; the old one if it has the same definition."""
        if old is not None and old.definition == definition and old.provider is not None:
            return old
        owner = Owner.STORE if isinstance(definition, ProviderDescriptor) else Owner.PROGRAM
        return await self._made(definition, owner, None, required=True, priority=priority)

    async def _made(
        self,
        definition: ProviderDescriptor | TopologyProvider,
        owner: Owner,
        within_s: float | None,
        *,
        required: bool,
        priority: int = 0,
    ) -> RegisteredProvider:
        """Makes and checks a provider. One that lacks a capability is not checked: nothing will connect it."""
        if isinstance(definition, ProviderDescriptor):
            provider, priority = await self._validator.make(definition), definition.priority
        else:
            provider = self._validator.examine(definition)
        lacking = missing_capabilities(self._needed, provider.capabilities)
        if lacking:
            await self._validator.close(provider)
            return registered(definition, owner, None, priority, f"the node needs {lacking}, which it does not have")
        try:
            await self._validator.check(provider, within_s)
        except (ProviderUnreachable, ProviderStreamFailed) as error:
            if required:
                await self._validator.close(provider)
                raise
            _log.warning("the provider %s does not answer yet: %s", definition.name, error.reason)
        except BaseException:
            await self._validator.close(provider)
            raise
        return registered(definition, owner, provider, priority)

    async def _all(self, works: Sequence[Coroutine[Any, Any, RegisteredProvider]]) -> list[RegisteredProvider]:
        """The results, in order. If some fail, what the others have made is closed."""
        tasks = [asyncio.create_task(work) for work in works]
        try:
            if tasks:
                await asyncio.wait(tasks)
            _raise_together([error for task in tasks if (error := task.exception()) is not None])
        except BaseException:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            await self._close([each for each in results if isinstance(each, RegisteredProvider)])
            raise
        return [task.result() for task in tasks]

    async def _close(self, entries: Sequence[RegisteredProvider]) -> None:
        """Closes the back ends of those that are not in the set."""
        for each in entries:
            if each.provider is not None and all(each.provider is not other.provider for other in self._registered):
                await self._validator.close(each.provider)

    @contextmanager
    def _counted(self) -> Generator[None]:
        """Counts definitions in a row that are not valid, and refuses further ones for a while (SPEC PR-5.2)."""
        left_s = self._suspended_until - self._now()
        if left_s > 0:
            raise ProviderInvalid(
                f"no provider is accepted for another {left_s:.1f} s, because "
                f"{self._config.validation_failures_max} definitions in a row were not valid"
            )
        try:
            yield
        except ProviderInvalid as error:
            self._failures += 1
            if self._failures >= self._config.validation_failures_max:
                failures, self._failures = self._failures, 0
                self._suspended_until = self._now() + self._config.suspension_s
                self._publish(
                    ProviderValidationSuspended(failures=failures, for_s=self._config.suspension_s, reason=error.reason)
                )
            raise
        self._failures = 0

    # The change.

    async def _commit(self, remove: Sequence[str], add: Sequence[RegisteredProvider], *, write: bool = True) -> None:
        """Makes a change to its end, even if the caller is cancelled meanwhile: the file and the set stay equal."""
        work = asyncio.create_task(self._change(remove, add, write))
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            while not work.done():
                with suppress(asyncio.CancelledError):  # raised again below
                    await asyncio.wait({work})
            raise

    async def _change(self, remove: Sequence[str], add: Sequence[RegisteredProvider], write: bool) -> None:
        try:
            if self._closed:
                raise ShuttingDown("the node leaves, and takes no change of its providers")
            kept = self._after(remove, [each.name for each in add])
            if write and self._store is not None:
                dropped = [each.name for each in self._registered if each.name in remove and each.definition]
                written = [each.definition for each in add if each.definition is not None]
                if dropped or written:
                    await self._store.change(remove=dropped, add=written)
        except BaseException:
            await self._close(add)
            raise
        if self._closed:  # it left while the file was written: the next start has the change
            await self._close(add)
            return
        before = self._registered
        self._registered = (*kept, *add)
        for each in before:
            if all(each is not other for other in self._registered):
                self._publish(ProviderRemoved(provider=each.name))
        for each in self._registered:
            if all(each is not other for other in before):
                self._publish(ProviderRegistered(provider=each.name, url=each.url))
                if each.disabled:
                    self._publish(ProviderDisabled(provider=each.name, reason=each.disabled))
        self._changed(self.providers)

    def _after(self, remove: Sequence[str], add: Sequence[str]) -> list[RegisteredProvider]:
        """Those that stay if these names are removed and added. Raises `ProviderInvalid` if that must not be."""
        known = {each.name: each for each in self._registered}
        for name in remove:
            if name not in known:
                raise ProviderInvalid(f"there is no provider {name!r}; there are {', '.join(known) or 'none'}")
            if known[name].owner is Owner.CONFIGURATION:
                raise ProviderInvalid(
                    f"the provider {name} belongs to the configuration; change it there and start the node again"
                )
        kept = [each for each in self._registered if each.name not in remove]
        names = [each.name for each in kept]
        for name in add:
            if name in names:
                raise ProviderInvalid(
                    f"the name {name} is taken by another provider: remove that one first, or take another name"
                )
            names.append(name)
        if len(names) > self._config.providers_max:
            raise ProviderInvalid(
                f"{len(names)} providers are more than {self._config.providers_max} (provisioning.providers_max)"
            )
        return kept


def _raise_together(errors: Sequence[BaseException]) -> None:
    """Raises the only error, or one that has all reasons."""
    invalid = [error for error in errors if isinstance(error, ProviderInvalid)]
    if len(invalid) == len(errors) > 1:
        raise ProviderInvalid("; ".join(error.reason for error in invalid))
    for error in (*invalid, *errors):
        raise error
