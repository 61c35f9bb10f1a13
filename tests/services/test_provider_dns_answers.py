"""What the DNS back end makes of answers that are late, wrong, cut off or absent, from a server in this process."""

from __future__ import annotations

import asyncio

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from inaho.core.provisioning.descriptor import parse_url
from inaho.errors import InvalidSnapshot, ProviderInvalid, ProviderStreamFailed, ProviderUnreachable
from inaho.providers.dns import DnsProvider
from inaho.providers.setup import ProviderSetup, Secrets
from support.dns_server import AnsweringServer
from support.loops import both_loops, run

NAME = "shop.test"
SOA = f"{NAME}. hostmaster.{NAME}. 1 3600 600 86400 30"


def provider(server: AnsweringServer, url: str = f"dns://{NAME}:7700", timeout_s: float = 5.0) -> DnsProvider:
    text = f"{url}{'&' if '?' in url else '?'}nameserver={server.nameserver}"
    return DnsProvider(ProviderSetup("names", parse_url(text), "shop", Secrets({}), timeout_s))


def response(
    query: dns.message.Message, *records: str, ttl: int = 0, rcode: dns.rcode.Rcode = dns.rcode.NOERROR
) -> dns.message.Message:
    """An answer of the server of the zone, with these records of the type that was asked for."""
    made = dns.message.make_response(query)
    made.set_rcode(rcode)
    made.flags |= dns.flags.AA
    question = query.question[0]
    if records:
        made.answer.append(dns.rrset.from_text(question.name, ttl, question.rdclass, question.rdtype, *records))
    return made


def kind(query: dns.message.Message) -> str:
    return dns.rdatatype.to_text(query.question[0].rdtype)


def addresses(query: dns.message.Message, tcp: bool) -> bytes:
    return response(query, *(["10.0.0.1"] if kind(query) == "A" else [])).to_wire()


def services(*records: str) -> AnsweringServer:
    return AnsweringServer(lambda query, tcp: response(query, *records).to_wire())


async def found(by: DnsProvider) -> list[str]:
    return sorted(member.authority for member in (await by.read()).members)


@pytest.mark.parametrize("rcode", [dns.rcode.NXDOMAIN, dns.rcode.NOERROR])
@pytest.mark.parametrize("flag", [dns.flags.AA, dns.flags.RA])
async def test_no_records_is_an_answer(rcode: dns.rcode.Rcode, flag: dns.flags.Flag) -> None:
    def answer(query: dns.message.Message, tcp: bool) -> bytes:
        made = response(query, rcode=rcode)
        made.flags = dns.flags.QR | flag
        made.set_rcode(rcode)
        return made.to_wire()

    async with AnsweringServer(answer).running() as server:
        assert await found(provider(server)) == []


async def test_no_records_with_the_authority_of_the_zone_is_an_answer() -> None:
    def answer(query: dns.message.Message, tcp: bool) -> bytes:
        made = response(query)
        made.flags = dns.flags.QR
        made.authority.append(dns.rrset.from_text(NAME + ".", 30, "IN", "SOA", SOA))
        return made.to_wire()

    async with AnsweringServer(answer).running() as server:
        assert await found(provider(server)) == []


@pytest.mark.parametrize("rcode", [dns.rcode.NXDOMAIN, dns.rcode.NOERROR])
async def test_a_server_that_does_not_know_is_not_believed(rcode: dns.rcode.Rcode) -> None:
    def referral(query: dns.message.Message, tcp: bool) -> bytes:
        made = response(query, rcode=rcode)
        made.flags = dns.flags.QR
        made.set_rcode(rcode)
        made.authority.append(dns.rrset.from_text(".", 30, "IN", "NS", "a.root-servers.test."))
        return made.to_wire()

    async with AnsweringServer(referral).running() as server:
        with pytest.raises(ProviderStreamFailed, match=r"provider names: the DNS name .*ask another server"):
            await provider(server).read()


@pytest.mark.parametrize(
    ("rcode", "error"),
    [
        (dns.rcode.SERVFAIL, ProviderUnreachable),
        (dns.rcode.REFUSED, ProviderStreamFailed),
        (dns.rcode.FORMERR, ProviderStreamFailed),
        (dns.rcode.YXDOMAIN, ProviderStreamFailed),
    ],
)
async def test_answers_that_are_errors(rcode: dns.rcode.Rcode, error: type[Exception]) -> None:
    async with AnsweringServer(lambda query, tcp: response(query, rcode=rcode).to_wire()).running() as server:
        names = provider(server)
        with pytest.raises(error, match="provider names") as caught:
            await names.read()
        assert type(caught.value) is error
        server.answer = addresses
        assert await found(names) == ["10.0.0.1:7700"]


async def test_half_an_answer_is_an_error() -> None:
    def answer(query: dns.message.Message, tcp: bool) -> bytes:
        if kind(query) == "A":
            return addresses(query, tcp)
        return response(query, rcode=dns.rcode.SERVFAIL).to_wire()

    async with AnsweringServer(answer).running() as server:
        with pytest.raises(ProviderUnreachable, match="SERVFAIL"):
            await provider(server).read()
        assert await found(provider(server, f"dns://{NAME}:7700?types=a")) == ["10.0.0.1:7700"]


@pytest.mark.parametrize("garbage", [None, b"", b"\x00", bytes(300), b"\xff" * 65])
async def test_silence_and_garbage_over_udp_is_a_silent_server(garbage: bytes | None) -> None:
    async with AnsweringServer(lambda query, tcp: garbage).running() as server:
        names = provider(server, timeout_s=0.3)
        with pytest.raises(ProviderUnreachable, match="provider names"):
            await names.check()
        server.answer = addresses
        names = provider(server)
        assert await found(names) == ["10.0.0.1:7700"]


async def test_an_answer_with_another_id_or_question_is_not_taken() -> None:
    def forged(query: dns.message.Message, tcp: bool) -> bytes:
        made = response(query, "10.6.6.6") if kind(query) == "A" else response(query)
        made.id ^= 1
        return made.to_wire()

    def other(query: dns.message.Message, tcp: bool) -> bytes:
        return response(dns.message.make_query("evil.test", "A", id=query.id), "10.6.6.6").to_wire()

    for answer in (forged, other):
        async with AnsweringServer(answer).running() as server:
            with pytest.raises(ProviderUnreachable):
                await provider(server, timeout_s=0.3).read()


def truncated(query: dns.message.Message, tcp: bool) -> bytes:
    made = response(query)
    made.flags |= dns.flags.TC
    return made.to_wire()


async def test_a_truncated_answer_is_asked_for_over_tcp() -> None:
    def answer(query: dns.message.Message, tcp: bool) -> bytes:
        return addresses(query, tcp) if tcp else truncated(query, tcp)

    async with AnsweringServer(answer).running() as server:
        assert await found(provider(server)) == ["10.0.0.1:7700"]
        assert server.queries == {"udp": 2, "tcp": 2}


async def test_a_truncated_answer_without_tcp_is_an_error() -> None:
    async with AnsweringServer(truncated).running(tcp=False) as server:
        with pytest.raises(ProviderStreamFailed, match="provider names"):
            await provider(server).read()


@pytest.mark.parametrize("garbage", [b"", b"\x00", bytes(300)])
async def test_garbage_over_tcp_is_an_error(garbage: bytes) -> None:
    async with AnsweringServer(lambda query, tcp: garbage if tcp else truncated(query, tcp)).running() as server:
        with pytest.raises(ProviderStreamFailed, match="provider names"):
            await provider(server).read()


async def test_an_answer_is_used_again_within_its_ttl_but_not_beyond_the_period() -> None:
    ttl_s = 0
    count = 0

    def answer(query: dns.message.Message, tcp: bool) -> bytes:
        return response(query, f"10.0.0.{count}", ttl=ttl_s).to_wire()

    def now(plus_s: float) -> None:
        loop.time = lambda: began + plus_s  # type: ignore[method-assign]  # the server answers on this loop too

    loop = asyncio.get_running_loop()
    original, began = loop.time, loop.time()
    async with AnsweringServer(answer).running() as server:
        try:
            for each_s, kept_s in ((0, 1.0), (2, 2.0), (600, 3.75)):
                ttl_s = each_s
                names = provider(server, f"dns://{NAME}:7700?types=a&period_s=5")
                count = 1
                now(0.0)
                assert await found(names) == ["10.0.0.1:7700"]
                count = 2
                now(kept_s - 0.01)
                assert await found(names) == ["10.0.0.1:7700"]
                now(kept_s)
                assert await found(names) == ["10.0.0.2:7700"]
        finally:
            loop.time = original  # type: ignore[method-assign]


async def test_service_records() -> None:
    async with services(
        "10 5 7700 Node-1.Shop.test.", "10 5 7701 node-1.shop.test.", "0 0 7700 10.0.0.1."
    ).running() as server:
        srv = provider(server, f"dns+srv://_inaho._tcp.{NAME}")
        assert await found(srv) == ["10.0.0.1:7700", "node-1.shop.test:7700", "node-1.shop.test:7701"]
        assert not (srv.capabilities.details or srv.capabilities.watch or srv.capabilities.record)
    async with services("1 5 7700 a.test.", "2 5 7700 a.test.").running() as server:
        assert await found(provider(server, f"dns+srv://_inaho._tcp.{NAME}")) == ["a.test:7700"]
    async with services("0 0 0 .").running() as server:
        assert await found(provider(server, f"dns+srv://_inaho._tcp.{NAME}")) == []


@pytest.mark.parametrize("record", ["0 0 0 a.test.", "0 0 7700 a\\032b.test."])
async def test_service_records_that_name_no_address(record: str) -> None:
    async with services(record).running() as server:
        with pytest.raises(InvalidSnapshot, match="provider names"):
            await provider(server, f"dns+srv://_inaho._tcp.{NAME}").read()


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("dns://", "give one name"),
        ("dns://a.test:7700,b.test:7700", "give one name"),
        ("dns://a.test", "port"),
        ("dns://a.test:0", "port 0"),
        ("dns://10.0.0.1:7700", "seeds://10.0.0.1:7700"),
        ("dns://a.test:7700/path", "path"),
        ("dns://a.test:7700?ttl=5", "unknown option ttl; known are nameserver, period_s, types"),
        ("dns://a.test:7700?period_s=0.5", "period_s=0.5: write a number of seconds from 1 to 3600"),
        ("dns://a.test:7700?period_s=nan", "period_s=nan"),
        ("dns://a.test:7700?types=mx", "types=mx"),
        ("dns://a.test:7700?nameserver=", "nameserver"),
        ("dns://a.test:7700?nameserver=ns.test:53", "write the address"),
        ("dns+srv://_inaho._tcp.a.test:7700", "remove it"),
        ("dns+srv://_inaho._tcp.a.test?types=a", "types is for dns://"),
        ("dns+srv://a..test", "authority"),
    ],
)
def test_urls_that_are_refused(url: str, reason: str) -> None:
    with pytest.raises(ProviderInvalid, match="provider names") as caught:
        DnsProvider(ProviderSetup("names", parse_url(url), "shop", Secrets({}), 5.0))
    assert reason in caught.value.reason


@both_loops
def test_on_both_event_loops(loop_name: str) -> None:
    async def scenario() -> None:
        server = AnsweringServer(lambda query, tcp: addresses(query, tcp) if tcp else truncated(query, tcp))
        names = provider(server, timeout_s=0.5)
        with pytest.raises(ProviderUnreachable, match="provider names"):
            await names.read()
        async with server.running():
            assert await found(names) == ["10.0.0.1:7700"]
            server.answer = lambda query, tcp: None
            with pytest.raises(ProviderUnreachable, match="provider names"):
                await names.check()

    run(scenario(), loop_name)
