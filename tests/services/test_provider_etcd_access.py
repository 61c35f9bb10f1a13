"""Who may use etcd as a provider: users, tokens, permissions, TLS."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest
import pytest_asyncio

from inaho.config import SecretReference
from inaho.core.provisioning.founding import ClusterRecord
from inaho.core.provisioning.snapshot import ProviderMember
from inaho.errors import ProviderError, ProviderInvalid, ProviderUnreachable
from inaho.providers.base import TopologyProvider
from support.certificates import CertificateAuthority
from support.etcd_server import USER, USER_PASSWORD, EtcdServer
from support.provider_back_ends.etcd import EtcdBackEnd

pytestmark = pytest.mark.integration

PREFIX = "shop"
LIFETIME_S = 60.0
LIMIT_S = 20.0
ME = ProviderMember("10.7.0.1:7700", "00000000000000a1", 1, ("Cart",), cluster="shop")
FIRST = ClusterRecord("00c0ffee00c0ffee", 1, ME.authority, ME.node_id)

Make = Callable[..., TopologyProvider]


@pytest.fixture
def guarded() -> Iterator[EtcdServer]:
    """A server with authentication."""
    server = EtcdServer()
    try:
        server.start()
        server.enable_authentication(PREFIX)
        yield server
    finally:
        server.end()


@pytest_asyncio.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    """Makes providers that are closed after the test; `password` is in a file of that name."""
    made: list[TopologyProvider] = []
    file = tmp_path / "password"

    def make(
        server: EtcdServer, options: str = "", *, user: str = "", password: str = "", scheme: str = ""
    ) -> TopologyProvider:
        back_end = EtcdBackEnd(server, PREFIX)
        if user:
            file.write_text(password)
            name = tmp_path / "user"
            name.write_text(user)
            back_end.secrets = {
                "username": SecretReference(file=str(name)),
                "password": SecretReference(file=str(file)),
            }
        url = f"{scheme or server.url.partition(':')[0]}://127.0.0.1:{server.port}/{PREFIX}{options}"
        made.append(back_end.provider_of(url, timeout_s=5.0))
        return made[-1]

    yield make
    for each in made:
        await each.close()


async def refusal(provider: TopologyProvider, kind: type[ProviderError] = ProviderInvalid) -> str:
    with pytest.raises(kind) as caught:
        await provider.check()
    assert "s3cret" not in f"{caught.value} {caught.value!r}"
    assert provider.name in caught.value.reason
    return caught.value.reason


async def test_a_user_with_the_permission_can_do_everything(guarded: EtcdServer, make: Make) -> None:
    provider = make(guarded, user=USER, password=USER_PASSWORD)
    await provider.check()
    await provider.register(ME, LIFETIME_S)
    assert await provider.renew(ME, LIFETIME_S)
    assert await provider.write_record(FIRST, "")
    found = await provider.read()
    assert found.members == (ME,)
    async with aclosing(provider.watch(found.position)) as watch:
        first = asyncio.ensure_future(anext(watch))
        await provider.check()
        await provider.deregister()
        async with asyncio.timeout(LIMIT_S):
            assert await first is None
    assert "s3cret" not in repr(vars(provider))


async def test_refusals_say_what_is_missing(guarded: EtcdServer, make: Make) -> None:
    assert "secrets username and password" in await refusal(make(guarded))
    wrong = make(guarded, user=USER, password="s3cret but wrong")
    assert "refuses the user or the password" in await refusal(wrong)
    guarded.order("auth/role/add", name="nothing")
    guarded.order("auth/user/add", name="guest", password="s3cret of guest")
    guest = make(guarded, user="guest", password="s3cret of guest")
    assert "readwrite for all keys under the prefix" in await refusal(guest)


async def test_a_check_finds_that_a_user_may_only_read(guarded: EtcdServer, make: Make) -> None:
    guarded.permit(PREFIX, "READ")
    provider = make(guarded, user=USER, password=USER_PASSWORD)
    assert "readwrite" in await refusal(provider)
    assert (await provider.read()).members == ()
    guarded.permit(PREFIX, "WRITE")
    assert "readwrite" in await refusal(provider)
    guarded.permit(PREFIX, "READWRITE")
    await provider.check()


async def test_credentials_where_authentication_is_off(etcd_server: EtcdServer, make: Make) -> None:
    provider = make(etcd_server, user=USER, password=USER_PASSWORD)
    assert "remove the secrets" in await refusal(provider)


@pytest.mark.parametrize("names", [("username",), ("password",), ("token",), ("password", "token", "username")])
def test_secrets_of_other_names_are_refused(etcd_server: EtcdServer, names: tuple[str, ...]) -> None:
    back_end = EtcdBackEnd(etcd_server, PREFIX)
    back_end.secrets = {name: SecretReference(env="A_SECRET") for name in names}
    with pytest.raises(ProviderInvalid, match="username and password, both or none"):
        back_end.provider()


async def test_a_token_that_the_server_has_lost_is_replaced(guarded: EtcdServer, make: Make) -> None:
    provider = make(guarded, user=USER, password=USER_PASSWORD)
    await provider.register(ME, LIFETIME_S)
    position = (await provider.read()).position
    guarded.lose_tokens()
    with pytest.raises(ProviderError, match=r"etcd has ended the watch|token"):
        await anext(provider.watch(position))
    guarded.lose_tokens()
    reads = await asyncio.gather(*(provider.read() for _ in range(20)))
    assert [each.members for each in reads] == [(ME,)] * 20
    assert await provider.renew(ME, LIFETIME_S)
    async with aclosing(provider.watch(reads[0].position)) as watch:
        first = asyncio.ensure_future(anext(watch))
        await provider.check()
        await provider.deregister()
        async with asyncio.timeout(LIMIT_S):
            assert await first is None


async def test_a_restart_does_not_stop_a_user(guarded: EtcdServer, make: Make) -> None:
    provider = make(guarded, user=USER, password=USER_PASSWORD)
    await provider.register(ME, LIFETIME_S)
    guarded.kill()
    guarded.start()
    async with asyncio.timeout(LIMIT_S):
        while True:
            try:
                assert await provider.renew(ME, LIFETIME_S)
                return
            except ProviderUnreachable:  # on a connection of the former server
                await asyncio.sleep(0.02)


async def test_a_password_that_was_changed_is_read_again(guarded: EtcdServer, make: Make, tmp_path: Path) -> None:
    provider = make(guarded, user=USER, password=USER_PASSWORD)
    await provider.check()
    guarded.order("auth/user/changepw", name=USER, password="s3cret that is new")
    assert "refuses the user or the password" in await refusal(provider)
    (tmp_path / "password").unlink()
    assert "secret password" in await refusal(provider)
    (tmp_path / "password").write_text("s3cret that is new")
    await provider.check()


async def test_a_change_of_permissions_does_not_stop_a_user(guarded: EtcdServer, make: Make) -> None:
    """Each change makes the tokens of all users old."""
    provider = make(guarded, user=USER, password=USER_PASSWORD)
    await provider.register(ME, LIFETIME_S)
    for number in range(3):
        guarded.order("auth/role/add", name=f"another-{number}")
        assert (await provider.read()).members == (ME,)
        assert await provider.renew(ME, LIFETIME_S)


class Encrypted:
    """A server with TLS that demands certificates of clients, and the authorities.

    Attributes:
        server: its certificate is for 127.0.0.1.
        own: what its clients use.
    """

    def __init__(self, folder: Path) -> None:
        self.authority = CertificateAuthority(folder, "authority")
        self.stranger = CertificateAuthority(folder, "stranger")
        self.own = self.authority.issue("client")
        self.ca = self.own.authority_certificates
        self.server = EtcdServer(tls=self.authority.issue("etcd", "127.0.0.1"), client_certificates=True)


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Encrypted]:
    """See `Encrypted`."""
    made = Encrypted(tmp_path_factory.mktemp("certificates"))
    try:
        made.server.start()
        yield made
    finally:
        made.server.end()


async def test_tls_with_certificates_on_both_sides(encrypted: Encrypted, make: Make) -> None:
    files = encrypted.own
    provider = make(
        encrypted.server,
        f"?ca={encrypted.ca}&cert={files.certificate}&key={files.private_key}",
    )
    await provider.check()
    await provider.register(ME, LIFETIME_S)
    found = await provider.read()
    assert found.members == (ME,)
    async with aclosing(provider.watch(found.position)) as watch:
        first = asyncio.ensure_future(anext(watch))
        await provider.check()
        await provider.deregister()
        async with asyncio.timeout(LIMIT_S):
            assert await first is None


async def refusal_after_the_handshake(provider: TopologyProvider) -> str:
    """With TLS 1.3 the server refuses when the client has begun to send: its reason may be lost with the connection."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            with contextlib.suppress(ProviderUnreachable):
                return await refusal(provider)


async def test_refusals_of_tls_name_the_certificate(encrypted: Encrypted, make: Make, tmp_path: Path) -> None:
    own, server = encrypted.own, encrypted.server
    certificate = f"&cert={own.certificate}&key={own.private_key}"
    other = encrypted.stranger.issue("other")
    reason = await refusal(make(server, f"?ca={other.authority_certificates}{certificate}"))
    assert f"does not verify against {other.authority_certificates}" in reason
    assert "those of the system" in await refusal(make(server, f"?server_name=etcd{certificate}"))
    reason = await refusal(make(server, f"?ca={encrypted.ca}&server_name=db.example{certificate}"))
    assert "db.example" in reason and "server_name" in reason
    reason = await refusal_after_the_handshake(make(server, f"?ca={encrypted.ca}"))
    assert "certificate of this client (option cert: none)" in reason
    options = f"?ca={encrypted.ca}&cert={other.certificate}&key={other.private_key}"
    assert f"option cert: {other.certificate}" in await refusal_after_the_handshake(make(server, options))
    assert "/no/such.pem" in await refusal(make(server, "?ca=/no/such.pem"))
    (tmp_path / "text.pem").write_text("no certificate")
    assert "text.pem" in await refusal(make(server, f"?ca={tmp_path / 'text.pem'}"))
    assert "cert and key" in await refusal(make(server, f"?ca={encrypted.ca}&cert={own.certificate}&key=/no/such.key"))


async def test_a_certificate_is_not_ignored_because_the_next_server_is_away(encrypted: Encrypted, make: Make) -> None:
    provider = EtcdBackEnd(encrypted.server, PREFIX).provider_of(
        f"etcds://127.0.0.1:1,127.0.0.1:{encrypted.server.port}/{PREFIX}"
    )
    reason = await refusal(provider)
    assert "127.0.0.1:1" in reason and "does not verify" in reason
    await provider.close()


async def test_with_and_without_tls_are_told_apart(encrypted: Encrypted, etcd_server: EtcdServer, make: Make) -> None:
    """etcd hangs up in both cases, so the reason says how it was asked."""
    reason = await refusal(make(etcd_server, scheme="etcds"), ProviderUnreachable)
    assert "closed the connection with TLS: it may have none" in reason
    reason = await refusal(make(encrypted.server, scheme="etcd"), ProviderUnreachable)
    assert "closed the connection without TLS: it may want TLS" in reason


async def test_files_of_tls_that_were_replaced_are_read_again(encrypted: Encrypted, make: Make, tmp_path: Path) -> None:
    ca, own = tmp_path / "ca.pem", encrypted.own
    shutil.copy(encrypted.stranger.issue("other").authority_certificates, ca)
    provider = make(encrypted.server, f"?ca={ca}&cert={own.certificate}&key={own.private_key}")
    assert "does not verify" in await refusal(provider)
    shutil.copy(encrypted.ca, ca)
    await provider.check()
