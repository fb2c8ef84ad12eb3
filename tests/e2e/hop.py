#!/usr/bin/env python3
"""A TCP hop that records every connection, both ways, with times.

    hop.py --listen 127.0.0.1:0 --upstream ADDR:PORT --record DIR
           [--bind ADDR] [--cert FILE --key FILE]

It says "listening ADDR:PORT" when it is ready. --bind is the address that it
dials from, so that its far side can be told from all others. With --cert it
ends the client's TLS, opens a TLS connection of its own to the upstream (which
it does not verify), and records the plaintext: what a CDN would read.

A recording is one file for each connection, DIR/0001.rec and so on, made of
events: time (double), kind (1 byte), length (4 bytes), that many bytes.
Kinds: m (JSON: the addresses), u and d (bytes up and down), U and D (the end
of that direction), R (a reset). Each is written at once, so a recording may
be read while its connection lives.
"""
import argparse
import asyncio
import itertools
import json
import os
import socket
import ssl
import struct
import time

EVENT = struct.Struct("!dcI")


class Recording:
    def __init__(self, path):
        self.file = open(path, "wb", buffering=0)

    def event(self, kind, data=b""):
        self.file.write(EVENT.pack(time.time(), kind, len(data)) + data)


def read_recording(path):
    """Yields (time, kind, bytes) of a recording; a torn last event is left out."""
    with open(path, "rb") as f:
        while len(head := f.read(EVENT.size)) == EVENT.size:
            when, kind, length = EVENT.unpack(head)
            data = f.read(length)
            if len(data) < length:
                return
            yield when, kind, data


def reset(writer):
    """Closes with an RST, so that a reset reaches the other side as one."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def pump(reader, writer, recording, kind):
    while data := await reader.read(1 << 16):
        recording.event(kind, data)
        writer.write(data)
        await writer.drain()
    recording.event(kind.upper())
    if writer.can_write_eof():
        writer.write_eof()
    else:
        writer.close()  # TLS here has no half-close


class Hop:
    def __init__(self, args):
        self.args = args
        self.count = itertools.count(1)
        self.upstream_tls = None
        if args.cert:
            self.upstream_tls = ssl.create_default_context()
            self.upstream_tls.check_hostname = False
            self.upstream_tls.verify_mode = ssl.CERT_NONE

    async def connection(self, reader, writer):
        path = os.path.join(self.args.record, "%04d.rec" % next(self.count))
        recording = Recording(path)
        host, port = split_address(self.args.upstream)
        near = (self.args.bind, 0) if self.args.bind else None
        try:
            up_reader, up_writer = await asyncio.open_connection(
                host, port, ssl=self.upstream_tls, local_addr=near)
        except OSError:
            recording.event(b"R")
            reset(writer)
            return
        recording.event(b"m", json.dumps({
            "client": "%s:%d" % writer.get_extra_info("peername")[:2],
            "near": "%s:%d" % up_writer.get_extra_info("sockname")[:2],
        }).encode())
        try:
            await asyncio.gather(pump(reader, up_writer, recording, b"u"),
                                 pump(up_reader, writer, recording, b"d"))
            up_writer.close()
            writer.close()
        except OSError:
            recording.event(b"R")
            reset(writer)
            reset(up_writer)

    async def run(self):
        tls = None
        if self.args.cert:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(self.args.cert, self.args.key)
            tls.set_alpn_protocols(["http/1.1"])
        host, port = split_address(self.args.listen)
        server = await asyncio.start_server(self.connection, host, port, ssl=tls)
        print("listening %s:%d" % server.sockets[0].getsockname()[:2], flush=True)
        await server.serve_forever()


def split_address(text):
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def main():
    parser = argparse.ArgumentParser(description="a TCP hop that records")
    parser.add_argument("--listen", default="127.0.0.1:0")
    parser.add_argument("--upstream", required=True)
    parser.add_argument("--record", required=True)
    parser.add_argument("--bind")
    parser.add_argument("--cert")
    parser.add_argument("--key")
    args = parser.parse_args()
    os.makedirs(args.record, exist_ok=True)
    asyncio.run(Hop(args).run())


if __name__ == "__main__":
    main()
