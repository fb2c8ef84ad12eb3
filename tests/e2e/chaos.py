#!/usr/bin/env python3
"""Sessions outlive their connections: the tests that decide whether that is so.

    chaos.py seeds FIRST-LAST [--jobs N]   seeded chaos, several seeds side by side
    chaos.py seed N                        one of them, alone and with its story
    chaos.py blocked | move | echo | kill | idle
    chaos.py soak --seconds N [--sessions N]

SULTRY_CHAOS=full: each seed carries 50 MB each way. BUILD: where the programs are.
"""
import argparse
import asyncio
import base64
import collections
import concurrent.futures
import hashlib
import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
import time

from chaos_gateway import Gateway
from chaos_hop import Hop
from chaos_peers import Pair, Plan, SHAPES, Target, Wrong, both, run_app

MB = 1000000
FULL = os.environ.get("SULTRY_CHAOS") == "full"
BIG_SEEDS = {25, 50, 75, 100}  # these carry 50 MB each way in any case
SEED_SECONDS = 600 if FULL else 180
KINDS = ("plain", "tls12", "tls13")
# Idle OOB connections that the client keeps on purpose, and what curl holds with them.
POOL = 12


# ---- certificates ----


def make_certificate(folder):
    """(certificate, key) for targets and gateways, and the pin of it."""
    cert, key = os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
                    "/CN=cdn.example.net", "-keyout", key, "-out", cert],
                   check=True, stderr=subprocess.DEVNULL)
    spki = subprocess.run("openssl x509 -in %s -noout -pubkey | openssl pkey -pubin -outform der"
                          % cert, shell=True, check=True, stdout=subprocess.PIPE).stdout
    return (cert, key), base64.urlsafe_b64encode(hashlib.sha256(spki).digest()).decode().rstrip("=")


# ---- one seed ----


class Scene:
    """Target, programs, hop and gateways of one test; all of it ends with it."""

    def __init__(self, folder):
        self.folder = folder
        self.cert, self.pin = make_certificate(folder)
        self.pair = Pair(folder)
        self.hops, self.gateways, self.plans = [], [], []
        self.target = None

    async def start(self, options="", banner=False):
        self.target = Target(self.cert, banner)
        await self.target.start()
        await self.pair.start_server(self.target.port, options)
        await self.pair.start_client()

    async def hop(self, name, **how):
        hop = Hop(name, self.pair.public, **how)
        await hop.start()
        self.hops.append(hop)
        return hop

    async def gateway(self, name, **how):
        gateway = Gateway(name, self.pair.public, self.cert, **how)
        await gateway.start()
        self.gateways.append(gateway)
        return gateway

    def plan(self, rnd, kind, shape, up, down):
        plan = Plan(len(self.plans) + 1, rnd, kind, shape, up, down)
        self.plans.append(plan)
        return plan

    def app(self, plan):
        return run_app(plan, self.pair, self.target)

    def opening(self):
        return any(not p.opened.is_set() for p in self.plans if p.started)

    async def end(self):
        """All sessions are over: nothing may be left of them."""
        await self.pair.settle(self.pair.client, self.pair.client_start + POOL, 30,
                               "after the sessions")
        for hop in self.hops:
            hop.stop()
        for gateway in self.gateways:
            gateway.stop()
        await self.pair.client.stop()
        await self.pair.settle(self.pair.server, self.pair.server_start, 30,
                               "after the client's end")
        await self.pair.server.stop()

    def story(self):
        lines = [str(p) for p in self.plans]
        for x in self.hops + self.gateways:
            lines.append("%s %s: %s" % (type(x).__name__, x.seed, dict(x.stats)))
        events = sorted(e for x in self.hops + self.gateways for e in x.events)
        lines += events[-80:]
        for p in (self.pair.client, self.pair.server):
            lines += ["%s: %s" % (p.name, line) for line in list(p.lines)[-10:]]
        return "\n".join("    " + line for line in lines)


def sizes(seed, rnd):
    """What the sessions of a seed carry: kind, shape, bytes up, bytes down."""
    if FULL or seed in BIG_SEEDS:
        yield KINDS[seed % 3], "both", 50 * MB, 50 * MB
        yield rnd.choice(KINDS), rnd.choice(SHAPES), MB, MB
        return
    if seed % 10 == 7:
        for _ in range(20):
            yield (rnd.choice(KINDS), rnd.choice(SHAPES), int(10 ** (5.3 * rnd.random())),
                   int(10 ** (5.3 * rnd.random())))
        return
    for kind in KINDS:
        shape = "both" if rnd.random() < 0.5 else rnd.choice(SHAPES)
        yield (kind, shape, int(20000 * 150 ** rnd.random()), int(20000 * 150 ** rnd.random()))


async def disturb(rnd, hop, gateways):
    """What happens to all of a path at once, now and then."""
    while True:
        await asyncio.sleep(rnd.uniform(0.2, 3))
        what = rnd.choice(("reset", "silence", "refuse", "dark"))
        seconds = rnd.uniform(0.2, 2)
        if what == "refuse" and hop.alone:
            hop.note("dials are refused for %.1f s" % seconds)
            hop.unlisten()
            await asyncio.sleep(seconds)
            await hop.listen()
        elif what == "dark" and len(gateways) > 1:
            one = rnd.choice(gateways)
            one.dark = rnd.choice(("lost", "swallowed"))
            await asyncio.sleep(2 * seconds)
            one.dark = None
        elif what in ("reset", "silence"):
            hop.note("blocked by %s for %.1f s" % (what, seconds))
            hop.block = what
            await asyncio.sleep(seconds)
            hop.block = None


async def play_seed(scene, seed):
    rnd = random.Random(seed)
    mode = ("one port", "two ports", "gateway", "two gateways")[seed % 4]
    banner = seed % 10 == 3
    await scene.start(banner=banner)
    big = FULL or seed in BIG_SEEDS
    slow = rnd.choice((0, 1, 2, 3)) if not big else 4
    limit = 8 * MB if big else 2 * MB
    hop = await scene.hop("%d/direct" % seed, slow=slow, limit=limit)
    hop.alone = mode != "one port"
    extra = ["redial=%d" % rnd.choice((0, 0, 0, 1))]
    pin = None
    if mode == "one port":
        hop.oob_faults, hop.calm = 4, lambda: not scene.opening()
    elif mode == "two ports":
        other = await scene.hop("%d/oob" % seed, oob_faults=6, calm=lambda: not scene.opening())
        extra.append("url=https://127.0.0.1:%d" % other.address[1])
    else:
        pin = scene.pin
        for i in range(2 if mode == "two gateways" else 1):
            gateway = await scene.gateway("%d/gateway%d" % (seed, i), slow=slow)
            extra.append("url=" + gateway.url)
        if seed % 20 in (2, 3):
            hop.block = rnd.choice(("reset", "silence"))  # all the way by OOB
    scene.pair.reach(hop.address, *extra, pin=pin)

    async def one(plan, late):
        await asyncio.sleep(late)
        plan.started = True
        await scene.app(plan)

    plans = [scene.plan(rnd, "plain" if banner else kind, shape, up, down)
             for kind, shape, up, down in sizes(seed, rnd)]
    lates = [rnd.choice((0, 0, 0.3, 2)) for _ in plans]
    trouble = [] if hop.block else [disturb(rnd, hop, scene.gateways)]
    tasks = [asyncio.ensure_future(t) for t in trouble]
    try:
        await both(*(one(p, late) for p, late in zip(plans, lates)))
    finally:
        for t in tasks:
            t.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if scene.target.accepted > len(plans):
        raise Wrong("%d sessions reached the target %d times" % (len(plans), scene.target.accepted))
    await scene.target.quiet(60)
    if not hop.server.is_serving():
        await hop.listen()
    await scene.end()


async def run_scene(play, seconds):
    """Plays it; returns (None or what is wrong, its statistics)."""
    stats = collections.Counter()
    with tempfile.TemporaryDirectory(prefix="sultry-chaos.") as folder:
        scene = Scene(folder)
        wrong = None
        try:
            await asyncio.wait_for(play(scene), seconds)
        except Wrong as e:
            wrong = str(e)
        except asyncio.TimeoutError:
            wrong = "it hangs: not done after %d s" % seconds
        finally:
            if wrong:
                wrong += "\n" + scene.story()
            for x in scene.hops + scene.gateways:
                stats.update(x.stats)
            await scene.pair.kill()
        return wrong, stats


def one_seed(seed):
    start = time.monotonic()
    wrong, stats = asyncio.run(run_scene(lambda scene: play_seed(scene, seed), SEED_SECONDS))
    return seed, wrong, stats, time.monotonic() - start


def seeds(first, last, jobs):
    failed, total, longest = [], collections.Counter(), (0, 0)
    context = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(jobs, mp_context=context) as pool:
        for done in concurrent.futures.as_completed(
                pool.submit(one_seed, seed) for seed in range(first, last + 1)):
            seed, wrong, stats, seconds = done.result()
            total.update(stats)
            longest = max(longest, (seconds, seed))
            if wrong:
                failed.append(seed)
                print("FAIL: seed %d after %.1f s: %s" % (seed, seconds, wrong), flush=True)
    print("%d seeds; the longest, %d, took %.1f s" % (last - first + 1, longest[1], longest[0]))
    print("what happened: " + ", ".join("%s %d" % i for i in sorted(total.items())))
    if failed:
        sys.exit("seeds that failed: %s (again: tests/e2e/chaos.py seed %d)"
                 % (" ".join(map(str, sorted(failed))), failed[0]))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what")
    parser.add_argument("argument", nargs="?")
    parser.add_argument("--jobs", type=int, default=8)
    args = parser.parse_args()
    if args.what == "seeds":
        first, _, last = args.argument.partition("-")
        seeds(int(first), int(last or first), args.jobs)
    elif args.what == "seed":
        seed, wrong, stats, seconds = one_seed(int(args.argument))
        print("seed %d: %s after %.1f s; %s" % (seed, wrong or "ok", seconds, dict(stats)))
        sys.exit(1 if wrong else 0)
    else:
        parser.error("unknown test " + args.what)


if __name__ == "__main__":
    main()
