#!/usr/bin/env python3
"""Tor's Extended ORPort, as far as a transport sees it (ext-orport-spec).

    ext_orport.py --cookie FILE --upstream ADDR:PORT

Writes FILE, says "listening ADDR:PORT" when it is ready and, for each client, "client
USERADDR TRANSPORT" ("-" for an address that it was not told). What follows is passed on
to the upstream.
"""
import argparse
import asyncio
import hashlib
import hmac
import os

from hop import split_address

HEADER = b"! Extended ORPort Auth Cookie !\n"
DONE, USERADDR, TRANSPORT = 0, 1, 2
OKAY = b"\x10\x00\x00\x00"


def proof(cookie, direction, nonces):
    text = b"ExtORPort authentication " + direction + b" hash" + nonces
    return hmac.new(cookie, text, hashlib.sha256).digest()


async def authenticate(reader, writer, cookie):
    writer.write(b"\x01\x00")
    if await reader.readexactly(1) != b"\x01":
        raise ValueError("another authentication type")
    nonce = os.urandom(32)
    nonces = await reader.readexactly(32) + nonce
    writer.write(proof(cookie, b"server-to-client", nonces) + nonce)
    good = proof(cookie, b"client-to-server", nonces) == await reader.readexactly(32)
    writer.write(b"\x01" if good else b"\x00")
    if not good:
        raise ValueError("the transport does not know the cookie")


async def commands(reader):
    told = {}
    while True:
        head = await reader.readexactly(4)
        kind, size = int.from_bytes(head[:2], "big"), int.from_bytes(head[2:], "big")
        body = await reader.readexactly(size)
        if kind == DONE:
            return told.get(USERADDR, "-"), told.get(TRANSPORT, "-")
        told[kind] = body.decode("ascii")


async def pump(reader, writer):
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


async def client(reader, writer, cookie, upstream):
    try:
        await authenticate(reader, writer, cookie)
        print("client %s %s" % await commands(reader), flush=True)
        writer.write(OKAY)
        up_reader, up_writer = await asyncio.open_connection(*split_address(upstream))
        await asyncio.gather(pump(reader, up_writer), pump(up_reader, writer))
        up_writer.close()
    except (OSError, ValueError, asyncio.IncompleteReadError) as error:
        print("broken: %s" % error, flush=True)
    writer.close()


async def serve(args):
    cookie = os.urandom(32)
    with open(args.cookie, "wb") as f:
        f.write(HEADER + cookie)
    server = await asyncio.start_server(
        lambda r, w: client(r, w, cookie, args.upstream), "127.0.0.1", 0)
    print("listening %s:%d" % server.sockets[0].getsockname()[:2], flush=True)
    await server.serve_forever()


def main():
    parser = argparse.ArgumentParser(description="a transport's view of an Extended ORPort")
    parser.add_argument("--cookie", required=True)
    parser.add_argument("--upstream", required=True)
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
