"""A TCP hop in front of the bridge that does what hostile networks do.

It tells HTTPS from direct connections by their first byte. What it does to the
k-th connection follows from its seed and k alone.
"""
import asyncio
import collections
import random
import socket

from chaos_peers import BLOCK, hard_close

# What may happen to a direct connection, with its weight. "near": on the client's side
# only, so that the bridge is left with a half-open connection; "far": the reverse.
# "swallow": of all that either side sends, only the hello arrives.
FAULTS = {
    "none": 4, "reset": 10, "reset near": 4, "end": 3, "end near": 2, "corrupt": 4,
    "pause": 3, "dribble": 3, "reset far": 2, "end far": 2, "stall": 2, "stall up": 2,
    "stall down": 2, "freeze": 2, "swallow": 2,
}
# After these the client has to wait for a timeout.
SLOW = {"reset far", "stall", "stall up", "stall down", "freeze", "swallow"}
QUICK_LIMIT = 3000000


class Fault:
    def __init__(self, rnd, slow_allowed, limit, kinds=FAULTS):
        names = [k for k in kinds if slow_allowed or k not in SLOW]
        self.kind = rnd.choices(names, [kinds[k] for k in names])[0]
        self.up = self.kind == "stall up" or self.kind != "stall down" and rnd.random() < 0.5
        draw = rnd.random()
        if draw < 0.3:  # in the hello, or just behind it
            self.at, self.hello = rnd.choice((0, 1, 4, 5, 20, 21, 40)), False
            self.up = self.up or self.kind != "stall down"
        elif draw < 0.5:
            self.at, self.hello = rnd.choice((-1, 0, 0, 1, 30)), True
        else:
            self.at, self.hello = int(2000 * (limit / 2000) ** rnd.random()), False
        if self.kind == "swallow":
            self.up, self.at, self.hello = True, 0, True
        self.seconds = rnd.choice((0.05, 0.5, 2))
        self.bit = 1 << rnd.randrange(8)

    def place(self, first):
        """The offset, once the first record's header is known."""
        if self.hello and len(first) >= 5:
            return max(0, self.at + 5 + int.from_bytes(first[3:5], "big"))
        return max(0, self.at)

    def strikes(self, end):
        """Whether it does with that many bytes: before the next byte, or just behind the hello."""
        return end > self.at or (end == self.at and self.kind == "swallow")


class Link:
    """One connection through the hop."""

    def __init__(self, hop, number, reader, writer):
        self.hop, self.number = hop, number
        self.near_reader, self.near = reader, writer
        self.far = None
        self.start = asyncio.get_running_loop().time()
        self.kind = None
        self.fault = None
        self.over = False
        self.silent, self.frozen = {True: False, False: False}, False  # by direction: up is True
        self.bytes, self.reads = {True: 0, False: 0}, {True: 0, False: 0}
        self.peer = writer.get_extra_info("peername")

    def note(self, what):
        self.hop.note("connection %d (%s): %s after %d up, %d down" % (
            self.number, self.kind, what, self.bytes[True], self.bytes[False]))

    async def run(self):
        try:
            reader, self.far = await self.hop.dial()
        except OSError:
            if self.hop.mute:
                await asyncio.Event().wait()
            hard_close(self.near)
            return
        tasks = [asyncio.ensure_future(self.pump(self.near_reader, self.far, True)),
                 asyncio.ensure_future(self.pump(reader, self.near, False))]
        try:
            await asyncio.gather(*tasks)
            self.near.close()
            self.far.close()
        except OSError:
            self.reset()
        finally:
            for task in tasks:
                task.cancel()

    def reset(self, near=True, far=True):
        if near:
            hard_close(self.near)
        if far:
            hard_close(self.far)

    async def chunks(self, reader):
        """What comes, as late as the hop is told; b"" at its end."""
        queue, loop = asyncio.Queue(256), asyncio.get_running_loop()

        async def collect():
            data = b"-"
            while data:
                try:
                    data = await reader.read(BLOCK)
                except OSError as e:
                    data = e
                await queue.put((loop.time() + self.hop.delay, data))
                if isinstance(data, OSError):
                    return

        if not self.hop.delay:
            while data := await reader.read(BLOCK):
                yield data
            yield b""
            return
        self.hop.spawn(collect())
        while True:
            due, data = await queue.get()
            await asyncio.sleep(due - loop.time())
            if isinstance(data, OSError):
                raise data
            yield data
            if not data:
                return

    async def pump(self, reader, writer, up):
        try:
            async for data in self.chunks(reader):
                if self.kind is None and up and data:
                    self.kind = "direct" if data[0] == 0x17 else "oob"
                    self.fault = self.hop.choose(self, data)
                await self.pass_on(writer, data, up)
        except OSError:
            if not any(self.silent.values()):
                raise
            # else: the half-open other side learns nothing

    async def pass_on(self, writer, data, up):
        if self.frozen:
            await asyncio.Event().wait()  # nothing is read any more: the window closes
        if self.hop.block and (self.kind == "direct" or self.hop.mute):
            await self.blocked()
        fault = self.fault
        if fault and fault.up == up and fault.strikes(self.bytes[up] + len(data)):
            if self.kind == "oob" and not self.hop.calm():
                fault.at += len(data)  # not now
                await self.forward(writer, data, up)
                return
            room = fault.at - self.bytes[up]
            self.fault = None
            await self.forward(writer, data[:room], up)
            data = await self.strike(fault, writer, data[room:], up)
            await self.forward(writer, data, up)
        elif data:
            await self.forward(writer, data, up)
        elif not self.silent[up] and writer.can_write_eof():
            writer.write_eof()

    async def forward(self, writer, data, up):
        if self.silent[up] or not data:
            return
        if writer.is_closing():
            raise ConnectionResetError
        self.bytes[up] += len(data)
        self.reads[up] += 1
        self.hop.bytes[self.kind] += len(data)
        writer.write(data)
        await writer.drain()
        if self.hop.rate and self.kind == "direct":
            await asyncio.sleep(len(data) / self.hop.rate)

    async def blocked(self):
        if self.hop.block == "reset":
            self.hop.stats["blocked by reset"] += 1
            self.reset()
            raise ConnectionResetError
        if not self.silent[True]:
            self.hop.stats["blocked by silence"] += 1
        self.silent = {True: True, False: True}

    async def strike(self, fault, writer, data, up):
        """Returns what is still to be passed on."""
        kind = fault.kind
        self.hop.stats["%s: %s" % (self.kind, kind)] += 1
        self.note(kind)
        if kind.startswith(("reset", "end")):
            near, far = "far" not in kind, "near" not in kind
            self.silent = {True: True, False: True}
            if kind.startswith("reset"):
                self.reset(near, far)
            else:
                for side, wanted in ((self.near, near), (self.far, far)):
                    if wanted and side.can_write_eof():
                        side.write_eof()
        elif kind in ("stall", "swallow"):
            self.silent = {True: True, False: True}
        elif kind.startswith("stall"):
            self.silent[up] = True
        elif kind == "freeze":
            self.frozen = True
            await asyncio.Event().wait()
        elif kind == "corrupt":
            return bytes([data[0] ^ fault.bit]) + data[1:]
        elif kind == "pause":
            await asyncio.sleep(fault.seconds)
        elif kind == "dribble":
            for i in range(min(300, len(data))):
                await self.forward(writer, data[i:i + 1], up)
                await asyncio.sleep(0)
            return data[300:]
        return data


class Hop:
    """`block`: None, "reset" or "silence", for direct connections. `calm`: says whether
    OOB connections may be hurt now; `oob_faults`: how many of them at most."""

    def __init__(self, seed, upstream, faults=True, slow=2, limit=QUICK_LIMIT, oob_faults=0,
                 calm=lambda: True):
        self.seed, self.upstream = seed, upstream
        self.faults, self.slow, self.limit = faults, slow, limit
        self.oob_faults, self.calm = oob_faults, calm
        self.block = None
        self.delay = 0  # seconds each way
        self.rate = None  # bytes a second of each direct connection, each way
        self.mute = False   # `block` is meant for OOB, too
        self.alone = False  # no OOB comes by this port
        self.near_socket = self.far_socket = socket.socket  # of which network namespace
        self.count, self.stopped = 0, False
        self.links = []
        self.stats, self.bytes = collections.Counter(), collections.Counter()
        self.events = collections.deque(maxlen=60)
        self.tasks = set()
        self.server = self.held = None

    def note(self, text):
        self.events.append("%.2f hop %s: %s" % (
            asyncio.get_running_loop().time() % 1000, self.seed, text))

    def bind(self, address):
        sock = self.near_socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        return sock

    async def start(self, host="127.0.0.1"):
        self.held = self.bind((host, 0))  # keeps the port while none listens
        self.address = self.held.getsockname()
        await self.listen()

    async def listen(self):
        sock = self.bind(self.address)
        sock.listen(1024)
        self.server = await asyncio.start_server(self.accept, sock=sock, limit=BLOCK)

    def unlisten(self):
        """Dials are refused from now on."""
        self.stats["refused dials"] += 1
        self.server.close()

    async def dial(self):
        sock = self.far_socket()
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, self.upstream)
        except OSError:
            sock.close()
            raise
        return await asyncio.open_connection(sock=sock, limit=BLOCK)

    async def accept(self, reader, writer):
        if self.stopped:
            hard_close(writer)
            return
        link = Link(self, self.count, reader, writer)
        self.count += 1
        self.links.append(link)
        self.tasks.add(asyncio.current_task())  # what waits for ever is not garbage
        try:
            await link.run()
        except asyncio.CancelledError:
            pass
        finally:
            link.over = True
            self.tasks.discard(asyncio.current_task())

    def choose(self, link, first):
        self.stats[link.kind] += 1
        rnd = random.Random("%s/%d" % (self.seed, link.number))
        if link.kind == "direct" and self.faults:
            fault = Fault(rnd, self.slow > 0, self.limit)
            if fault.kind == "none":
                return None
            self.slow -= fault.kind in SLOW
        elif link.kind == "oob" and self.oob_faults and rnd.random() < 0.6:
            self.oob_faults -= 1
            fault = Fault(rnd, False, 200000, {"reset": 1, "reset near": 1, "end": 1})
        else:
            return None
        fault.at = fault.place(first)
        return fault

    def spawn(self, coroutine):
        task = asyncio.ensure_future(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def silence(self):
        """The path is gone, for all connections and for good."""
        self.block, self.mute = "silence", True
        for link in self.links:
            link.silent = {True: True, False: True}

    def live(self, kind):
        return [k for k in self.links if k.kind == kind and not k.near.transport.is_closing()]

    def stop(self):
        """Ends all, half-open ones too."""
        self.stopped = True
        self.server.close()
        for task in list(self.tasks):
            task.cancel()
        for link in self.links:
            hard_close(link.near)
            if link.far:
                hard_close(link.far)
        self.held.close()
