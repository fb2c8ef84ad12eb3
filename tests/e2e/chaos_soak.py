"""Hundreds of sessions at once, one after another, under chaos: memory and descriptors stay flat."""
import asyncio
import random
import resource
import statistics

from chaos_peers import SHAPES, Target, Wrong, both
from chaos_scene import MB, sanitized

RATE = 8000      # bytes a second that an end of a session sends: most live for a while
SETTLED = 500    # seconds: the server remembers opens for 240 of them
SHORT_MOST = 200 * MB
LAG, STARVED = "longest lag, ms", 1000
KINDS = ("plain", "plain", "plain", "plain", "tls12", "tls13")


def flat(samples, seconds):
    """Memory near the end is what it was at half the time. A short run only fills the tables
    and the heap, so there it has a bound instead."""
    told = []
    for i, name in ((1, "client"), (2, "server")):
        half = [s[i] for s in samples if 0.4 <= s[0] / seconds < 0.6]
        last = [s[i] for s in samples if 0.8 <= s[0] / seconds]
        half, last = statistics.mean(half), statistics.mean(last)
        told.append("%s %.1f then %.1f MB" % (name, half / MB, last / MB))
        most = 1.1 * half + 2 * MB if seconds >= SETTLED else SHORT_MOST
        if last > most and not sanitized():
            raise Wrong("memory grows: " + told[-1])
    for i, name in ((3, "client"), (4, "server")):
        told.append("%s at most %d descriptors" % (name, max(s[i] for s in samples)))
    return ", ".join(told)


async def soak(scene, seconds, sessions):
    scene.target = target = Target(scene.cert)
    await target.start()
    # No more descriptors than a process gets by default; the programs know how to ask for more.
    usual = ("prlimit", "--nofile=1024:%d" % resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    pair = scene.pair
    await pair.start_server(target.port, prefix=usual)
    await pair.start_client(prefix=usual)
    hop = await scene.hop("soak", slow=10 ** 9, limit=30000, oob_faults=10 ** 9,
                          calm=lambda: random.random() < 0.05)
    pair.reach(hop.address, "redial=0")
    loop = asyncio.get_running_loop()
    start = loop.time()
    finished, samples = [], []
    number = iter(range(1, 10 ** 9))
    longest = RATE * min(25, seconds / 4) / 100

    async def one_after_another(worker):
        rnd = random.Random(worker)
        await asyncio.sleep(rnd.uniform(0, min(10, seconds / 4)))
        while loop.time() < start + seconds:
            plan = scene.plan(rnd, rnd.choice(KINDS), rnd.choice(SHAPES),
                              int(100 * longest ** rnd.random()), int(100 * longest ** rnd.random()),
                              next(number))
            plan.rate = RATE
            try:
                await scene.app(plan)
                finished.append(plan.number)
            except Wrong:
                # The client gives an open 25 s. On a machine so busy that this test stands
                # still for seconds, the bridge's answer may need longer.
                if plan.targets or hop.stats[LAG] < STARVED:
                    raise
                hop.stats["opens given up"] += 1
            scene.plans.remove(plan)
            del target.plans[plan.number]

    async def watch():
        while loop.time() < start + seconds:
            due = loop.time() + 0.5
            await asyncio.sleep(0.5)
            hop.stats[LAG] = max(hop.stats[LAG], int(1000 * (loop.time() - due)))
            samples.append((loop.time() - start, pair.client.memory(), pair.server.memory(),
                            pair.client.descriptors(), pair.server.descriptors()))
            hop.links = [k for k in hop.links if not k.over]

    await both(watch(), *(one_after_another(i) for i in range(sessions)))
    await target.quiet(90)
    if hop.stats["opens given up"] > len(finished) / 50:
        raise Wrong("%d of %d opens were given up" % (hop.stats["opens given up"], len(finished)))
    told = flat(samples, seconds)
    await scene.end()
    return "%d sessions, %d at once, in %d s; %s; %s" % (
        len(finished), sessions, loop.time() - start, told,
        ", ".join("%s %d" % i for i in hop.stats.most_common(5)))
