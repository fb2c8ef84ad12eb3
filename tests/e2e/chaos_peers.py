"""The two ends of a chaos test, and the pair of programs between them.

Streams are pseudo-random and every part of one can be made again, so that a
wrong byte names its place, and whether it was lost, repeated or reordered.
"""
import asyncio
import collections
import hashlib
import os
import random
import signal
import socket
import ssl
import struct
import tempfile

BLOCK = 1 << 16
BUILD = os.path.realpath(os.environ.get("BUILD", "build"))
HEADER = struct.Struct("!I")
BANNER = b"220 the target speaks first\r\n"


class Wrong(Exception):
    """What a test finds; everything else is a fault of the test itself."""


# What is said of bytes that were lost, repeated or reordered: the worst that can be found.
WRONG_BYTES = "wrong bytes: "


# ---- streams ----


def make_block(name, index):
    return random.Random("%s/%d" % (name, index)).randbytes(BLOCK)


class Checker:
    """Takes a stream as it comes; the first wrong byte raises Wrong."""

    def __init__(self, name, size):
        self.name, self.size = name, size
        self.offset = 0
        self.hash = hashlib.sha256()
        self.block, self.index = b"", -1

    def feed(self, data):
        if self.offset + len(data) > self.size:
            raise Wrong(WRONG_BYTES + "%s: more than its %d bytes came" % (self.name, self.size))
        self.hash.update(data)
        view = memoryview(data)
        while len(view):
            index, at = divmod(self.offset, BLOCK)
            if index != self.index:
                self.block, self.index = make_block(self.name, index), index
            n = min(len(view), BLOCK - at)
            if view[:n] != self.block[at:at + n]:
                self.explain(bytes(view[:n]), at)
            self.offset += n
            view = view[n:]

    def explain(self, data, at):
        skip = next(i for i in range(len(data)) if data[i] != self.block[at + i])
        offset, found = self.offset + skip, data[skip:skip + 16]
        for index in range((self.size + BLOCK - 1) // BLOCK):
            pos = (make_block(self.name, index) + make_block(self.name, index + 1)[:15]).find(found)
            if pos >= 0 and len(found) >= 4:
                raise Wrong(WRONG_BYTES + "%s: at offset %d came the bytes of offset %d"
                            % (self.name, offset, index * BLOCK + pos))
        raise Wrong(WRONG_BYTES + "%s: at offset %d came bytes that are not of the stream"
                    % (self.name, offset))

    def finish(self):
        if self.offset != self.size:
            raise Wrong(WRONG_BYTES + "%s: ended at offset %d of %d"
                        % (self.name, self.offset, self.size))
        want = hashlib.sha256()
        for index in range(0, (self.size + BLOCK - 1) // BLOCK):
            want.update(make_block(self.name, index)[:self.size - index * BLOCK])
        if want.digest() != self.hash.digest():
            raise Wrong(WRONG_BYTES + "%s: SHA-256 differs" % self.name)


# ---- connections ----


def hard_close(writer):
    """Closes with an RST."""
    sock = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class Plain:
    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    async def read(self):
        return await self.reader.read(BLOCK)

    async def write(self, data):
        self.writer.write(data)
        await self.writer.drain()

    def end(self):
        self.writer.write_eof()

    def close(self):
        self.writer.close()

    def reset(self):
        hard_close(self.writer)


class Tls(Plain):
    """TLS that has a half-close: the TCP connection's own."""

    def __init__(self, reader, writer, context, server, first=b""):
        super().__init__(reader, writer)
        self.inbound, self.outbound = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.inbound.write(first)
        self.tls = context.wrap_bio(self.inbound, self.outbound, server_side=server,
                                    server_hostname=None if server else "target.example")

    def flush(self):
        if self.outbound.pending:
            self.writer.write(self.outbound.read())

    async def more(self):
        data = await self.reader.read(BLOCK)
        self.inbound.write(data)
        return len(data) > 0

    async def handshake(self):
        while True:
            try:
                self.tls.do_handshake()
                self.flush()
                return
            except ssl.SSLWantReadError:
                self.flush()
                if not await self.more():
                    raise Wrong("the connection ended inside the TLS handshake")

    async def read(self):
        while True:
            try:
                return self.tls.read(BLOCK)
            except ssl.SSLWantReadError:
                if not await self.more():
                    return b""  # a record that is cut off shows as missing bytes

    async def write(self, data):
        self.tls.write(data)
        self.flush()
        await self.writer.drain()


class Refused(Exception):
    pass


async def socks(client, address, args, sock=None):
    """Connects an app to the client's SOCKS port, the bridge line's arguments with it."""
    if sock is None:
        reader, writer = await asyncio.open_connection("127.0.0.1", client, limit=BLOCK)
    else:
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", client))
        reader, writer = await asyncio.open_connection(sock=sock, limit=BLOCK)
    try:
        # All at once: the client gives an app few seconds, and a busy test is slow.
        user, password = args[:255].encode(), args[255:].encode() or b"\0"
        writer.write(b"\x05\x01\x02" + b"\x01" + bytes([len(user)]) + user +
                     bytes([len(password)]) + password +
                     b"\x05\x01\x00\x01" + socket.inet_aton(address[0]) + struct.pack("!H", address[1]))
        if await reader.readexactly(4) != b"\x05\x02\x01\x00":
            raise Wrong("SOCKS: method or arguments refused")
        answer = await reader.readexactly(10)
    except (OSError, asyncio.IncompleteReadError) as e:
        hard_close(writer)
        raise Refused("SOCKS: %r" % e) from e
    except BaseException:
        hard_close(writer)
        raise
    if answer[1] != 0:
        hard_close(writer)
        raise Refused("SOCKS reply %d" % answer[1])
    return reader, writer


# ---- one session: an app, a target, and what they do ----

SHAPES = ("both", "up then down", "down then up", "talk", "slow app", "slow target",
          "app resets", "target resets")


class Plan:
    """What one session does. The target finds it by the number that the app sends first."""

    def __init__(self, number, rnd, kind, shape, up, down):
        self.number, self.rnd = number, rnd
        self.kind, self.shape = kind, shape
        if shape == "app resets":
            down = 0
        if shape == "target resets":
            up = 0
        self.up, self.down = Checker("%d/up" % number, up), Checker("%d/down" % number, down)
        self.rate = None  # bytes a second that either end sends at most
        self.reads = {me: asyncio.Event() for me in ("app", "target")}  # it does, while set
        for reads in self.reads.values():
            reads.set()
        self.targets, self.started = 0, False
        self.state = "not begun"
        self.opened = asyncio.Event()
        self.target_over = asyncio.get_running_loop().create_future()

    def __str__(self):
        return "session %d (%s, %s): up %d of %d, down %d of %d, app %s, target %s" % (
            self.number, self.kind, self.shape, self.up.offset, self.up.size,
            self.down.offset, self.down.size, self.state,
            "done" if self.target_over.done() else "under way" if self.targets else "not reached")


async def send_stream(plan, wire, checker, until=None):
    rnd = random.Random("%s/chunks" % checker.name)
    size = checker.size if until is None else until
    for index in range((size + BLOCK - 1) // BLOCK):
        block = make_block(checker.name, index)[:size - index * BLOCK]
        at = 0
        while at < len(block):
            n = rnd.choice((rnd.randrange(1, 1500), BLOCK, BLOCK, BLOCK))
            if plan.rate:
                n = min(n, plan.rate // 10)
            await wire.write(block[at:at + n])
            at += n
            if plan.rate:
                await asyncio.sleep(min(n, len(block)) / plan.rate)


async def receive_stream(wire, checker, pauses=None, reads=None):
    while data := await wire.read():
        checker.feed(data)
        if reads:
            await reads.wait()
        if pauses and pauses.random() < 0.02:
            await asyncio.sleep(pauses.choice((0.05, 0.3, 1)))
    checker.finish()


async def receive_reset(wire, checker):
    """A prefix of the stream, then a reset; an orderly end would be a lie."""
    try:
        while data := await wire.read():
            checker.feed(data)
    except ConnectionError:
        return
    raise Wrong("%s: a reset came out as an orderly end" % checker.name)


async def talk(plan, wire, mine, theirs, first):
    """Small messages in turn, each answered by one, then all the rest at once."""
    rnd = random.Random("%d/talk" % plan.number)
    sent, due = 0, 0
    for turn in range(40):
        n = rnd.choice((1, 10, 200, 3000))
        if (turn % 2 == 0) == first:
            n = min(n, mine.size - sent)
            if n:
                await wire.write(part(mine, sent, sent + n))
            sent += n
        else:
            due = min(due + n, theirs.size)
            while theirs.offset < due:
                data = await wire.read()
                if not data:
                    theirs.finish()
                theirs.feed(data)
    await wire.write(part(mine, sent, mine.size))
    wire.end()
    await receive_stream(wire, theirs)


def part(checker, start, end):
    first = start // BLOCK
    whole = b"".join(make_block(checker.name, i) for i in range(first, end // BLOCK + 1))
    return whole[start - first * BLOCK:end - first * BLOCK]


async def one_side(plan, wire, mine, theirs, app):
    """App and target do the same, but for who starts and who is slow."""
    me, shape = "app" if app else "target", plan.shape
    if shape == me + " resets":
        await send_stream(plan, wire, mine, plan.rnd.randrange(mine.size + 1))
        wire.reset()
        return
    if shape.endswith(" resets"):
        await receive_reset(wire, theirs)
        wire.close()
        return
    if shape == "talk":
        await talk(plan, wire, mine, theirs, app)
    elif shape == ("up then down" if app else "down then up"):
        await send_stream(plan, wire, mine)
        wire.end()
        await receive_stream(wire, theirs)
    elif shape.endswith((" down", " up")):
        await receive_stream(wire, theirs)
        await send_stream(plan, wire, mine)
        wire.end()
    else:
        async def send():
            await send_stream(plan, wire, mine)
            wire.end()
        slow = random.Random(plan.number) if shape == "slow " + me else None
        await both(send(), receive_stream(wire, theirs, slow, plan.reads[me]))
    wire.close()


async def both(*coroutines):
    """gather, but the first failure ends the others."""
    tasks = [asyncio.ensure_future(c) for c in coroutines]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Target:
    """What the bridge forwards to; plain or TLS as the first byte says."""

    def __init__(self, cert, banner=False):
        self.plans, self.banner = {}, banner
        self.accepted, self.open = 0, []
        self.contexts = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.contexts.load_cert_chain(*cert)

    async def start(self, sock=None):
        if sock is None:
            sock = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port = sock.getsockname()[1]
        self.server = await asyncio.start_server(self.serve, sock=sock, limit=BLOCK)

    async def serve(self, reader, writer):
        self.accepted += 1
        plan = None
        self.open.append(plan)
        try:
            if self.banner:
                writer.write(BANNER)
            first = await reader.read(BLOCK)
            if first[:1] == b"\x16":
                wire = Tls(reader, writer, self.contexts, True, first)
                await wire.handshake()
                first = await wire.read()
            else:
                wire = Plain(reader, writer)
            while 0 < len(first) < HEADER.size:
                data = await wire.read()
                first = first + data if data else b""
            if not first:
                return
            plan = self.plans[HEADER.unpack(first[:HEADER.size])[0]]
            plan.targets += 1
            self.open[self.open.index(None)] = plan
            plan.opened.set()
            plan.up.feed(first[HEADER.size:])
            await self.play(plan, wire)
            if not plan.target_over.done():
                plan.target_over.set_result(None)
        except Exception as e:  # reported with the session
            if plan and not plan.target_over.done():
                plan.target_over.set_exception(e)
                plan.target_over.exception()  # not unseen, though the app may be gone
        finally:
            self.open.remove(plan)
            writer.close()

    async def quiet(self, seconds):
        """Until no connection is left; an app that is gone may take a while to be noticed."""
        end = asyncio.get_running_loop().time() + seconds
        while self.open:
            if asyncio.get_running_loop().time() > end:
                raise Wrong("left to the target: " + ", ".join(
                    str(p) if p else "one that said nothing" for p in self.open))
            await asyncio.sleep(0.05)

    async def play(self, plan, wire):
        await one_side(plan, wire, plan.down, plan.up, False)


def client_context(kind):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = {"tls12": ssl.TLSVersion.TLSv1_2, "tls13": ssl.TLSVersion.TLSv1_3}[kind]
    return context


async def run_app(plan, pair, target, sock=None):
    """One session, both its ends, from SOCKS to the last byte. Raises Wrong."""
    target.plans[plan.number] = plan
    plan.state = "asks SOCKS"
    try:
        reader, writer = await socks(pair.socks, pair.address, pair.args, sock)
        wire = Plain(reader, writer)
        try:
            plan.state = "shakes hands"
            if plan.kind != "plain":
                wire = Tls(reader, writer, client_context(plan.kind), False)
                await wire.handshake()
            elif target.banner:
                if await reader.readexactly(len(BANNER)) != BANNER:
                    raise Wrong("the banner came wrong")
            plan.state = "talks"
            await wire.write(HEADER.pack(plan.number))
            await one_side(plan, wire, plan.up, plan.down, True)
            plan.state = "done"
            if plan.shape != "app resets" or plan.targets:
                await plan.target_over
        finally:
            writer.close()
    except (OSError, Refused, EOFError, ssl.SSLError) as e:
        where = "target" if plan.target_over.done() else "app"
        raise Wrong("%s: %s: %r" % (plan, where, e)) from e
    except Wrong as e:
        raise Wrong("%s: %s" % (plan, e)) from e
    finally:
        plan.opened.set()
    if plan.targets != 1 and plan.shape != "app resets":
        raise Wrong("%s: the target was reached %d times" % (plan, plan.targets))


# ---- the programs ----


class Program:
    def __init__(self, name):
        self.name, self.lines = name, collections.deque(maxlen=200)
        self.process = None

    async def start(self, env, prefix):
        env = dict(env, PATH=os.environ["PATH"], TOR_PT_MANAGED_TRANSPORT_VER="1",
                   TOR_PT_EXIT_ON_STDIN_CLOSE="1",
                   **{k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")})
        self.process = await asyncio.create_subprocess_exec(
            *prefix, os.path.join(BUILD, self.name), env=env,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=None)
        self.pid = self.process.pid

    async def line(self, start):
        """The first line that starts so."""
        while True:
            raw = await asyncio.wait_for(self.process.stdout.readline(), 30)
            text = raw.decode(errors="replace").strip()
            self.lines.append(text)
            if text.startswith(start):
                return text
            if not raw or "ERROR" in text:
                raise Wrong("%s says: %s" % (self.name, text or "nothing"))

    async def ready(self, start):
        """Waits for the last line of the start-up; what follows is kept for reports."""
        async def read_on():
            while raw := await self.process.stdout.readline():
                self.lines.append(raw.decode(errors="replace").strip())

        await self.line(start)
        self.reading = asyncio.ensure_future(read_on())

    def descriptors(self):
        return len(os.listdir("/proc/%d/fd" % self.pid))

    def sockets(self):
        """What it has open, for a report."""
        names = {}
        with open("/proc/%d/net/tcp" % self.pid) as f:
            for line in list(f)[1:]:
                words = line.split()
                ports = [int(words[i].rpartition(":")[2], 16) for i in (1, 2)]
                names["socket:[%s]" % words[9]] = "tcp %d-%d state %s" % (*ports, words[3])
        folder = "/proc/%d/fd/" % self.pid
        links = [os.readlink(folder + fd) for fd in os.listdir(folder)]
        return ", ".join(sorted(names.get(link, link) for link in links))

    def memory(self, field="VmRSS"):
        """Bytes."""
        with open("/proc/%d/status" % self.pid) as f:
            for line in f:
                if line.startswith(field + ":"):
                    return int(line.split()[1]) * 1024
        raise Wrong("%s has ended" % self.name)

    async def kill(self):
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()

    async def stop(self):
        """As tor does; it must obey, and find nothing wrong on its way out."""
        if self.process is None or self.process.returncode is not None:
            return
        self.process.stdin.close()
        try:
            status = await asyncio.wait_for(self.process.wait(), 30)
        except asyncio.TimeoutError:
            await self.kill()
            raise Wrong("%s does not end when its stdin is closed" % self.name) from None
        if status != 0:
            raise Wrong("%s ended with status %d" % (self.name, status))


class Pair:
    """sultry-client and sultry-server. `address` and `args`: what an app asks SOCKS for."""

    def __init__(self, folder):
        self.state = tempfile.mkdtemp(dir=folder)
        self.client, self.server = Program("sultry-client"), Program("sultry-server")
        self.args = self.address = None

    async def start_server(self, target, options="", bind="127.0.0.1:0", prefix=()):
        env = {"TOR_PT_SERVER_TRANSPORTS": "sultry", "TOR_PT_STATE_LOCATION": self.state,
               "TOR_PT_SERVER_BINDADDR": "sultry-" + bind,
               "TOR_PT_ORPORT": "127.0.0.1:%d" % target}
        if options:
            env["TOR_PT_SERVER_TRANSPORT_OPTIONS"] = "sultry:" + options
        self.server = Program("sultry-server")
        await self.server.start(env, prefix)
        words = (await self.server.line("SMETHOD sultry")).split()
        await self.server.ready("SMETHODS DONE")
        host, _, port = words[2].rpartition(":")
        self.public = (host, int(port))
        self.bridge_args = words[3][len("ARGS:"):].replace(",", ";")
        self.server_start = self.server.descriptors()

    async def start_client(self, prefix=()):
        env = {"TOR_PT_CLIENT_TRANSPORTS": "sultry", "TOR_PT_STATE_LOCATION": self.state}
        self.client = Program("sultry-client")
        await self.client.start(env, prefix)
        self.socks = int((await self.client.line("CMETHOD sultry")).rpartition(":")[2])
        await self.client.ready("CMETHODS DONE")
        self.client_start = self.client.descriptors()

    def reach(self, address, *extra, pin=None):
        """The bridge is found at address; pin: of another certificate than the bridge's."""
        args = self.bridge_args
        if pin:
            args = ";".join(a for a in args.split(";") if not a.startswith("pin=")) + ";pin=" + pin
        self.address, self.args = address, ";".join((args,) + extra)

    async def settle(self, program, most, seconds, what):
        """Until it has at most so many descriptors."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while program.descriptors() > most:
            if loop.time() > end:
                raise Wrong("%s: %s holds %d descriptors, not %d: %s" % (
                    what, program.name, program.descriptors(), most, program.sockets()))
            await asyncio.sleep(0.1)

    async def stop(self):
        await self.client.stop()
        await self.server.stop()

    async def kill(self):
        for program in (self.client, self.server):
            if program.process and program.process.returncode is None:
                await program.kill()
