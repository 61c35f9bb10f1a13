"""Runs the double in the foreground until it is ended."""

from __future__ import annotations

import argparse
import asyncio
import ssl
from pathlib import Path

from aiohttp import web

from support.consul_double.server import Double


async def serve(port: int, file: Path | None, scale: float, tls: ssl.SSLContext | None) -> None:
    """Serves on the loopback interface."""
    runner = web.AppRunner(Double(file, scale).application(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls, reuse_address=True).start()
    await asyncio.Event().wait()


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(prog="consul_double")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--state", type=Path)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--certificate", type=Path)
    parser.add_argument("--key", type=Path)
    options = parser.parse_args()
    tls = None
    if options.certificate:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(options.certificate, options.key)
    asyncio.run(serve(options.port, options.state, options.scale, tls))


main()
