"""A relay behind real web servers, on its own port and on theirs; how OOB connections resume;
and what a relay's death does to a client."""
import contextlib
import glob
import os
import re
import signal
import socket
import subprocess
import threading
import time

from alone_kit import (HOST, OWN, TOP, Daemon, certificate, client, command, curl, digest,
                       free_port, http, internet, line_by_hop, nginx_temporary, pin, relay, socks5,
                       write)
from hop import read_recording
from pt_kit import DEADLINE, EXIT_SOON, PROGRAMS, SLOW, exactly, test, until
from alone_limits import ended, slow_download

NAME, FRONT = "www.gateway.example", "cdn.example.net"
HEAD = """
user root; daemon off; master_process off; error_log stderr notice; pid {dir}/gateway.pid;
events {{ worker_connections 512; }}
http {{
	{temporary}
	log_format seen '$server_port $ssl_server_name $http_host $request_uri $status '
		'$ssl_session_reused $connection';
	access_log {dir}/gateway.log seen;
	ssl_certificate {top}/gateway.crt; ssl_certificate_key {top}/gateway.key;
	ssl_protocols TLSv1.2 TLSv1.3;
	keepalive_timeout 120;
	server {{
		listen {address} ssl;
		root {dir}/site;
		{location}
	}}
}}
"""
LOCATION = """
		location {prefix} {{
			if ($request_method != POST) {{ return 404; }}
			proxy_pass https://{to};
			proxy_http_version 1.1; proxy_set_header Connection "";
			proxy_read_timeout 60s; proxy_buffering off; client_max_body_size 256k;
			proxy_intercept_errors on; error_page 404 502 504 = @missing;
		}}
		location @missing {{ return 404; }}
"""
HAPROXY = """
global
	log stdout format raw local0
defaults
	mode http
	log global
	timeout connect 5s
	timeout client 60s
	timeout server 90s
	log-format "%[ssl_fc_sni] %[var(txn.host)] %HU %ST"
frontend cdn
	bind {address} ssl crt {top}/front.pem
	http-request set-var(txn.host) req.hdr(host)
	http-request deny deny_status 403 unless {{ req.hdr(host) {name} }}
	default_backend origin
backend origin
	server origin {origin} ssl verify none sni str({name})
"""


def make_certificates():
    certificate("gateway", NAME)
    certificate("front", FRONT)


def own_address():
    return f"{OWN}:{free_port(OWN)}"


def nginx(t, address, location):
    os.makedirs(t.dir + "/site", exist_ok=True)
    write(t, "site/index.html", "a real web site\n")
    conf = write(t, "gateway.conf", HEAD.format(dir=t.dir, top=TOP, address=address,
                                                location=location,
                                                temporary=nginx_temporary(t.dir)))
    Daemon(t, "nginx", ["nginx", "-e", "stderr", "-p", t.dir, "-c", conf])
    listens(address)


def listens(address):
    def tried():
        with contextlib.suppress(OSError):
            with socket.create_connection(address.split(":"), 1):
                return True
        return False
    until(tried, address + " listens")


def gateway_log(t):
    with open(t.dir + "/gateway.log", encoding="latin-1") as f:
        return [x.split() for x in f]


def use(t, line, closed=False):
    """Downloads over SOCKS and HTTP, concealed and split; the client."""
    net = internet(t)
    c = client(t, line=line, config={"rules": [{"strategy": "split", "hosts": ["v4.*"]}]})
    for proxy in (socks5(c), http(c)):
        for host in (HOST, "v4.target.example"):
            data = curl(proxy, f"https://{host}/f80")
            assert digest(data) == net.files["f80"], host
    data = curl(socks5(c), f"https://{HOST}/big")
    assert digest(data) == net.files["big"]
    until(lambda: any(" down, " in x for x in c.lines), "a session in the log")
    assert not closed or all(" 0 direct connections" in x for x in c.lines if " down, " in x)
    return c


@test("gateway", "nginx with a path prefix, and HAProxy before it as a front with another Host")
def prefix_and_front(t):
    internet(t)
    make_certificates()
    oob, at, front = (own_address() for _ in range(3))
    r = relay(t, oob=oob, url=f"https://{NAME}/shop", direct=[])
    nginx(t, at, LOCATION.format(prefix="/shop/", to=oob + "/"))
    cfg = write(t, "haproxy.cfg", HAPROXY.format(address=front, origin=at, top=TOP, name=NAME))
    haproxy = Daemon(t, "haproxy", ["haproxy", "-db", "-f", cfg], status=None)
    listens(front)
    assert f"url=https://{NAME}/shop" in r.args, r.args
    start = f"sultry {OWN}:{r.port} {r.args}"
    use(t, f"{start} addr={at} pin={pin('gateway')}")
    seen = gateway_log(t)
    # 499: a poll that the client gave up.
    assert seen and all(x[1] == x[2] == NAME and x[3].startswith("/shop/") and
                        x[4] in ("200", "499") for x in seen), seen
    use(t, f"{start} addr={front} front={FRONT} pin={pin('front')}")
    seen = [x.split() for x in haproxy.lines if "/shop/" in x]
    assert seen and all(x[:2] == [FRONT, NAME] and x[3] in ("200", "-1") for x in seen), seen
    # The direct port closed: all by the gateway.
    use(t, f"sultry {OWN}:{free_port(OWN)} {r.args} addr={at} pin={pin('gateway')}", closed=True)


@test("gateway", "a real web site on the relay's own port (fallback=): strangers see only that")
def fallback(t):
    internet(t)
    make_certificates()
    oob, site, base = own_address(), own_address(), "/static/fonts"
    r = relay(t, oob=oob, fallback=site, base=base)
    assert f"base={base}" in r.args, r.args
    nginx(t, site, LOCATION.format(prefix=base, to=oob))
    at = f"{OWN}:{r.port}"
    use(t, f"sultry {at} {re.sub('pin=[^ ]*', 'pin=' + pin('gateway'), r.args)}")
    assert any(x[3].startswith(base + "/") and x[4] == "200" for x in gateway_log(t))

    def stranger(*words):
        said = command("curl", "-q", "-sS", "-k", "-i", "-m", "10", *words)
        return [x for x in said.splitlines() if not x.startswith(b"Date: ")]
    assert b"a real web site" in stranger(f"https://{at}/")
    missing = stranger(f"https://{at}/missing")
    assert b" 404 " in missing[0], missing
    for path in (base, base + "/" + "A" * 22):
        assert stranger(f"https://{at}{path}") == missing, path
        assert stranger("-d", "{}", f"https://{at}{path}") == missing, path


# ---- resumption ----

def extensions(data):
    """The numbers of those in a ServerHello, the start of a stream."""
    assert data[0] == 22 and data[5] == 2, data[:6]
    at = 5 + 4 + 2 + 32
    at += 1 + data[at] + 3
    end, found = at + 2 + int.from_bytes(data[at:at + 2], "big"), []
    at += 2
    while at < end:
        found.append(int.from_bytes(data[at:at + 2], "big"))
        at += 4 + int.from_bytes(data[at + 2:at + 4], "big")
    return found


def many_connections(c):
    """More at a time than there are idle OOB connections. OpenSSL takes a ticket for used up
    when the first handshake with it is over, so of a burst not all resume."""
    for n in (1, 20, 20, 20):
        curl(socks5(c), "--parallel", "--parallel-immediate", "--parallel-max", "20", "-o",
             "/dev/null", f"https://{HOST}/f[1-{n}]")


@test("resume", "OOB connections to the relay's own port resume")
def resume(t):
    internet(t)
    c = client(t, line=line_by_hop(t, relay(t)))
    many_connections(c)
    c.close()
    full, resumed = 0, 0
    for path in glob.glob(t.dir + "/rec/*.rec"):
        streams = {b"u": b"", b"d": b""}
        for _, kind, data in read_recording(path):
            if kind in streams:
                streams[kind] += data
        if streams[b"u"][:2] != b"\x16\3" or not streams[b"d"]:
            continue
        if 41 in extensions(streams[b"d"]):  # pre_shared_key
            resumed += 1
        else:
            full += 1
    assert full >= 1 and resumed >= 5, f"{full} full handshakes, {resumed} resumed"


@test("resume", "behind nginx: its log counts the resumed connections")
def resume_nginx(t):
    internet(t)
    make_certificates()
    oob, at = own_address(), own_address()
    r = relay(t, oob=oob, url=f"https://{NAME}/shop")
    nginx(t, at, LOCATION.format(prefix="/shop/", to=oob + "/"))
    c = client(t, line=f"sultry {OWN}:{r.port} {r.args} addr={at} pin={pin('gateway')}")
    many_connections(c)
    connections = {x[6]: x[5] for x in gateway_log(t)}
    assert list(connections.values()).count("r") >= 5, connections


# ---- ends ----

@test("ends", "the relay is killed under load and comes back: what ran ends, what is new works")
def killed(t):
    net = internet(t)
    state = t.dir + "/relay"
    r = relay(t, state=state)
    c = client(t, r)
    running, busy, stop = slow_download(c, 4), [], []

    def load():
        while not stop:
            busy.append(subprocess.run(
                ["curl", "-q", "-s", "--noproxy", "", "--proxy", socks5(c), "-k", "-m", "60", "-o",
                 "/dev/null", f"https://{HOST}/f50"], timeout=90, check=False).returncode)
    threads = [threading.Thread(target=load) for _ in range(4)]
    for x in threads:
        x.start()
    until(lambda: len(busy) > 8, "load")
    r.kill()
    again = relay(t, port=r.port, state=state)
    assert again.args == r.args, "another key"
    for s in running:
        assert ended(s)
    until(lambda: 0 in busy[-4:] and len(busy) > 30, "new connections work", 60)
    stop.append(1)
    for x in threads:
        x.join()
    assert digest(curl(socks5(c), f"https://{HOST}/f99")) == net.files["f99"]
    assert c.child.poll() is None
    fds = len(os.listdir(f"/proc/{c.pid}/fd"))
    assert fds < 60, f"{fds} descriptors"


@test("ends", "a relay that is gone for good: apps hear of it, and the client can be ended")
def gone(t):
    internet(t)
    r = relay(t, retain=3)
    c = client(t, r)
    running = slow_download(c, 2)
    r.kill()
    start = time.monotonic()
    for s in running:
        s.settimeout(60 * SLOW)
        assert ended(s)
    took = time.monotonic() - start
    assert took < 45 * SLOW, f"{took:.0f} s"
    curl(socks5(c), "-k", f"https://{HOST}/f1", status=None, seconds=40)
    c.child.send_signal(signal.SIGINT)
    assert c.gone(EXIT_SOON * SLOW + 10) == 0


@test("ends", "the client under load: SIGTERM once drains, twice ends at once; the relay the same")
def signals(t):
    internet(t)
    r = relay(t)
    for who in ("client", "relay"):
        c = client(t, r)
        s, = slow_download(c)
        p = c if who == "client" else r
        p.child.terminate()
        time.sleep(0.2)
        assert p.child.poll() in (None, 0)
        if p.child.poll() is None:
            exactly(s, 7_900_000)  # what runs goes on
            s.close()
        assert p.gone(15 * SLOW) == 0, who


@test("ends", "systemd is told when the programs are ready")
def notify(t):
    internet(t)
    for role in ("server", "client"):
        path = f"{t.dir}/notify-{role}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.bind(path)
            s.settimeout(DEADLINE)
            if role == "server":
                config = write(t, "n.json", {"listen": [OWN + ":" + str(free_port(OWN))],
                                             "state": t.dir + "/n"})
                words = ["--config", config]
            else:
                words = ["--listen", "socks5://127.0.0.1:0", "--bridge",
                         f"sultry {OWN}:1 key={'A' * 42}I pin={'A' * 43}"]
            Daemon(t, role, [PROGRAMS[role], *words], env={**os.environ, "NOTIFY_SOCKET": path})
            assert s.recv(100) == b"READY=1", role
