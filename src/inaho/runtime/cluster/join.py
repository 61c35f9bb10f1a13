"""`join` (a member) and `connect` (a client): the start of a node from a program.

Both are short forms of the extension (`cluster.extension`): they make an actor system with only the cluster on it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inaho.actor import ActorSystem
from inaho.authority import own_addresses, parse_authority
from inaho.config import ClusterConfig, ProviderDescriptor, TlsConfig
from inaho.errors import InvalidConfig
from inaho.providers.base import TopologyProvider
from inaho.runtime.cluster.cluster import Cluster
from inaho.runtime.cluster.extension import ClusterExtension
from inaho.runtime.grains.grain import Grain
from inaho.storage import Storage

if TYPE_CHECKING:
    from inaho.runtime.local.clock import Entropy
    from inaho.runtime.transport.transport import Transport

__all__ = ["Joining", "connect", "join"]


class Joining:
    """The result of `join` and `connect`: await it to get the `Cluster`, or use `async with`, which also closes it."""

    def __init__(self, start: Callable[[], Any]) -> None:
        self._start = start
        self._cluster: Cluster | None = None

    def __await__(self) -> Generator[Any, None, Cluster]:
        return self._begin().__await__()

    async def _begin(self) -> Cluster:
        cluster: Cluster = await self._start()
        self._cluster = cluster
        return cluster

    async def __aenter__(self) -> Cluster:
        return await self._begin()

    async def __aexit__(self, *_: object) -> None:
        if self._cluster is not None:
            await self._cluster.close()


def join(
    authority: str = "",
    *,
    bind: str | None = None,
    seeds: Sequence[str] | None = None,
    providers: Sequence[str | ProviderDescriptor | TopologyProvider] | None = None,
    grains: Iterable[type[Grain[Any]]] = (),
    config: ClusterConfig | None = None,
    name: str | None = None,
    secret: str | None = None,
    tls: TlsConfig | None = None,
    insecure: bool | None = None,
    storage: Storage | str | None = None,
    data_dir: str | Path | None = None,
    transport: Transport | None = None,
    entropy: Entropy | None = None,
) -> Joining:
    """Joins the cluster as a member that hosts `grains`. Await it, or use it with `async with`.

    Args:
        authority: `host:port` at which others reach this node, and the address it binds if `bind` is not given; port 0
            takes a free one.
        bind: `host:port` to bind in place of it, such as `0.0.0.0:7700` in a container; see `ClusterConfig`.
        seeds: authorities of other members; each of them can admit this node. With none, or only its own authority,
            this node founds a cluster.
        providers: where this node finds the cluster beside the seeds, the most important first: URLs such as
            `etcd://10.0.0.9:2379/shop`, definitions, or objects of your own. See `docs/providers.md`.
        grains: classes that this node hosts.
        config: all settings; the arguments here override it.
        name, secret, tls, insecure, data_dir: see `ClusterConfig`.
        storage: a `Storage`, or a text that names one: `"memory"`, `"sqlite:path"`, `"redis://host:port"`,
            `"postgresql://user@host/name"` (see `inaho.storage.urls`); by default SQLite in `data_dir`.
        transport: TCP unless given; for tests.
        entropy: that of the operating system unless given; for tests.

    Raises:
        InvalidConfig: at once, if a setting is missing or invalid; when awaited, if the storage is misconfigured and
            grains have a state. A storage that is down is only logged as a warning.
        ProviderInvalid, ProviderStoreDamaged: when awaited, if a provider has mistakes or refuses the credentials, or
            the file of added providers is damaged. A provider that is down is only logged as a warning.
        AuthorityInUse, JoinRefused, TopologyUnavailable, AuthenticationFailed, WrongCluster: when awaited.
    """
    settled = _settle(
        config,
        authority=authority,
        bind=bind,
        seeds=seeds,
        name=name,
        secret=secret,
        tls=tls,
        insecure=insecure,
        data_dir=data_dir,
    )
    if not settled.authority:
        raise InvalidConfig("authority is missing: give join() the host:port to bind, such as 127.0.0.1:7700")
    reached, bound = own_addresses(settled.authority, settled.bind)
    settled = settled.replace(authority=reached, bind=bound if settled.bind else "", seeds=_canonical(settled.seeds))
    return _joining(settled, tuple(grains), storage, transport, entropy, providers, client=False)


def connect(
    seeds: Sequence[str] | None = None,
    *,
    providers: Sequence[str | ProviderDescriptor | TopologyProvider] | None = None,
    config: ClusterConfig | None = None,
    name: str | None = None,
    secret: str | None = None,
    tls: TlsConfig | None = None,
    transport: Transport | None = None,
    entropy: Entropy | None = None,
) -> Joining:
    """Connects as a client that calls grains and hosts nothing. Await it, or use it with `async with`.

    Args:
        seeds: authorities of members; one that answers is enough.
        providers: as for `join`; a client does not register.
        config, name, secret, tls, transport, entropy: as for `join`.

    Raises:
        InvalidConfig: at once, when there are neither seeds nor providers.
        TopologyUnavailable, AuthenticationFailed, WrongCluster: when awaited.
    """
    settled = _settle(config, seeds=seeds, name=name, secret=secret, tls=tls)
    if not settled.seeds and not settled.providers and not providers:
        raise InvalidConfig("seeds are missing: give connect() the host:port of at least one member, or a provider")
    settled = settled.replace(seeds=_canonical(settled.seeds))
    return _joining(settled, (), "memory", transport, entropy, providers, client=True)


def _canonical(seeds: tuple[str, ...]) -> tuple[str, ...]:
    """Seeds in canonical spelling."""
    return tuple(str(parse_authority(seed, allow_port_zero=False)) for seed in seeds)


def _settle(config: ClusterConfig | None, **overrides: Any) -> ClusterConfig:
    """`config` with the arguments that were given. "" and None mean: not given."""
    given: dict[str, Any] = {name: value for name, value in overrides.items() if value is not None and value != ""}
    if "seeds" in given:
        if isinstance(given["seeds"], str):
            raise InvalidConfig(f"seeds must be a sequence of authorities, not the text {given['seeds']!r}")
        given["seeds"] = tuple(given["seeds"])
    if "data_dir" in given:
        given["data_dir"] = str(given["data_dir"])
    base = config or ClusterConfig()
    return base.replace(**given) if given else base


def _joining(
    config: ClusterConfig,
    grains: tuple[type[Grain[Any]], ...],
    storage: Storage | str | None,
    transport: Transport | None,
    entropy: Entropy | None,
    providers: Sequence[str | ProviderDescriptor | TopologyProvider] | None,
    *,
    client: bool,
) -> Joining:
    async def start() -> Cluster:
        extension = ClusterExtension(
            config,
            grains=grains,
            storage=storage,
            transport=transport,
            entropy=entropy,
            providers=providers,
            client=client,
        )
        system = ActorSystem("inaho", extensions=[extension])
        await system.start()
        return extension.cluster

    return Joining(start)
