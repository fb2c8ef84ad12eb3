"""Programs through client and relay: curl, openssl, git, servers that speak first; and what
crossed the wire meanwhile."""
import os
import re
import signal
import socket
import subprocess
import sys

from alone_kit import (E2E, HOST, OWN, SITE, SITE6, TOP, Daemon, Lan, Wire, certificate, client,
                       command, concealed, curl, digest, free_port, http, internet, line_by_hop,
                       pin, read_wire, relay, resolve, resolve_by, socks5, start_hop, write)
from pt_kit import (BUILD, DEADLINE, PROGRAMS, connect, exactly, read_reply, request, test,
                    to_end, until)
from pt_peers import Listener, swallow

PORTS = {"allow": [{}, {"ports": ["1-65535"], "hosts": [HOST]}]}


def watched(t, **config):
    """A client of a relay, behind a hop that records: see concealed()."""
    internet(t)
    return client(t, line=line_by_hop(t, relay(t, **config)))


@test("proxy", "curl: SOCKS5, HTTP CONNECT and plain HTTP; HTTP/1.1 and 2; TLS 1.2 and 1.3")
def curl_all(t):
    net = internet(t)
    c = watched(t)
    proxies = [socks5(c), http(c), socks5(c, c.mixed), http(c, c.mixed)]
    for proxy in proxies:
        for version, protocol in (("--http1.1", "HTTP/1.1"), ("--http2", "HTTP/2.0")):
            for tls, name in ((("--tls-max", "1.2"), "TLSv1.2"), (("--tlsv1.3",), "TLSv1.3")):
                data = curl(proxy, version, *tls, f"https://{HOST}/f60?all")
                assert digest(data) == net.files["f60"], (proxy, version, tls)
                seen = net.log("f60?all")
                assert any(f" {protocol} {name} " in x for x in seen), (protocol, name)
        # Port 80, which is a plain request where the proxy is one of HTTP.
        assert digest(curl(proxy, f"http://{HOST}/f61?all")) == net.files["f61"], proxy
    wrong = [x for x in net.log("?all") if not x.endswith(" 200")]
    assert not wrong, wrong
    concealed(t, c, 2_000_000)


@test("proxy", "plain HTTP in proxy form: methods, bodies, several on one connection, addresses")
def plain_http(t):
    net = internet(t)
    c = watched(t)
    body = os.urandom(300_000)
    path = os.path.join(t.dir, "body")
    with open(path, "wb") as f:
        f.write(body)
    curl(http(c), "-f", "-T", path, f"http://{HOST}/up-{os.getpid()}")
    with open(os.path.join(TOP, "www", f"up-{os.getpid()}"), "rb") as f:
        assert f.read() == body
    urls = [f"http://{h}/f{i}" for i, h in enumerate((HOST, "v6.target.example", SITE,
                                                      "[2001:db8:1::10]", "v4.target.example"))]
    said = curl(http(c), "-w", "%{http_code} %{num_connects}\n", *sum(
        (["-o", os.path.join(t.dir, f"f{i}"), u] for i, u in enumerate(urls)), []))
    assert re.findall(rb"(\d+) \d+", said) == [b"200"] * 5, said
    for i in range(5):
        with open(os.path.join(t.dir, f"f{i}"), "rb") as f:
            assert digest(f.read()) == net.files[f"f{i}"], i
    said = curl(http(c), "-I", f"http://{HOST}/f9")
    assert said.startswith(b"HTTP/1.1 200") and b"Content-Length: 17993" in said, said
    assert b" 405 " in curl(http(c), "-i", "-X", "DELETE", f"http://{HOST}/f9")
    concealed(t, c, 10_000)


MINE = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nmine"


@test("proxy", "plain HTTP: a target that keeps the connection gets no other target's request")
def one_request(t):
    net = internet(t)
    heard, ended = [], []
    whole = re.compile(rb"GET \S+ HTTP[^\n]+\n([^\r\n]+\r\n)*\r\n$|^POST .*the end$|"
                       rb"^PUT .*the end\r\n0\r\n\r\n$", re.S)

    def serve(s, peer):
        """Answers each request, and never closes."""
        del peer
        heard.append(b"")
        at = len(heard) - 1
        try:
            while data := s.recv(65536):
                heard[at] += data
                if whole.search(heard[at]):
                    s.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nmine")
        finally:
            ended.append(at)
    with net.lan.inside():
        Listener(t, serve, SITE, 8080)
    body = write(t, "body", 3000 * "a line of the body\r\n" + "the end")
    first = f"http://{HOST}:8080/first"
    asks = (([], b"GET /first "),
            (["--data-binary", "@" + body], b"POST /first "),
            (["-T", body, "-H", "Transfer-Encoding: chunked"], b"PUT /first "))
    r = relay(t, **PORTS)
    for strategy in ("conceal", "direct", "split"):
        c = client(t, r, config={"default": strategy})
        for words, line in asks:
            n, got, log = len(ended), os.path.join(t.dir, "got"), os.path.join(t.dir, "log")
            said = curl(http(c), "-v", "--stderr", log, "-H", "Expect:", *words, first, "--next",
                        "-sS", "--noproxy", "", "--proxy", http(c), "-H", "Cookie: secret", "-o", got,
                        "http://v4.target.example/f3")
            assert said == b"mine", said
            with open(got, "rb") as f:
                assert digest(f.read()) == net.files["f3"], (strategy, line)
            # It did not try to use the connection again: it was told.
            with open(log, "rb") as f:
                trace = f.read()
            assert b"< Content-Length: 4\r\n< Connection: close\r\n< \r\n" in trace, trace
            assert re.search(rb"(?i)(closing|shutting down) connection", trace), trace
            assert not re.search(rb"(?i)re-?using existing|left intact", trace), trace
            until(lambda n=n: len(ended) > n, "the first target hears an end")
            assert len(heard) == len(ended) == n + 1, heard
            assert heard[n].startswith(line) and b"secret" not in heard[n], heard[n][-500:]
            assert whole.search(heard[n]) and b"/f3" not in heard[n], heard[n][-500:]
        # Whoever tries all the same is not heard.
        n = len(ended)
        s = connect(c.http)
        s.sendall(f"GET {first} HTTP/1.1\r\n\r\n".encode())
        assert exactly(s, len(MINE)) == MINE
        s.sendall(f"GET http://{SITE}/f3 HTTP/1.1\r\nCookie: secret\r\n\r\n".encode())
        until(lambda n=n: len(ended) > n, "the first target hears an end")
        assert len(heard) == n + 1 and whole.search(heard[n]), heard[n:]
        assert b"secret" not in heard[n], heard[n]
        # Both at once.
        n = len(heard)
        s = connect(c.http)
        s.sendall(f"GET {first} HTTP/1.1\r\n\r\nGET http://{SITE}/f3 HTTP/1.1\r\n\r\n".encode())
        assert to_end(s).startswith(b"HTTP/1.1 403 ")
        assert len(heard) == n, heard[n:]


@test("proxy", "plain HTTP: the app is told to close, once, whatever the target's answer is like")
def told_to_close(t):
    close = b"Connection: close\r\n"
    keep = b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nKeep-Alive: timeout=9\r\nContent-Length: "
    # What the target says: ahead of where the app has to be told, and behind.
    body = os.urandom(1_000_000)
    answers = {
        "keep": (keep + b"1000000\r\n", b"\r\n" + body),
        "more": (keep + b"2\r\n", b"\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"),
        "interim": (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" +
                    keep + b"2\r\n", b"\r\nok"),
        "lf": (b"HTTP/1.1 200 OK\nContent-Length: 2\n", b"\nok"),
        "none": (b"HTTP/1.1 204 No Content\r\nA: b\r\n", b"\r\n"),
    }

    def serve(s, peer):
        del peer
        asked = b""
        while b"\r\n\r\n" not in asked:
            asked += s.recv(65536)
        head, rest = answers[re.match(rb"GET /(\w+) ", asked)[1].decode()]
        s.sendall(head + rest)
        assert s.recv(1) == b"", "the app has said more"
    with internet(t).lan.inside():
        target = Listener(t, serve, SITE, 8081)
    r = relay(t, **PORTS)
    for strategy in ("conceal", "direct"):
        c = client(t, r, config={"default": strategy})
        for name, (head, rest) in answers.items():
            s = connect(c.http)
            s.sendall(f"GET http://{HOST}:8081/{name} HTTP/1.1\r\n\r\n".encode())
            want = head + close + rest
            assert exactly(s, len(want)) == want, (strategy, name)
            s.shutdown(socket.SHUT_WR)
            assert to_end(s) == b"", (strategy, name)
    assert not target.error, target.error


@test("proxy", "plain HTTP through a client that is cold: the app's half-close drops nothing")
def half_closed(t):
    net = internet(t)
    r = relay(t)
    for port in ("http", "mixed"):
        c = client(t, r)
        s = connect(getattr(c, port))
        s.sendall(f"GET http://{HOST}/f7 HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"
                  .encode())
        s.shutdown(socket.SHUT_WR)
        head, body = to_end(s).split(b"\r\n\r\n", 1)
        assert head.startswith(b"HTTP/1.1 200 ") and digest(body) == net.files["f7"], head


@test("proxy", "plain HTTP through a client that is warm: a target that fails is a 502")
def warm_failure(t):
    internet(t)
    c = client(t, relay(t))
    for proxy in (http(c), http(c, c.mixed)):
        curl(proxy, "-f", f"http://{HOST}/f7")
        for method in ("GET", "POST"):
            said = curl(proxy, "-X", method, "-d", "body", "-w", " %{http_code}",
                        "http://closed.example/")
            assert said.endswith(b" 502"), said
    c.line("target_refused", 4)


@test("proxy", "100 downloads in parallel, by SOCKS5 and by CONNECT, each with its SHA-256")
def parallel(t):
    net = internet(t)
    r = relay(t)
    lan = Lan(t)  # a hop of ours would be too slow for so many
    with lan.inside():
        c, wire = client(t, r), Wire(t, "far")
        # Cold, all hundred would each have to shake hands within the time of a cold request.
        curl(socks5(c), f"https://{HOST}/index.html")
        for proxy, version in ((socks5(c), "--http1.1"), (http(c), "--http2")):
            folder = os.path.join(t.dir, version)
            curl(proxy, version, "--no-alpn" if version == "--http1.1" else "--alpn", "-f",
                 "--parallel", "--parallel-immediate", "--parallel-max", "100", "--create-dirs",
                 "-o", folder + "/#1", f"https://{HOST}/f[0-99]", seconds=90)
            for i in range(100):
                with open(f"{folder}/{i}", "rb") as f:
                    assert digest(f.read()) == net.files[f"f{i}"], (proxy, i)
    wire.conceals(lan, r, 2 * 8_900_000)


@test("proxy", "a user and a password for the local listener")
def login(t):
    internet(t)
    r = relay(t)
    c = client(t, r, login="some%20one:p%40ss%3Aw@")
    url = f"https://{HOST}/index.html"
    right, wrong = "some%20one:p%40ss%3Aw@", "some%20one:p%40ss@"
    for scheme, ports in (("socks5h", (c.socks, c.mixed)), ("http", (c.http, c.mixed))):
        for port in ports:
            at = f"127.0.0.1:{port}"
            assert curl(f"{scheme}://{right}{at}", url) == b"the site\n"
            for bad in (wrong, ""):
                curl(f"{scheme}://{bad}{at}", url, status=97 if scheme == "socks5h" else 56)
    for bad in (wrong, ""):
        said = curl(f"http://{bad}127.0.0.1:{c.http}", "-i", f"http://{HOST}/index.html")
        assert said.startswith(b"HTTP/1.1 407 "), said
        assert b"\nproxy-authenticate: basic " in said.lower(), said


@test("proxy", "openssl s_client -proxy: TLS 1.2 and 1.3, and a session resumed")
def s_client(t):
    c = watched(t)
    get = f"GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode()
    path = os.path.join(t.dir, "session")
    for tls in ("-tls1_2", "-tls1_3"):
        for extra in (["-sess_out", path], ["-sess_in", path]):
            said = command("openssl", "s_client", "-proxy", f"127.0.0.1:{c.http}", "-connect",
                           f"{HOST}:443", "-servername", HOST, "-CAfile", TOP + "/site.crt",
                           "-verify_return_error", "-ign_eof", tls, *extra, text=get)
            assert b"the site" in said, said
            assert (b"Reused, " in said) == (extra[0] == "-sess_in"), said
    until(lambda: sum("session over: TLS 1." in x for x in c.lines) >= 4, "sessions in the log")
    assert sum("resumed" in x for x in c.lines) == 2, c.lines
    assert any("TLS 1.2" in x and "new ticket" in x for x in c.lines), c.lines
    concealed(t, c, 4 * 200)


@test("proxy", "servers that speak first, and a target's half-close")
def speaks_first(t):
    net = internet(t)
    heard = []

    def serve(s, peer):
        del peer
        s.sendall(b"220 I speak first\r\n")
        s.sendall(b"you said " + exactly(s, 6))
        s.shutdown(socket.SHUT_WR)
        heard.append(to_end(s))
    with net.lan.inside():
        Listener(t, serve, SITE, 2525)
    c = watched(t, **PORTS)
    for n in range(2):  # cold, and warm
        s = connect(c.socks)
        s.sendall(b"\5\1\0")
        assert exactly(s, 2) == b"\5\0"
        s.sendall(request((HOST, 2525)))
        assert read_reply(s) == 0
        assert exactly(s, 19) == b"220 I speak first\r\n"
        s.sendall(b"hello\n")
        assert to_end(s) == b"you said hello\n"
        s.sendall(b"and this behind your end")
        s.close()
        until(lambda: len(heard) == n + 1, "the target hears the end")
    assert heard == [b"and this behind your end"] * 2, heard
    concealed(t, c, 0)


@test("proxy", "git: clone from a git daemon by SOCKS5 and by CONNECT, and over https")
def git(t):
    net = internet(t)
    env = {"PATH": os.environ["PATH"], "HOME": t.dir, "BUILD": BUILD, "GIT_CONFIG_NOSYSTEM": "1",
           "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.invalid",
           "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.invalid"}
    work, repo = os.path.join(t.dir, "work"), os.path.join(TOP, "www", "repo.git")
    command("git", "init", "-q", "-b", "main", work, env=env)
    for i in range(20):
        with open(os.path.join(work, f"file{i}"), "wb") as f:
            f.write(os.urandom(20_000))
    command("git", "-C", work, "add", ".", env=env)
    command("git", "-C", work, "commit", "-qm", "files", env=env)
    command("git", "clone", "-q", "--bare", work, repo, env=env)
    command("git", "-C", repo, "update-server-info", env=env)
    head = command("git", "-C", work, "rev-parse", "HEAD", env=env)
    with net.lan.inside():
        daemon = Daemon(t, "git-daemon", ["git", "daemon", "--export-all", "--reuseaddr",
                                          f"--listen={SITE}", "--base-path=" + TOP + "/www",
                                          TOP + "/www"], status=None, env=env)
    until(lambda: net.listens(9418), "git daemon")
    c = watched(t, **PORTS)
    for kind, port in (("socks5", c.socks), ("connect", c.http)):
        nc = write(t, kind + ".sh",
                   f'#!/bin/sh\nexec {sys.executable} {E2E}/alone_nc.py {kind} {port} "$@"\n')
        os.chmod(nc, 0o755)
        to = os.path.join(t.dir, kind)
        command("git", "clone", "-q", f"git://{HOST}/repo.git", to,
                env={**env, "GIT_PROXY_COMMAND": nc})
        assert command("git", "-C", to, "rev-parse", "HEAD", env=env) == head
        command("git", "-C", to, "fsck", "--full", env=env)
    for proxy in (socks5(c), http(c)):
        to = os.path.join(t.dir, proxy[:4])
        command("git", "-c", "http.proxy=" + proxy, "-c", f"http.sslCAInfo={TOP}/site.crt",
                "clone", "-q", f"https://{HOST}/repo.git", to, env=env)
        assert command("git", "-C", to, "rev-parse", "HEAD", env=env) == head
    assert daemon.child.poll() is None
    concealed(t, c, 4 * 400_000)


def start_ssh(t, net):
    """Dropbear at SITE:2222 with one user, in whose home t.dir a new key may enter: the options
    of an ssh client that may. It is root of nothing, and the machine's users are not its."""
    for name in ("host", "user"):
        command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-m", "PEM", "-f", f"{t.dir}/{name}")
    command("dropbearconvert", "openssh", "dropbear", t.dir + "/host", t.dir + "/host.key")
    os.mkdir(t.dir + "/.ssh", 0o700)
    os.rename(t.dir + "/user.pub", t.dir + "/.ssh/authorized_keys")
    with open(t.dir + "/host.pub", encoding="ascii") as f:
        known = write(t, "known_hosts", f"[{HOST}]:2222 {f.read()}")
    passwd = write(t, "passwd", f"someone:x:1000:1000::{t.dir}:/bin/sh\n")
    with net.lan.inside():
        server = Daemon(t, "dropbear", [
            "unshare", "--mount", "sh", "-c", 'mount --bind "$1" /etc/passwd; shift; exec "$@"',
            "sh", passwd, "unshare", "--user", "--map-user=1000", "--map-group=1000",
            "dropbear", "-F", "-E", "-s", "-r", t.dir + "/host.key", "-p", SITE + ":2222",
            "-P", t.dir + "/pid"], status=None)
    until(lambda: net.listens(2222) or server.child.poll() is not None, "dropbear")
    return ["-F", "none", "-i", t.dir + "/user", "-p", "2222", "-o", "BatchMode=yes",
            "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=yes",
            "-o", "UserKnownHostsFile=" + known]


@test("proxy", "ssh, whose server speaks first: a file each way, by SOCKS5 and by CONNECT")
def ssh(t):
    options = start_ssh(t, internet(t))
    c = watched(t, **PORTS)
    sent = os.urandom(1_000_000)
    for kind, port in (("socks5", c.socks), ("connect", c.http)):
        through = f"ProxyCommand={sys.executable} {E2E}/alone_nc.py {kind} {port} %h %p"
        got = command("ssh", *options, "-o", through, "someone@" + HOST, "tee ~/" + kind, text=sent)
        assert got == sent, kind
        with open(os.path.join(t.dir, kind), "rb") as f:
            assert f.read() == sent, kind
    concealed(t, c, 2_000_000)


# ---- the wire ----

@test("wire", "conceal: the client talks to the relay only, asks no DNS, and shows no name")
def conceal(t):
    internet(t)
    r = relay(t)
    lan = Lan(t)
    with lan.inside():
        c = client(t, r)
        wire, inner = Wire(t, "far"), Wire(t, "lo")
        for proxy in (socks5(c), http(c)):
            for tls in (("--tls-max", "1.2"), ("--tlsv1.3",)):
                curl(proxy, *tls, "-o", "/dev/null", f"https://{HOST}/f99")
            curl(proxy, "-o", "/dev/null", f"http://{HOST}/f99")
        assert resolve(r, HOST) == [SITE6, SITE]
    wire.conceals(lan, r, 6 * 177_000)
    inner.stop()
    assert not [x for x in inner.other if x[3] == 53], "a query to itself"
    # The control: the same look at the client's own side sees the name.
    assert any(HOST.encode() in data for data in inner.streams().values())


@test("wire", "--resolve: both families, one, none, one that is out of reach")
def resolve_names(t):
    internet(t)
    r = relay(t)
    for name, expected in ((HOST, [SITE6, SITE]), ("v4.target.example", [SITE]),
                           ("v6.target.example", [SITE6]), ("mixed.example", [SITE])):
        assert resolve(r, name) == expected, name
    for name in ("nothing.example", "private.example", "loop.example", "own.example"):
        assert not resolve(r, name, status=1), name


@test("wire", "conceal, read where its HTTPS ends: no target in open and resolve, no handshake")
def unwrapped(t):
    internet(t)
    r = relay(t)
    certificate("cdn", "cdn.example.net")
    hop = start_hop(t, r, "oob", "--cert", TOP + "/cdn.crt", "--key", TOP + "/cdn.key")
    args = re.sub("pin=[^ ]*", "pin=" + pin("cdn"), r.args)
    line = f"sultry {r.host}:{r.port} {args} url=https://{hop}/"
    c = client(t, line=line)
    for proxy in (socks5(c), http(c)):
        for tls in (("--tls-max", "1.2"), ("--tlsv1.3",)):
            curl(proxy, *tls, "-o", "/dev/null", f"https://{HOST}/f9")
        curl(proxy, "-o", "/dev/null", f"http://{HOST}/f9")
    c.close()
    assert resolve_by(line, HOST) == [SITE6, SITE]
    read_wire(t, "oob", "oob")


@test("wire", "--resolve through a relay that is not what the line says, or is silent")
def resolve_nothing(t):
    internet(t)
    r = relay(t)
    args, other = (dict(x.split("=", 1) for x in x.args.split()) for x in (r, relay(t)))

    def ask(port, key, pin):
        return ["--bridge", f"sultry {OWN}:{port} key={key} {pin}", "--resolve", HOST]
    for line, why in (
            (ask(r.port, other["key"], "pin=" + args["pin"]),
             r"what answers .* \(HTTP status 404\) does not have the bridge's key"),
            (ask(r.port, args["key"], "pin=" + other["pin"]),
             "OOB channel: SSL public key does not match pinned public key"),
            (ask(r.port, args["key"], ""),
             "OOB channel: SSL peer certificate or SSH remote key was not OK"),
            (ask(free_port(OWN), args["key"], ""), "OOB channel: Connection refused")):
        done = subprocess.run([PROGRAMS["client"], *line], capture_output=True, timeout=DEADLINE,
                              check=False)
        assert done.returncode == 1 and not done.stdout, done
        assert re.fullmatch(f"sultry-client: {why}\n", done.stderr.decode()), done
    for number in (signal.SIGINT, signal.SIGTERM):
        silent = Listener(t, swallow, OWN)
        p = subprocess.Popen([PROGRAMS["client"], *ask(silent.address[1], args["key"], "")])
        until(lambda: silent.peers, "the request")
        p.send_signal(number)
        assert p.wait(DEADLINE) == 1, "it says that it has resolved the name"


@test("wire", "conceal behind a recording hop: HTTPS, or nothing but sealed records")
def recorded(t):
    internet(t)
    c = watched(t)
    for tls in (("--tls-max", "1.2"), ("--tlsv1.3",)):
        curl(socks5(c), *tls, "-o", "/dev/null", f"https://{HOST}/big")
    concealed(t, c, 16_000_000)
