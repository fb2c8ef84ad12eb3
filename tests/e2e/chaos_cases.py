"""The cases of issue 3 that are not left to chance: each is a coroutine that plays one."""
import asyncio
import random
import socket
import time

from chaos_hop import Hop
from chaos_peers import BLOCK, Plain, Target, Wrong, both, hard_close, make_block, run_app, socks
from chaos_scene import MB, Namespace, sanitized

PATIENCE = 3 if sanitized() else 1


def check(condition, *what):
    if not condition:
        raise Wrong(what[0] % what[1:])


# ---- the direct path is blocked ----


def mute_listener():
    """A port that answers no SYN: its queue is full."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    fill = []
    for _ in range(3):
        s = socket.socket()
        s.setblocking(False)
        s.connect_ex(listener.getsockname())
        fill.append(s)
    return listener, fill


async def blocked(scene, how, delay):
    """4 MB each way by OOB alone, the direct path blocked in one of three ways."""
    await scene.start()
    hop = await scene.hop("blocked", faults=False)
    hop.delay = delay
    if how == "no answer to dials":
        keep = mute_listener()
        scene.pair.reach(keep[0].getsockname(), "url=https://127.0.0.1:%d" % hop.address[1])
    else:
        hop.block = how
        scene.pair.reach(hop.address)
    worst = 0
    for kind in ("plain", "tls13"):
        plan = scene.plan(random.Random(1), kind, "both", 4 * MB, 4 * MB)
        start = time.monotonic()
        await scene.app(plan)
        worst = max(worst, time.monotonic() - start)
    check(hop.bytes["direct"] == 0, "%d bytes went by direct connections", hop.bytes["direct"])
    # One try tells all sessions: the address rests (redial=180).
    tries = 0 if how == "no answer to dials" else 1
    check(hop.stats["direct"] == tries, "%d direct connections were blocked", hop.stats["direct"])
    check(worst <= 15 * PATIENCE, "4 MB each way took %.1f s", worst)
    await scene.target.quiet(60)
    await scene.end()
    return "4 MB each way, direct blocked (%s), round trip %d ms: at most %.1f s, %d KB/s each way" % (
        how, 2000 * delay, worst, 4000 / worst)


# ---- the client's address is gone ----


async def moved(scene, how):
    """`how`: "address" (it is removed, another one is left) or "link" (down, and up again)."""
    near, far = Namespace(), Namespace()
    try:
        return await play_move(scene, how, near, far)
    finally:
        near.end()
        far.end()


def make_link(near, far):
    near.ip("link", "add", "near", "type", "veth", "peer", "name", "far", "netns",
            str(far.process.pid))
    near.sysctl("ipv4/conf/all/promote_secondaries", 1)
    near.ip("address", "add", "10.77.0.2/24", "dev", "near")
    near.ip("address", "add", "10.77.0.3/24", "dev", "near")
    far.ip("address", "add", "10.77.0.1/24", "dev", "far")
    for space, name in ((near, "near"), (far, "far")):
        space.ip("link", "set", "lo", "up")
        space.ip("link", "set", name, "up")


async def under_way(plan, app, size):
    """Until so many bytes have arrived, each way."""
    while not (plan.up.offset > size and plan.down.offset > size):
        check(not app.done(), "the transfer ended: %r", app)
        await asyncio.sleep(0.05)


async def longest_pause(plan, seconds):
    """Of either direction, in the next so many seconds."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    last = {c: (c.offset, start) for c in (plan.up, plan.down)}
    longest = 0
    while (now := loop.time()) < start + seconds:
        for checker, (offset, since) in last.items():
            longest = max(longest, now - since)
            if checker.offset != offset:
                last[checker] = (checker.offset, now)
        await asyncio.sleep(0.02)
    return longest


async def play_move(scene, how, near, far):
    make_link(near, far)
    pair = scene.pair
    scene.target = target = Target(scene.cert)
    with far.inside():
        await target.start()
    await pair.start_server(target.port, prefix=far.enter)
    hop = Hop("move", pair.public, faults=False)

    def far_socket():
        with far.inside():
            return socket.socket()

    hop.near_socket = hop.far_socket = far_socket
    await hop.start("10.77.0.1")
    scene.hops.append(hop)
    await pair.start_client(prefix=near.enter)
    pair.reach(hop.address)  # with the usual rest after a reset: a move is another thing
    plan = scene.plan(random.Random(1), "tls13", "both", 40 * MB, 40 * MB)
    plan.rate = 3 * MB
    with near.inside():
        sock = socket.socket()
    sock.setblocking(False)
    app = asyncio.ensure_future(run_app(plan, pair, target, sock))
    await under_way(plan, app, 5 * MB)
    before = [k for k in hop.links if k.kind == "direct"]
    check(len(before) == 1 and before[0].peer[0] == "10.77.0.2", "not on direct before the move")
    if how == "address":
        near.ip("address", "del", "10.77.0.2/24", "dev", "near")
    else:
        near.ip("link", "set", "near", "down")
        await asyncio.sleep(8)
        near.ip("link", "set", "near", "up")
    start = asyncio.get_running_loop().time()
    pause = await longest_pause(plan, 8)
    check(pause <= 3 * PATIENCE, "the transfer stood still for %.1f s", pause)
    check(not app.done(), "the transfer ended too soon to tell")
    after = [k for k in hop.links if k.kind == "direct" and k not in before and k.bytes[False] > 100000]
    check(after, "no new direct connection")
    check(how == "link" or after[-1].peer[0] == "10.77.0.3", "not from the new address")
    new = after[0].start - start
    check(new <= 3 * PATIENCE, "the new direct connection came after %.1f s", new)
    plan.rate = None
    await app
    await target.quiet(60)
    await scene.end()
    return "the client's %s changed: the transfer went on after %.1f s, direct after %.1f s" % (
        how, pause, new)


# ---- the direct connection falls silent, or seems to ----


async def begin_direct(scene, hop, rate):
    """A transfer both ways; (plan, app, its direct connection)."""
    scene.pair.reach(hop.address)
    plan = scene.plan(random.Random(1), "tls13", "both", 12 * MB, 12 * MB)
    plan.rate = rate
    app = asyncio.ensure_future(scene.app(plan))
    await under_way(plan, app, 2 * rate)
    links = hop.live("direct")
    check(len(links) == 1, "%d direct connections", len(links))
    return plan, app, links[0]


async def stalled(scene, up, rate):
    """One direction of it arrives no more: the transfer goes on by another carrier. At a low
    rate what is sent is never more than the hop acknowledges."""
    await scene.start()
    plan, app, link = await begin_direct(scene, await scene.hop("stall", faults=False), rate)
    link.silent[up] = True
    pause = await longest_pause(plan, 15)
    check(not app.done(), "the transfer ended too soon to tell")
    check(pause < (13 if sanitized() else 10), "the transfer stood still for %.1f s", pause)
    plan.rate = None
    await app
    await scene.target.quiet(60)
    await scene.end()
    return "%s stalled at %d KB/s: the transfer went on after %.1f s" % (
        "up" if up else "down", rate / 1000, pause)


async def paused(scene, who):
    """An app or a target that does not read is no dead carrier."""
    await scene.start()
    hop = await scene.hop("pause", faults=False)
    plan, app, link = await begin_direct(scene, hop, MB // 2)
    plan.rate = None
    plan.reads[who].clear()
    await asyncio.sleep(15)
    check(not app.done(), "the transfer ended too soon to tell")
    plan.reads[who].set()
    await app
    direct = [k for k in hop.links if k.kind == "direct"]
    check(direct == [link], "%d direct connections, not one", len(direct))
    await scene.target.quiet(60)
    await scene.end()
    return "the %s paused 15 s: the same direct connection" % who


async def unanswered(scene, kind):
    """The hello is swallowed: the bytes that went with it go by OOB after max(1 s, 3 rtt)."""
    await scene.start()
    hop = await scene.hop("hello", faults=False)
    hop.block = "silence"
    scene.pair.reach(hop.address)
    start = time.monotonic()
    await scene.app(scene.plan(random.Random(1), kind, "talk", 20000, 20000))
    took = time.monotonic() - start
    check(hop.stats["blocked by silence"] == 1, "no hello was swallowed")
    check(took <= 4 * PATIENCE, "without ACCEPT, OOB took over after %.1f s", took)
    await scene.target.quiet(60)
    await scene.end()
    return "a hello of a %s session swallowed: done by OOB after %.1f s" % (kind, took)


# ---- an OOB channel dies ----


async def failed_over(scene, how):
    """The first of two url= dies for good: `how` is "refused" or "swallowed"."""
    await scene.start()
    direct = await scene.hop("failover/direct", faults=False)
    direct.block = "reset"
    first, second = [await scene.hop("failover/%s" % which, faults=False)
                     for which in ("first", "second")]
    urls = ["url=https://127.0.0.1:%d" % x.address[1] for x in (first, second)]
    scene.pair.reach(direct.address, *urls)
    plan = scene.plan(random.Random(1), "tls13", "both", 12 * MB, 12 * MB)
    plan.rate = MB // 2
    app = asyncio.ensure_future(scene.app(plan))
    await under_way(plan, app, MB)
    check(second.bytes["oob"] == 0, "it does not go by the first channel")
    first.silence()
    if how == "refused":
        first.unlisten()
        for link in first.links:
            link.reset()
    start, most = time.monotonic(), max(plan.up.offset, plan.down.offset)
    # A poll is waited for as long as it may be held, and some.
    try:
        await asyncio.wait_for(under_way(plan, app, most + 2 * MB), 35 * PATIENCE)
    except asyncio.TimeoutError:
        raise Wrong("the transfer does not go on") from None
    pause = time.monotonic() - start
    check(second.bytes["oob"] > 4 * MB, "not by the second channel")
    plan.rate = None
    await app
    # Opens: where that is known, and where it is not.
    took = []
    for extra in ((), ("redial=1",)):
        scene.pair.reach(direct.address, *urls, *extra)
        start = time.monotonic()
        await scene.app(scene.plan(random.Random(1), "tls13", "talk", 20000, 20000))
        took.append(time.monotonic() - start)
    check(took[0] <= 4 * PATIENCE, "a dead channel was tried again: %.1f s", took[0])
    await scene.target.quiet(60)
    await scene.end()
    return "the first of two channels %s: 2 MB more each way after %.1f s, opens took %.1f and " \
        "%.1f s" % (how, pause, *took)


# ---- another direct address ----


async def named(scene):
    """direct=: once the bridge has said so, direct connections go there."""
    there = Hop("named", None, faults=False)
    await there.start()
    scene.hops.append(there)
    await scene.start("direct=127.0.0.1:%d" % there.address[1])
    there.upstream = scene.pair.public
    line = await scene.hop("line", faults=False)
    scene.pair.reach(line.address)
    # The first session's connection was dialled while it was opened.
    await scene.app(scene.plan(random.Random(1), "plain", "talk", 20000, 20000))
    before = line.stats["direct"]
    for kind in ("plain", "tls13"):
        await scene.app(scene.plan(random.Random(1), kind, "both", MB, MB))
    check(line.stats["direct"] == before, "direct connections went to the bridge line's address")
    check(there.stats["direct"] == 2, "%d went to the named one", there.stats["direct"])
    check(there.bytes["direct"] > 3 * MB, "%d bytes went there", there.bytes["direct"])
    await scene.target.quiet(60)
    await scene.end()
    return "direct=: %d bytes by the address that the bridge named" % there.bytes["direct"]


# ---- back pressure ----


class Echo(Target):
    """Sends back what it gets. `greedy`: reads on whatever waits to be sent."""

    greedy = True

    async def serve(self, reader, writer):
        try:
            while data := await reader.read(BLOCK):
                writer.write(data)
                if not self.greedy:
                    await writer.drain()
            writer.write_eof()
        except OSError:
            hard_close(writer)


async def echoed(scene, greedy, block):
    """An app that writes 32 MB before it reads, or until nothing has moved for 8 s."""
    size = 32 << 20
    scene.target = target = Echo(scene.cert)
    target.greedy = greedy
    await target.start()
    await scene.pair.start_server(target.port)
    await scene.pair.start_client()
    hop = await scene.hop("echo", faults=False)
    hop.block = block
    scene.pair.reach(hop.address)
    wire = Plain(*await socks(scene.pair.socks, scene.pair.address, scene.pair.args))
    stuck = asyncio.Event()

    async def write():
        for index in range(size // BLOCK):
            piece = asyncio.ensure_future(wire.write(make_block("echo", index)))
            if not stuck.is_set() and not (await asyncio.wait([piece], timeout=8))[0]:
                stuck.set()
            await piece
        stuck.set()
        wire.end()

    async def read():
        await stuck.wait()
        offset, got = 0, b""
        while data := await wire.read():
            got += data
            while len(got) >= BLOCK:
                check(got[:BLOCK] == make_block("echo", offset // BLOCK),
                      "the echo is wrong behind offset %d", offset)
                offset, got = offset + BLOCK, got[BLOCK:]
        check(offset == size, "the echo ended at %d of %d", offset + len(got), size)

    writing = asyncio.ensure_future(write())
    if greedy:
        await asyncio.wait_for(asyncio.shield(writing), 120)  # whatever the way back does
    await both(writing, read())
    check(block or hop.stats["direct"] == 1, "a paused app looked like a dead carrier: %s", hop.stats)
    most = [p.memory("VmHWM") for p in (scene.pair.client, scene.pair.server)]
    check(sanitized() or max(most) < 32 << 20, "the client took %d KB, the server %d KB",
          most[0] >> 10, most[1] >> 10)
    wire.close()
    await scene.end()
    return "32 MB written before it reads (%s echo, %s): client %d KB, server %d KB at most" % (
        "greedy" if greedy else "strict", "OOB alone" if block else "direct", most[0] >> 10, most[1] >> 10)


# ---- kill -9 ----


async def begin(scene, options, n, block=None):
    """n sessions that are in the midst of something; the apps' ends of them."""
    await scene.start(options)
    hop = await scene.hop("kill", faults=False)
    hop.block = block
    scene.pair.reach(hop.address, "redial=0")
    rnd = random.Random(len(options) + n)
    apps = []
    for i in range(n):
        plan = scene.plan(rnd, ("plain", "tls13")[i % 2], "both", 500 * MB, 500 * MB)
        plan.rate = 500000
        plan.started = True
        apps.append(asyncio.ensure_future(scene.app(plan)))
    return hop, apps


async def all_open(scene):
    """A session that the bridge has not heard of would be opened by the next one."""
    await asyncio.gather(*(p.opened.wait() for p in scene.plans))
    check(scene.target.accepted == len(scene.plans), "%d sessions, %d at the target",
          len(scene.plans), scene.target.accepted)


async def all_over(apps, seconds, what):
    done, waiting = await asyncio.wait(apps, timeout=seconds)
    check(not waiting, "%s: %d of %d app connections are open after %d s", what, len(waiting),
          len(apps), seconds)
    for app in done:
        check(app.exception() is not None, "%s: an app was told of an orderly end", what)


async def server_killed(scene, seed):
    """And started again: the sessions are gone, the apps hear it at once, new ones work."""
    rnd = random.Random(seed)
    hop, apps = await begin(scene, "retain=600", 6, rnd.choice((None, "reset")))
    await all_open(scene)
    await asyncio.sleep(rnd.uniform(0, 3))
    await scene.pair.server.kill()
    await asyncio.sleep(rnd.uniform(0, 3))
    args, target = scene.pair.args, scene.target
    await scene.pair.start_server(target.port, "retain=600")
    hop.upstream = scene.pair.public
    start = time.monotonic()
    await all_over(apps, 5 * PATIENCE, "the server was killed and restarted")
    took = time.monotonic() - start
    scene.pair.args = args  # the restarted server has the same key
    plan = scene.plan(rnd, "tls12", "both", MB, MB)
    await scene.app(plan)
    await target.quiet(30)
    await scene.end()
    return "kill -9 of the server, restarted: the apps heard of it after %.1f s" % took


async def server_gone(scene, silent):
    """For good: the client gives up after retain_s."""
    hop, apps = await begin(scene, "retain=4", 6)
    await all_open(scene)
    await asyncio.sleep(1)
    if silent:  # the machine, not only the process
        hop.silence()
    await scene.pair.server.kill()
    await all_over(apps, 60 * PATIENCE, "the server is gone")
    await scene.pair.settle(scene.pair.client, scene.pair.client_start + 12, 60, "the server is gone")
    await scene.pair.client.stop()
    return "kill -9 of the server%s: the client gave up" % (" behind a silent path" if silent else "")


async def client_killed(scene, seed):
    """The server keeps the sessions for retain_s, and nothing after that."""
    rnd = random.Random(seed)
    hop, apps = await begin(scene, "retain=4", 8, rnd.choice((None, "silence")))
    await asyncio.sleep(rnd.uniform(0, 3))
    await scene.pair.client.kill()
    for app in apps:
        app.cancel()
    await asyncio.gather(*apps, return_exceptions=True)
    start = time.monotonic()
    # Opens that no exchange has confirmed live 30 s.
    await scene.target.quiet(45)
    took = time.monotonic() - start
    hop.stop()
    await scene.pair.settle(scene.pair.server, scene.pair.server_start, 45, "the client was killed")
    await scene.pair.server.stop()
    return "kill -9 of the client: the last target connection was closed after %.1f s" % took


# ---- a long life on one carrier ----


async def long_direct(scene):
    """A session that was on direct for longer than retain_s outlives an outage of both paths."""
    await scene.start("retain=5")
    hop = await scene.hop("long", faults=False)
    scene.pair.reach(hop.address, "redial=0")
    plan = scene.plan(random.Random(1), "tls13", "both", 4 * MB, 4 * MB)
    plan.rate = MB // 4
    app = asyncio.ensure_future(scene.app(plan))
    await asyncio.sleep(8)
    check(not app.done() and hop.stats["direct"] == 1, "not on one direct connection for 8 s")
    hop.unlisten()
    for link in hop.live("direct"):
        link.reset()
    await asyncio.sleep(2)
    await hop.listen()
    plan.rate = None
    await app
    await scene.target.quiet(60)
    await scene.end()
    return "on direct for 8 s with retain=5, then none of both paths for 2 s: nothing was lost"


# ---- the end of a session, or of the bridge, is no block ----


class Moody(Target):
    """Pours at who says "p", and reads nothing from others."""

    async def serve(self, reader, writer):
        if await reader.read(1) != b"p":
            reader._transport.pause_reading()  # pylint: disable=protected-access
            await asyncio.sleep(1000)
        try:
            while True:
                writer.write(make_block("pour", 0))
                await writer.drain()
        except OSError:
            hard_close(writer)


def small_socket(*address):
    """Takes little that nobody reads."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    if address:
        sock.bind(address)
    return sock


async def ended_early(scene):
    """Apps reset in the first seconds, in a jam: the next one goes direct."""
    scene.target = target = Moody(scene.cert)
    await target.start(small_socket("127.0.0.1", 0))
    await scene.pair.start_server(target.port)
    await scene.pair.start_client()
    hop = await scene.hop("early", faults=False)
    hop.far_socket = small_socket
    scene.pair.reach(hop.address)
    loop = asyncio.get_running_loop()
    for number, what in enumerate((b"s", b"p", b"s"), 1):
        hop.rate = MB if what == b"p" else None
        wire = Plain(*await socks(scene.pair.socks, scene.pair.address, scene.pair.args))
        writing = asyncio.ensure_future(wire.write(what + bytes(30 * MB if what == b"s" else 0)))
        end = loop.time() + 3
        while what == b"p" and loop.time() < end:
            await wire.read()
        await asyncio.sleep(1 if what == b"s" else 0)
        check(hop.stats["direct"] == number, "session %d had no direct connection", number)
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        hard_close(wire.writer)
        await asyncio.sleep(22 if what == b"s" else 3)
    return "apps that reset early in a jam: the next one goes direct"


async def restarted(scene):
    """The bridge, while a session is on direct: the next one goes direct, too."""
    await scene.start()
    hop = await scene.hop("restarted", faults=False)
    scene.pair.reach(hop.address)
    plan = scene.plan(random.Random(1), "tls13", "both", 500 * MB, 500 * MB)
    plan.rate = 500000
    app = asyncio.ensure_future(scene.app(plan))
    await asyncio.sleep(6)
    await scene.pair.server.kill()
    await scene.pair.start_server(scene.target.port)
    hop.upstream = scene.pair.public
    scene.pair.reach(hop.address)
    await all_over([app], 20 * PATIENCE, "the server was restarted")
    await asyncio.sleep(1)
    before = hop.bytes["direct"]
    await scene.app(scene.plan(random.Random(2), "tls12", "both", MB, MB))
    check(hop.bytes["direct"] - before > MB, "the session behind a restart went by OOB")
    await scene.target.quiet(60)
    await scene.end()
    return "the bridge was restarted: the next session goes direct"


# ---- idle ----


async def idle(scene):
    """An idle session: at most one PING a minute, on the connection that it has."""
    await scene.start()
    hop = await scene.hop("idle", faults=False)
    scene.pair.reach(hop.address)
    reader, writer = await socks(scene.pair.socks, scene.pair.address, scene.pair.args)
    await Plain(reader, writer).write(b"\0\0\0\0"[:3])
    await asyncio.sleep(10)
    link = hop.live("direct")[0]
    before, reads = dict(link.bytes), dict(link.reads)
    await asyncio.sleep(70)
    up, down = (link.reads[d] - reads[d] for d in (True, False))
    sent = sum(link.bytes[d] - before[d] for d in (True, False))
    check(hop.live("direct") == [link], "the idle connection was given up")
    check(1 <= up <= 2 and down <= 2, "%d records up and %d down in 70 s", up, down)
    hard_close(writer)
    await scene.target.quiet(60)
    await scene.end()
    return "an idle session: %d records up, %d down, %d bytes in 70 s" % (up, down, sent)
