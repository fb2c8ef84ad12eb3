"""One test's target, programs, hops and gateways, and the place where they run."""
import asyncio
import base64
import collections
import contextlib
import ctypes
import hashlib
import os
import subprocess
import tempfile

from chaos_gateway import Gateway
from chaos_hop import Hop
from chaos_peers import BUILD, Pair, Plan, Target, Wrong, run_app

MB = 1000000
# Idle OOB connections that the client keeps on purpose, and what curl holds with them.
POOL = 12


def sanitized():
    """Under a sanitizer memory is not what it is, and time neither."""
    with open(os.path.join(BUILD, "sultry-client"), "rb") as f:
        return b"__asan_init" in f.read()


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


class Scene:
    """Target, programs, hop and gateways of one test; all of it ends with it."""

    def __init__(self, folder):
        self.folder = folder
        self.cert, self.pin = make_certificate(folder)
        self.pair = Pair(folder)
        self.hops, self.gateways, self.plans = [], [], []
        self.harms = collections.Counter()
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
        gateway = Gateway(name, self.pair.public, self.cert, self.harms, **how)
        await gateway.start()
        self.gateways.append(gateway)
        return gateway

    def plan(self, rnd, kind, shape, up, down, number=None):
        plan = Plan(number or len(self.plans) + 1, rnd, kind, shape, up, down)
        self.plans.append(plan)
        return plan

    def app(self, plan):
        return run_app(plan, self.pair, self.target)

    def opening(self):
        return any(not p.opened.is_set() for p in self.plans if p.started)

    async def end(self):
        """All sessions are over: nothing may be left of them."""
        await self.pair.settle(self.pair.client, self.pair.client_start + POOL + 4, 60,
                               "after the sessions")
        # First the client: then nobody asks the gateways for another connection.
        await self.pair.client.stop()
        for hop in self.hops:
            hop.stop()
        for gateway in self.gateways:
            await gateway.stop()
        await self.pair.settle(self.pair.server, self.pair.server_start, 60,
                               "after the client's end")
        await self.pair.server.stop()

    def story(self):
        lines = [str(p) for p in self.plans[-25:]]
        for x in self.hops + self.gateways:
            lines.append("%s %s: %s" % (type(x).__name__, x.seed, dict(x.stats)))
        events = sorted(e for x in self.hops + self.gateways for e in x.events)
        lines += events[-80:]
        for p in (self.pair.client, self.pair.server):
            lines += ["%s: %s" % (p.name, line) for line in list(p.lines)[-10:]]
        return "\n".join("    " + line for line in lines)


async def run_scene(play, seconds):
    """Plays it; returns (None or what is wrong, its statistics, what it tells)."""
    stats = collections.Counter()
    with tempfile.TemporaryDirectory(prefix="sultry-chaos.") as folder:
        scene = Scene(folder)
        wrong = told = None
        try:
            told = await asyncio.wait_for(play(scene), seconds)
        except Wrong as e:
            wrong = str(e)
        except asyncio.TimeoutError:
            wrong = "it hangs: not done after %d s" % seconds
        finally:
            # What is cut off from here on complains of nothing but that.
            asyncio.get_running_loop().set_exception_handler(lambda *_: None)
            if wrong:
                wrong += "\n" + scene.story()
            for x in scene.hops + scene.gateways:
                stats.update(x.stats)
            await scene.pair.kill()
        return wrong, stats, told


# ---- network namespaces ----


class Namespace:
    """A network of its own, as long as its process lives."""

    def __init__(self):
        self.process = subprocess.Popen(["unshare", "-n", "cat"], stdin=subprocess.PIPE,
                                        stdout=subprocess.DEVNULL)
        self.file = "/proc/%d/ns/net" % self.process.pid
        own = os.readlink("/proc/self/ns/net")
        while os.readlink(self.file) == own:  # unshare has not come to it yet
            if self.process.poll() is not None:
                raise Wrong("no network namespaces here")
        self.enter = ("nsenter", "--net=" + self.file)

    def ip(self, *words):
        subprocess.run([*self.enter, "ip", *words], check=True)

    def sysctl(self, name, value):
        subprocess.run([*self.enter, "sh", "-c", "echo %s >/proc/sys/net/%s" % (value, name)],
                       check=True)

    @contextlib.contextmanager
    def inside(self):
        """Sockets made within belong to it."""
        libc = ctypes.CDLL(None, use_errno=True)
        with open("/proc/self/ns/net") as home, open(self.file) as there:
            if libc.setns(there.fileno(), 0) != 0:
                raise OSError(ctypes.get_errno(), "setns")
            try:
                yield
            finally:
                libc.setns(home.fileno(), 0)

    def end(self):
        self.process.stdin.close()
        self.process.wait()
