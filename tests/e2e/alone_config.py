"""What the programs say about wrong settings: the file, the line, the key and what they expect."""
import json
import re
import subprocess

from alone_kit import OWN, write
from pt_kit import DEADLINE, PROGRAMS, test

SECRET = "do-not-show-this-token"
BRIDGE = f"sultry {OWN}:443 key={'A' * 42}I pin={'A' * 43}"
RELAY = {"listen": [OWN + ":443"], "state": "/nowhere/state"}
CLIENT = {"listen": ["socks5://127.0.0.1:1080"], "bridges": [BRIDGE]}


def said(role, *words):
    return subprocess.run([PROGRAMS[role], *words], capture_output=True, timeout=DEADLINE,
                          check=False)


def check(t, role, settings):
    """(status, stdout, stderr) of --check-config. Settings are written one key a line."""
    text = settings
    if not isinstance(settings, str):
        lines = [f"{json.dumps(k)}: {json.dumps(v)}" for k, v in settings.items()]
        text = "{\n" + ",\n".join(lines) + "\n}\n"
    done = said(role, "--config", write(t, "settings.json", text), "--check-config")
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def wrong(t, role, settings, line, key, expected):
    status, out, error = check(t, role, settings)
    assert status == 64 and not out, (settings, status, out)
    start = re.escape(f"sultry-{role}: {t.dir}/settings.json:{line}: {key}")
    assert re.fullmatch(f"{start}.*{expected}.*\n", error), f"{settings}: {error}"
    assert SECRET not in error, error


def with_key(base, key, value):
    return {**base, key: value}


@test("config", "sultry-server --check-config: right ones, and what is wrong with others")
def server(t):
    assert check(t, "server", RELAY)[0] == 0
    for key, value, at, expected in (
            ("listen", ["localhost:443"], "listen[0]", "an IP address and port"),
            ("sessions", "many", "sessions", "a whole number from 1 to .*, not a string"),
            ("sessions", 0, "sessions", "a whole number"),
            ("allow", [{}, {"ports": [443, "80-22"]}], "allow[1].ports[1]", "a port, or a range"),
            ("allow", [{"networks": ["10.0.0.0/33"]}], "allow[0].networks[0]", "a network"),
            ("allow", [{"networks": ["0.0.0.0/0"]}], "allow[0].networks[0]", "not of all"),
            ("allow", [{"hosts": ["a b"]}], "allow[0].hosts[0]", "a host name"),
            ("allow", [{"host": "x"}], "allow[0].host", "hosts"),
            ("quotas", {"bytes_per_dai": 1}, "quotas.bytes_per_dai", "bytes_per_day"),
            ("resolvers", ["dns.example"], "resolvers[0]", "an IP address"),
            ("cert", "/nowhere/cert.pem", "cert", "a file that can be read"),
            ("users", "/nowhere/users.json", "users", "a file that can be read"),
            ("log", "loud", "log", "error, warning, notice, info or debug"),
            ("listens", [], "listens", "listen"),
            ("url", "http://x.example", "url", "https://")):
        settings = with_key(RELAY, key, value)
        wrong(t, "server", settings, list(settings).index(key) + 2, at, expected)
    wrong(t, "server", '{\n"listen": [\n', 3, "not JSON", "")
    users = write(t, "users.json", '{"users": [\n{"name": "anna", "token": "short"},\n'
                  f'{{"name": "berta", "token": "{SECRET}"}}]}}')
    status, _, error = check(t, "server", with_key(RELAY, "users", users))
    assert status != 0 and f"{users}:2: users[0].token: expected 16 to" in error, error
    write(t, "users.json", f'{{"users": [{{"name": "a", "token": "{SECRET}"}},\n'
          f'{{"name": "b", "token": "{SECRET}"}}]}}')
    status, _, error = check(t, "server", with_key(RELAY, "users", users))
    assert status != 0 and ":2: users[1].token" in error and SECRET not in error, error


@test("config", "sultry-client --check-config: right ones, and what is wrong with others")
def client(t):
    assert check(t, "client", CLIENT)[0] == 0
    for key, value, at, expected in (
            ("listen", ["socks5://localhost:1"], "listen[0]", "socks5://"),
            ("listen", ["socks4://127.0.0.1:1"], "listen[0]", "socks5://"),
            ("listen", [f"http://me:{SECRET}@127.0.0.1"], "listen[0]", "an IP address and port"),
            ("bridges", ["obfs4 1.2.3.4:1 key=x"], "bridges[0]", "a bridge line"),
            ("bridges", ["sultry bridge.example:443 key=x"], "bridges[0]", "an IP address and"),
            ("bridges", [BRIDGE, BRIDGE.replace("key=A", "key=")], "bridges[1]", "whose key= is 43"),
            ("bridges", [BRIDGE + SECRET], "bridges[0]", "whose pin= is 43"),
            ("bridges", [BRIDGE + " url=" + SECRET], "bridges[0]", "whose url= is https://"),
            ("rules", [{"strategy": "hide"}], "rules[0].strategy", "conceal, split, direct,"),
            ("rules", [{"strategy": "split", "ports": [70000]}], "rules[0].ports[0]", "a whole"),
            ("rules", [{"strategy": "split", "host": ["x"]}], "rules[0].host", "hosts"),
            ("rules", [{"hosts": ["x"]}], "rules[0].strategy", "conceal, split"),
            ("rules", [{"strategy": "block", "networks": ["x"]}], "rules[0].networks[0]", "a net"),
            ("default", 7, "default", "a string"),
            ("auto_first", "block", "auto_first", "conceal, split or direct"),
            ("token", SECRET + "\t", "token", "16 to 64 characters"),
            ("proxy", f"ftp://me:{SECRET}@127.0.0.1:9", "proxy", "a proxy such as"),
            ("tokens", SECRET, "tokens", "token")):
        settings = with_key(CLIENT, key, value)
        wrong(t, "client", settings, list(settings).index(key) + 2, at, expected)


@test("config", "flags: what is wrong with them, and the examples in spec/")
def flags(t):
    for words, expected in (
            (("--listen", "socks5://127.0.0.1:0"), "no bridge"),
            (("--bridge", BRIDGE), "nothing to listen on"),
            (("--bridge", "nonsense", "--listen", "socks5://127.0.0.1:0"), "--bridge: expected"),
            (("--bridge", BRIDGE + SECRET), "--bridge: expected a bridge line whose pin= is 43"),
            (("--listen", f"http://a:{SECRET}@x:1", "--bridge", BRIDGE), "--listen: expected"),
            (("--token", SECRET + "\n", "--bridge", BRIDGE), "--token: expected 16 to 64"),
            (("--tokn", SECRET), "unknown flag --tokn"),
            (("--config", "/nowhere.json"), "/nowhere.json"),
            (("--log",), "--log: expected a value")):
        done = said("client", *words)
        error = done.stderr.decode()
        assert done.returncode != 0 and expected in error and SECRET not in error, (words, error)
        assert error.count("\n") == 1, error
    for words, expected in (
            (("--config",), "--config: expected a file"), ((), "--config: expected a file"),
            (("--confi", "x"), "unknown flag --confi"), (("--config=/nowhere.json",), "/nowhere.json"),
            (("--check-config", "--config", "/nowhere.json"), "/nowhere.json")):
        done = said("server", *words)
        assert done.returncode == 64 and done.stderr.decode().count("\n") == 1, done
        assert expected in done.stderr.decode(), (words, done)
    for role in ("client", "server"):
        done = said(role, "--help")
        assert b"--config FILE" in done.stdout and not done.stderr and not done.returncode, done
        with open(f"spec/{role}.json", encoding="utf-8") as f:
            assert check(t, role, f.read())[0] == 0, f"spec/{role}.json"
