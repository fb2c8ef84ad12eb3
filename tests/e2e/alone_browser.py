"""Headless Chromium through the proxy: a page with 50 resources."""
import os
import re

from alone_kit import HOST, OWN, TOP, Lan, Wire, client, command, internet, relay
from alone_strategies import cut
from pt_kit import run, test, until

N = 50
SCRIPT = "window.sum = (window.sum || 0) + {i};\n//{filler}\n"
IMAGE = '<svg xmlns="http://www.w3.org/2000/svg" width="7" height="7"><!--{filler}--></svg>'
PAGE = """<!doctype html><title>waiting</title><p id=p>waiting</p>
{tags}
<script>
onload = () => {{
  const images = [...document.images].filter(x => x.naturalWidth == 7).length;
  document.getElementById("p").textContent = "sum=" + window.sum + " images=" + images;
}};
</script>
"""


def make_page(mark):
    """HOST's /page/MARK.html, and what is on it."""
    folder = os.path.join(TOP, "www", "page", mark)
    os.makedirs(folder)
    tags = ""
    for i in range(N // 2):
        with open(f"{folder}/{i}.js", "w", encoding="ascii") as f:
            f.write(SCRIPT.format(i=i, filler="x" * (i * 4000)))
        with open(f"{folder}/{i}.svg", "w", encoding="ascii") as f:
            f.write(IMAGE.format(filler="y" * (i * 2000)))
        tags += f'<script src="{mark}/{i}.js"></script><img src="{mark}/{i}.svg">\n'
    with open(folder + ".html", "w", encoding="ascii") as f:
        f.write(PAGE.format(tags=tags))


def browse(t, net, proxy, mark):
    """Loads the page in a new profile; checks it, and nginx's log of it."""
    make_page(mark)
    # Chromium gives up what it is loading when an address comes up.
    until(lambda: not run("ip", "-6", "address", "show", "tentative"), "addresses")
    said = command(
        "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
        "--no-first-run", "--disable-background-networking", "--disable-component-update",
        "--disable-sync", "--disable-dev-shm-usage", f"--user-data-dir={t.dir}/profile-{mark}",
        "--ignore-certificate-errors", f"--proxy-server={proxy}", "--dump-dom",
        f"https://{HOST}/page/{mark}.html", seconds=60,
        env={"PATH": os.environ["PATH"], "HOME": t.dir, "TMPDIR": t.dir})
    found = re.search(rb'<p id="p">([^<]*)</p>', said)
    assert found and found[1] == f"sum={sum(range(N // 2))} images={N // 2}".encode(), found or said
    seen = [x for x in net.log(mark) if x.endswith(" 200")]
    assert len(seen) == N + 1, f"{len(seen)} requests"
    return seen


@test("browser", "Chromium, 50 resources: by SOCKS5 and by HTTP; only the relay is talked to")
def concealed(t):
    net = internet(t)
    r = relay(t)
    lan = Lan(t)
    with lan.inside():
        c = client(t, r)
        wire = Wire(t, "far")
        browse(t, net, f"socks5://127.0.0.1:{c.socks}", "by-socks")
        browse(t, net, f"http://127.0.0.1:{c.http}", "by-http")
        wire.stop()
    others = wire.past(lan, OWN)
    assert not others, f"past the relay: {others[:5]}"
    for _, data in wire.streams().items():
        assert HOST.encode() not in data, "the name on the wire"


@test("browser", "Chromium with `split`: its large ClientHello, cut")
def split(t):
    net = internet(t)
    r = relay(t)
    lan = Lan(t)
    with lan.inside():
        c = client(t, r, config={"default": "split"})
        wire = Wire(t, "far")
        seen = browse(t, net, f"socks5://127.0.0.1:{c.socks}", "by-split")
        wire.stop()
    assert cut(wire, HOST) >= 1
    assert all(not x.startswith(net.lan.near) for x in seen), "through the relay"
