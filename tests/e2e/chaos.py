#!/usr/bin/env python3
"""Sessions outlive their connections: the tests that decide whether that is so.

    chaos.py seeds FIRST-LAST [--jobs N]   seeded chaos, several seeds side by side
    chaos.py seed N                        one of them, alone and with its story
    chaos.py CASES... [--jobs N]           of those: %s
    chaos.py soak --seconds N [--sessions N]
    chaos.py resets ADDRESS:PORT --seconds N   a hop for another test

BUILD: where the programs are.
"""
import argparse
import asyncio
import collections
import concurrent.futures
import multiprocessing
import os
import random
import resource
import sys
import time

import chaos_gateway
import chaos_hop
from chaos_cases import (blocked, client_killed, echoed, ended_early, failed_over, idle, long_direct,
                         moved, named, paused, restarted, server_gone, server_killed, stalled,
                         unanswered)
from chaos_hop import Hop
from chaos_peers import SHAPES, WRONG_BYTES, Wrong, both
from chaos_scene import MB, run_scene
from chaos_soak import soak

BIG = 50 * MB
SEED_SECONDS = int(os.environ.get("SEED_SECONDS", 900))
KINDS = ("plain", "tls12", "tls13")
# What a hundred seeds have to see at least once.
EVERY_FAULT = (["direct: " + f for f in chaos_hop.FAULTS if f != "none"] + list(chaos_gateway.FAULTS) +
               ["open: twice", "open: again later", "open: reply lost", "refused dials",
                "blocked by reset", "blocked by silence", "dark: lost", "dark: swallowed"])


# ---- one seed ----


def oob_alone(seed):
    return seed % 8 in (2, 7)


def sizes(seed, rnd):
    """What the sessions of a seed carry: kind, shape, bytes up, bytes down."""
    yield KINDS[seed % 3], "both", BIG, BIG
    if seed % 10 == 7:
        for _ in range(20):
            yield (rnd.choice(KINDS), rnd.choice(SHAPES), int(10 ** (5.3 * rnd.random())),
                   int(10 ** (5.3 * rnd.random())))
        return
    for kind in KINDS:
        shape = "both" if rnd.random() < 0.5 else rnd.choice(SHAPES)
        yield (kind, shape, int(20000 * 200 ** rnd.random()), int(20000 * 200 ** rnd.random()))


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
    slow = rnd.choice((0, 2, 4, 6))
    hop = await scene.hop("%d/direct" % seed, slow=slow, limit=rnd.choice((2 * MB, 8 * MB)))
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
        if oob_alone(seed):
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


def end(failures):
    """Ends the process: status 3 says that bytes were wrong, 1 that something else was."""
    sys.exit(3 if any(WRONG_BYTES in f for f in failures) else 1 if failures else 0)


def one_seed(seed):
    start = time.monotonic()
    wrong, stats, _ = asyncio.run(run_scene(lambda scene: play_seed(scene, seed), SEED_SECONDS))
    return seed, wrong, stats, time.monotonic() - start


def seeds(first, last, jobs):
    failed, total, longest = {}, collections.Counter(), (0, 0)
    # Those that take the longest come first.
    order = sorted(range(first, last + 1), key=oob_alone, reverse=True)
    with workers(jobs) as pool:
        for done in concurrent.futures.as_completed(pool.submit(one_seed, seed) for seed in order):
            seed, wrong, stats, seconds = done.result()
            total.update(stats)
            longest = max(longest, (seconds, seed))
            if wrong:
                failed[seed] = wrong
                print("FAIL: seed %d after %.1f s: %s" % (seed, seconds, wrong), flush=True)
    print("%d seeds; the longest, %d, took %.1f s" % (last - first + 1, longest[1], longest[0]))
    print("what happened: " + ", ".join("%s %d" % i for i in sorted(total.items())))
    if failed:
        print("seeds that failed: %s (again: tests/e2e/chaos.py seed %d)"
              % (" ".join(map(str, sorted(failed))), min(failed)))
        end(failed.values())
    if last - first >= 99:
        idle = [f for f in EVERY_FAULT if not total[f]]
        if idle:
            sys.exit("these never happened: " + ", ".join(idle))


def workers(jobs):
    return concurrent.futures.ProcessPoolExecutor(
        jobs, mp_context=multiprocessing.get_context("fork"))


# ---- the cases that are not left to chance ----

CASES = {
    "blocked": [(blocked, how, delay) for delay in (0, 0.025)
                for how in ("reset", "silence", "no answer to dials")],
    "move": [(moved, "address"), (moved, "link")],
    "stall": [(stalled, up, rate) for up in (True, False) for rate in (MB // 2, 20000)] +
             [(paused, who) for who in ("app", "target")] +
             [(unanswered, kind) for kind in ("plain", "tls13")],
    "failover": [(failed_over, how) for how in ("refused", "swallowed")],
    "named": [(named,)],
    "echo": [(echoed, greedy, block) for greedy in (True, False) for block in (None, "reset")],
    "kill": [(server_killed, seed) for seed in range(4)] +
            [(client_killed, seed) for seed in range(4)] +
            [(server_gone, silent) for silent in (False, True)] +
            [(long_direct,), (ended_early,), (restarted,)],
    "idle": [(idle,)],
}


def one_case(case, seconds=300):
    play, *how = case
    wrong, _, told = asyncio.run(run_scene(lambda scene: play(scene, *how), seconds))
    return "FAIL: %s%s: %s" % (play.__name__, tuple(how), wrong) if wrong else told


def cases(names, jobs):
    failed = []
    chosen = [case for name in names for case in CASES[name]]
    with workers(jobs) as pool:
        for done in concurrent.futures.as_completed(pool.submit(one_case, c) for c in chosen):
            print(done.result(), flush=True)
            if done.result().startswith("FAIL"):
                failed.append(done.result())
    end(failed)


async def resets(upstream, seconds):
    """A hop that resets all direct connections every so many seconds, until it is ended."""
    hop = Hop("resets", upstream, faults=False)
    await hop.start()
    print("listening %s:%d" % hop.address, flush=True)
    while True:
        await asyncio.sleep(seconds)
        for link in hop.live("direct"):
            link.reset()
            print("reset after %d bytes up, %d down" % (link.bytes[True], link.bytes[False]), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__ % " ".join(CASES),
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["seeds", "seed", "soak", "resets", *CASES])
    parser.add_argument("which", nargs="*")
    parser.add_argument("--jobs", type=int, default=8)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--sessions", type=int, default=500)
    args = parser.parse_args()
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    if args.what == "seeds":
        first, _, last = args.which[0].partition("-")
        seeds(int(first), int(last or first), args.jobs)
    elif args.what == "seed":
        seed, wrong, stats, seconds = one_seed(int(args.which[0]))
        print("seed %d: %s after %.1f s; %s" % (seed, wrong or "ok", seconds, dict(stats)))
        end([wrong] if wrong else [])
    elif args.what == "soak":
        told = one_case((soak, args.seconds, args.sessions), args.seconds + 300)
        print(told)
        end([told] if told.startswith("FAIL") else [])
    elif args.what == "resets":
        host, _, port = args.which[0].rpartition(":")
        asyncio.run(resets((host, int(port)), args.seconds))
    else:
        cases([args.what, *args.which], args.jobs)


if __name__ == "__main__":
    main()
