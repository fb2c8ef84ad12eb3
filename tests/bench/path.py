#!/usr/bin/env python3
"""The whole path on loopback, for run.sh: path.py BUILD TMP.

Sultry and, where it is installed, obfs4proxy, against no transport at all: megabytes
a second, and the time from an app's first SYN to the first byte of a TLS 1.3 server's
answer, with nothing and with a delaying hop between client and bridge.
"""
import asyncio
import multiprocessing
import os
import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import threading
import time

MEGABYTE = 1000000
DOWNLOAD = 200 * MEGABYTE
PARALLEL = 10
ROUND_TRIP_MS = 50
COLD_RUNS, WARM_RUNS = 3, 7


# ---- the target: answers a number with so many bytes ---------------------------------

def serve_client(sock, tls):
    try:
        if tls:
            sock = tls.wrap_socket(sock, server_side=True)
        left = int.from_bytes(sock.recv(8), "big")
        block = bytes(1 << 18)
        while left > 0:
            sock.sendall(block[:left])
            left -= len(block)
        sock.recv(1)
    except OSError:
        pass
    sock.close()


def serve(listener, cert, key):
    tls = None
    if cert:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(cert, key)
    while True:
        sock, _ = listener.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=serve_client, args=(sock, tls), daemon=True).start()


# ---- a hop that is so far away ------------------------------------------------------

async def delayed(reader, writer, not_before, delay):
    queue = asyncio.Queue()

    async def write():
        while True:
            due, data = await queue.get()
            await asyncio.sleep(max(0, due - time.monotonic()))
            if not data:
                writer.write_eof()
                return
            writer.write(data)

    writing = asyncio.create_task(write())
    while True:
        data = await reader.read(1 << 16)
        # The kernel accepts at once; on a real path nothing leaves the client before
        # a round trip has brought it the SYN's answer.
        queue.put_nowait((max(time.monotonic(), not_before) + delay, data))
        if not data:
            break
    await writing


async def far(reader, writer, to, delay):
    established = time.monotonic() + 2 * delay
    # asyncio does it only for sockets that name their protocol.
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        up_reader, up_writer = await asyncio.open_connection(*to)
        await asyncio.gather(delayed(reader, up_writer, established, delay),
                             delayed(up_reader, writer, 0, delay))
        up_writer.close()
    except OSError:
        pass
    writer.close()


def hop(listener, to, delay):
    async def main():
        server = await asyncio.start_server(lambda r, w: far(r, w, to, delay), sock=listener)
        await server.serve_forever()

    asyncio.run(main())


def background(function, *args):
    """Runs function(listener, *args) in a process; returns where it listens."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    multiprocessing.Process(target=function, args=(listener,) + args, daemon=True).start()
    address = listener.getsockname()
    listener.close()
    return address


# ---- transports ---------------------------------------------------------------------

class Program:
    def __init__(self, argv, done, **env):
        self.methods = []
        self.process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
            env=dict(env, PATH=os.environ["PATH"], TOR_PT_MANAGED_TRANSPORT_VER="1"))
        for line in self.process.stdout:
            self.methods.append(line.split())
            if line.startswith(done):
                break
        threading.Thread(target=self.process.stdout.read, daemon=True).start()

    def method(self, word):
        return next(m for m in self.methods if m[0] == word)

    def end(self):
        self.process.terminate()
        self.process.wait()


def split_address(text):
    host, _, port = text.rpartition(":")
    return host, int(port)


class Direct:
    """No transport."""
    def __init__(self, target):
        self.address = target

    def connect(self, to):
        return socket.create_connection(to)

    def restart(self):
        pass

    def end(self):
        pass


class Transport:
    def __init__(self, name, server, client, target, state):
        self.name, self.client_argv, self.state = name, client, state
        self.server = Program(
            server, "SMETHODS DONE", TOR_PT_SERVER_TRANSPORTS=name, TOR_PT_STATE_LOCATION=state,
            TOR_PT_SERVER_BINDADDR=name + "-127.0.0.1:0", TOR_PT_ORPORT="%s:%d" % target)
        method = self.server.method("SMETHOD")
        self.address = split_address(method[2])
        self.args = method[3].removeprefix("ARGS:").replace(",", ";").encode()
        self.client = None
        self.restart()

    def restart(self):
        if self.client:
            self.client.end()
        self.client = Program(self.client_argv, "CMETHODS DONE", TOR_PT_STATE_LOCATION=self.state,
                              TOR_PT_CLIENT_TRANSPORTS=self.name)
        self.socks = split_address(self.client.method("CMETHOD")[3])

    def connect(self, to):
        sock = socket.create_connection(self.socks)
        user, password = self.args[:255], self.args[255:] or b"\0"
        sock.sendall(b"\5\1\2")
        sock.recv(2)
        sock.sendall(b"\1%c%b%c%b" % (len(user), user, len(password), password))
        sock.recv(2)
        sock.sendall(b"\5\1\0\1" + socket.inet_aton(to[0]) + to[1].to_bytes(2, "big"))
        reply = sock.recv(10)
        if reply[:2] != b"\5\0":
            raise OSError("SOCKS reply %r" % reply)
        return sock

    def end(self):
        self.client.end()
        self.server.end()


# ---- measuring ----------------------------------------------------------------------

def app_tls():
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    return tls


def fetch(path, size, tls=None):
    sock = path.connect(path.address)
    if tls:
        sock = tls.wrap_socket(sock)
    sock.sendall(size.to_bytes(8, "big"))
    block = memoryview(bytearray(1 << 18))
    left = size
    while left > 0:
        n = sock.recv_into(block)
        if n == 0:
            raise OSError("%d bytes are missing" % left)
        left -= n
    sock.close()


def megabytes_a_second(path, streams, tls=None):
    start = time.monotonic()
    threads = [threading.Thread(target=fetch, args=(path, DOWNLOAD // streams, tls))
               for _ in range(streams)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return DOWNLOAD / MEGABYTE / (time.monotonic() - start)


def first_byte_ms(path, to):
    start = time.monotonic()
    sock = path.connect(to)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock = app_tls().wrap_socket(sock)
    sock.sendall((1).to_bytes(8, "big"))
    sock.recv(1)
    took = (time.monotonic() - start) * 1000
    sock.close()
    return took


def first_bytes(path, to):
    """Medians: in a client that was just started, and in one that knows the bridge."""
    cold = []
    for _ in range(COLD_RUNS):
        path.restart()
        cold.append(first_byte_ms(path, to))
    warm = []
    for _ in range(WARM_RUNS):
        time.sleep(0.3)
        warm.append(first_byte_ms(path, to))
    return statistics.median(cold), statistics.median(warm)


def transports(build, tmp, target, tag):
    yield "sultry", Transport("sultry", [build + "/sultry-server"], [build + "/sultry-client"],
                              target, "%s/sultry-%s" % (tmp, tag))
    if shutil.which("obfs4proxy"):
        yield "obfs4proxy", Transport("obfs4", ["obfs4proxy"], ["obfs4proxy"], target,
                                      "%s/obfs4-%s" % (tmp, tag))


def main():
    build, tmp = sys.argv[1:]
    cert = tmp + "/cert.pem", tmp + "/key.pem"
    plain, tls = background(serve, None, None), background(serve, *cert)

    print("\nDown on loopback, %d MB, MB/s\n  %-22s %12s %14s" % (
        DOWNLOAD // MEGABYTE, "", "1 connection", "%d parallel" % PARALLEL))
    rows = [("plain TCP", Direct(plain), None), ("plain TLS 1.3", Direct(tls), app_tls())]
    rows += [(name, path, None) for name, path in transports(build, tmp, plain, "plain")]
    for name, path, inner in rows:
        print("  %-22s %12.0f %14.0f" % (name, megabytes_a_second(path, 1, inner),
                                         megabytes_a_second(path, PARALLEL, inner)), flush=True)
        path.end()

    print("\nFirst byte of a TLS 1.3 server's answer, ms; cold and warm client\n"
          "  %-22s %8s %8s %12s %8s" % ("", "0 ms", "warm", "%d ms" % ROUND_TRIP_MS, "warm"))
    rows = [("no transport", Direct(tls))] + list(transports(build, tmp, tls, "tls"))
    for name, path in rows:
        away = background(hop, path.address, ROUND_TRIP_MS / 2000)
        print("  %-22s %8.1f %8.1f %12.1f %8.1f" % (
            (name,) + first_bytes(path, path.address) + first_bytes(path, away)), flush=True)
        path.end()


if __name__ == "__main__":
    main()
