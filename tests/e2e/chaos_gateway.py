"""An HTTPS gateway in front of the bridge, as a CDN is one: it ends the TLS with a
certificate of its own and repeats, delays, reorders, drops and makes up what it likes.
"""
import asyncio
import collections
import random
import socket
import ssl

from chaos_peers import BLOCK, hard_close

# What may happen to a request, with its weight. "lost": the connection is closed without
# an answer; "swallowed": there is no answer, ever.
FAULTS = {
    "none": 40, "delay request": 6, "delay reply": 6, "reorder": 8, "twice": 10, "again later": 8,
    "request lost": 5, "reply lost": 5, "404": 3, "502": 3, "302": 1, "404 after": 3, "502 after": 3,
    "garbage": 2, "empty": 1, "old reply": 2, "half a reply": 2, "504": 3,
    "request swallowed": 2, "reply swallowed": 2,
}
SLOW = {"request swallowed", "reply swallowed"}
# No authentic answer comes of these. Of an open, only so many, or one slow one: the client
# gives up after 10 s, so that the app can try another bridge.
HARMFUL = SLOW | {"request lost", "reply lost", "404", "502", "302", "404 after", "502 after",
                  "garbage", "empty", "old reply", "half a reply", "504"}
OPEN_HARMS = 2
MADE_UP = {
    "404": (404, "Not Found", b"<h1>404</h1>"), "502": (502, "Bad Gateway", b"<h1>502</h1>"),
    "302": (302, "Found", b""), "garbage": (200, "OK", b'{"n":0,"box":"AAAAAAAAAAAAAAAAAAAAAAAAAAAA"}'),
    "empty": (200, "OK", b""), "504": (504, "Gateway Timeout", b"<h1>504</h1>"),
}


class Gone(Exception):
    """The client's connection is to be closed."""


class Gateway:
    """harms: how often each request was harmed, by all gateways of a test together."""

    def __init__(self, seed, upstream, cert, harms, faults=True, slow=2):
        self.seed, self.upstream, self.faults, self.slow = seed, upstream, faults, slow
        self.count, self.stopped = 0, False
        self.dark = None  # "lost" or "swallowed": what becomes of all requests
        self.harms = harms
        self.slowed = set()
        self.opening = set()
        self.idle, self.old = [], collections.deque(maxlen=20)
        self.passed = asyncio.Event()
        self.stats = collections.Counter()
        self.events = collections.deque(maxlen=60)
        self.tasks, self.writers = set(), set()
        self.near_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.near_tls.load_cert_chain(*cert)
        self.near_tls.set_alpn_protocols(["http/1.1"])
        self.far_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.far_tls.check_hostname = False
        self.far_tls.verify_mode = ssl.CERT_NONE

    async def start(self):
        sock = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.address = sock.getsockname()
        self.url = "https://127.0.0.1:%d" % self.address[1]
        self.server = await asyncio.start_server(self.accept, sock=sock, ssl=self.near_tls,
                                                 limit=1 << 19)

    async def stop(self):
        self.stopped = True  # a connection may have been accepted, but not heard of yet
        self.server.close()
        tasks = list(self.tasks)
        for task in tasks:
            task.cancel()  # the handlers, too: none opens another connection
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*self.opening, return_exceptions=True)
        await asyncio.sleep(0)  # for connected()
        for writer in list(self.writers):
            hard_close(writer)

    async def accept(self, reader, writer):
        if self.stopped:
            writer.transport.abort()
            return
        self.writers.add(writer)
        self.tasks.add(asyncio.current_task())
        try:
            while True:
                await self.one(reader, writer)
        except (OSError, asyncio.IncompleteReadError, Gone):
            pass
        except asyncio.CancelledError:
            pass
        finally:
            writer.transport.abort()
            self.writers.discard(writer)
            self.tasks.discard(asyncio.current_task())

    async def read_message(self, reader):
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        length = 0
        for line in lines[1:]:
            name, _, value = line.partition(":")
            if name.lower() == "content-length":
                length = int(value)
        return lines[0], head, await reader.readexactly(length)

    async def connect(self):
        """Not cut short by a cancel: asyncio would forget the socket, and leave it open."""
        opening = asyncio.ensure_future(asyncio.open_connection(
            *self.upstream, ssl=self.far_tls, limit=1 << 19))
        self.opening.add(opening)
        opening.add_done_callback(self.connected)
        return await asyncio.shield(opening)

    def connected(self, opening):
        self.opening.discard(opening)
        if not opening.cancelled() and opening.exception() is None:
            self.writers.add(opening.result()[1])

    async def forward(self, request):
        """What the bridge answers: head and body."""
        self.passed.set()
        self.passed = asyncio.Event()
        while True:
            fresh = not self.idle
            if fresh:
                reader, writer = await self.connect()
            else:
                reader, writer = self.idle.pop()
            try:
                writer.write(request)
                await writer.drain()
                _, head, body = await self.read_message(reader)
            except asyncio.CancelledError:
                hard_close(writer)
                raise
            except (OSError, asyncio.IncompleteReadError):
                hard_close(writer)
                self.writers.discard(writer)
                if fresh:
                    raise ConnectionResetError from None
                continue  # as any HTTP client does
            if b"connection: close" in head.lower():
                self.stats["closed by the bridge"] += 1
                self.writers.discard(writer)
                writer.transport.abort()
            else:
                self.idle.append((reader, writer))
            if head.startswith(b"HTTP/1.1 200"):
                self.old.append(head + body)
            return head + body

    @staticmethod
    def is_open(first):
        return first.startswith("POST") and first.split(" ")[1].count("/") == 1

    def choose(self, first, body, rnd):
        opens = self.is_open(first)
        kinds = dict(FAULTS)
        if not first.startswith("POST") or not self.faults:
            return "none", opens
        harms = self.harms[body] if opens else 0
        for kind in FAULTS:
            if (kind in SLOW and (self.slow <= 0 or body in self.slowed or harms > 0)) or \
                    (kind in HARMFUL and harms >= OPEN_HARMS) or \
                    (kind == "old reply" and not self.old):
                kinds[kind] = 0
        kind = rnd.choices(list(kinds), list(kinds.values()))[0]
        if kind in HARMFUL:
            self.harms[body] += OPEN_HARMS if kind in SLOW else 1
        if kind in SLOW:
            self.slow -= 1
            self.slowed.add(body)
        return kind, opens

    async def one(self, reader, writer):
        first, head, body = await self.read_message(reader)
        number = self.count
        self.count += 1
        if self.dark:
            self.stats["dark: " + self.dark] += 1
            if self.dark == "lost" or (self.is_open(first) and self.harms[body] > 0):
                raise Gone
            self.harms[body] += OPEN_HARMS
            await self.swallow()
        rnd = random.Random("%s/%d" % (self.seed, number))
        kind, opens = self.choose(first, body, rnd)
        self.stats[("open: " if opens else "") + kind] += 1
        if kind != "none":
            self.events.append("%.2f gateway %s: request %d%s: %s" % (
                asyncio.get_running_loop().time() % 1000, self.seed, number,
                " (open)" if opens else "", kind))
        if kind in MADE_UP and kind != "504":
            reply = self.make_up(kind)
        else:
            reply = await self.treat(kind, head + body, rnd)
        if kind == "half a reply":
            writer.write(reply[:len(reply) // 2])
            await writer.drain()
            writer.close()
            raise Gone
        writer.write(reply)
        await writer.drain()

    async def treat(self, kind, request, rnd):
        seconds = rnd.choice((0.02, 0.1, 0.4, 1))
        if kind == "request lost":
            raise Gone
        if kind == "request swallowed":
            await self.swallow()
        if kind == "delay request":
            await asyncio.sleep(seconds)
        if kind == "reorder":
            await self.wait_for_another(0.3)
        if kind == "twice":
            return await self.twice(request, seconds)
        if kind == "again later":
            self.spawn(self.again(request, 3 * seconds))
        if kind == "504":
            return await self.impatient(request, 0.5 + seconds)
        reply = await self.forward(request)
        if kind == "delay reply":
            await asyncio.sleep(seconds)
        if kind == "reorder":
            await self.wait_for_another(0.2)
        if kind == "reply lost":
            raise Gone
        if kind == "reply swallowed":
            await self.swallow()
        if kind in ("404 after", "502 after"):
            return self.make_up(kind[:3])
        if kind == "old reply":
            return rnd.choice(list(self.old)[:-1] or [reply])
        return reply

    async def twice(self, request, seconds):
        """Both copies reach the bridge; the answer to the second one counts."""
        first = self.spawn(self.forward(request))
        await asyncio.sleep(seconds / 10)
        try:
            second = await self.forward(request)
        except OSError:
            return await first
        if second.startswith(b"HTTP/1.1 200"):
            return second
        return await first  # the second came too late to be known

    async def again(self, request, seconds):
        await asyncio.sleep(seconds)
        await self.forward(request)

    async def impatient(self, request, seconds):
        task = self.spawn(self.forward(request))
        done, _ = await asyncio.wait([task], timeout=seconds)
        return task.result() if done else self.make_up("504")

    async def wait_for_another(self, seconds):
        try:
            await asyncio.wait_for(self.passed.wait(), seconds)
        except asyncio.TimeoutError:
            pass

    async def swallow(self):
        await asyncio.Event().wait()

    def make_up(self, kind):
        status, text, body = MADE_UP[kind]
        head = "HTTP/1.1 %d %s\r\nContent-Type: text/html\r\nContent-Length: %d\r\n" % (
            status, text, len(body))
        if kind == "302":
            head += "Location: https://127.0.0.1:1/\r\n"
        return head.encode() + b"\r\n" + body

    def spawn(self, coroutine):
        def over(task):
            self.tasks.discard(task)
            if not task.cancelled():
                task.exception()  # seen: what failed is nobody's any more

        task = asyncio.ensure_future(coroutine)
        self.tasks.add(task)
        task.add_done_callback(over)
        return task
