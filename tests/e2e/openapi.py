#!/usr/bin/env python3
"""Is spec/oob-api.yaml an OpenAPI 3.1 document, and does it know good messages from bad ones?

    openapi.py spec/oob-api.yaml

interop.py uses Api to ask it about the messages of a real server.
"""
import re
import sys

import jsonschema
import yaml

# JSON Schema 2020-12's keywords, as far as the file uses them, and OpenAPI's one.
KEYWORDS = {"$ref", "type", "description", "pattern", "minimum", "maximum", "required",
            "properties", "const", "items", "minItems", "maxItems", "minLength", "maxLength",
            "anyOf", "format", "enum", "if", "then", "example"}
OPERATIONS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}


class Strict(yaml.SafeLoader):
    """YAML in which no key is there twice."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        assert len(set(keys)) == len(keys), f"a key is there twice: {node.start_mark}"
        return super().construct_mapping(node, deep)


def references(value):
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from references(item)


class Api:
    def __init__(self, path):
        with open(path, encoding="utf-8") as f:
            self.document = yaml.load(f, Strict)
        self.schemas = self.document["components"]["schemas"]

    def takes(self, name, message):
        schema = {"$ref": "#/components/schemas/" + name,
                  "components": self.document["components"]}
        return jsonschema.Draft202012Validator(
            schema, format_checker=jsonschema.FormatChecker(["ipv4", "ipv6"])).is_valid(message)

    def find(self, reference):
        found = self.document
        assert reference.startswith("#/"), reference
        for word in reference[2:].split("/"):
            assert word in found, f"{reference} is nowhere"
            found = found[word]
        return found

    # ---- the document ----

    def check(self):
        top = self.document
        assert re.fullmatch(r"3\.1\.\d+", top["openapi"])
        assert {"title", "version"} <= set(top["info"]) and isinstance(top["info"]["version"], str)
        assert set(top) <= {"openapi", "info", "servers", "security", "tags", "paths", "components"}
        used = set(references(top))
        for reference in used:
            self.find(reference)
        for kind, named in top["components"].items():
            for name in named:  # the sealed headers are roots: no path shows them
                assert f"#/components/{kind}/{name}" in used or name.endswith("Header"), \
                    f"nothing uses {name}"
        for server in top["servers"]:
            assert set(re.findall("{(.*?)}", server["url"])) == set(server["variables"])
            assert all("default" in v for v in server["variables"].values())
        self.check_paths()
        for name, schema in self.schemas.items():
            jsonschema.Draft202012Validator.check_schema(schema)
            self.check_schema(name, schema)

    def check_paths(self):
        ids, tags = [], {tag["name"] for tag in self.document["tags"]}
        for path, item in self.document["paths"].items():
            assert path.startswith("/") and set(item) <= OPERATIONS | {"parameters"}, path
            parameters = [self.find(p["$ref"]) if "$ref" in p else p
                          for p in item.get("parameters", ())]
            assert all(p["in"] == "path" and p["required"] is True for p in parameters), path
            assert {p["name"] for p in parameters} == set(re.findall("{(.*?)}", path)), path
            for method in OPERATIONS & set(item):
                operation = item[method]
                ids.append(operation["operationId"])
                assert set(operation["tags"]) <= tags, path
                for status, reply in operation["responses"].items():
                    reply = self.find(reply["$ref"]) if "$ref" in reply else reply
                    assert re.fullmatch("[1-5][0-9][0-9]", status) and reply["description"], path
                    assert all("schema" in kind for kind in reply["content"].values()), path
        assert len(set(ids)) == len(ids), "an operationId is there twice"

    def check_schema(self, name, schema):
        """Its words are words (a misspelt one would mean nothing), and what is required exists."""
        assert set(schema) <= KEYWORDS, f"{name}: {set(schema) - KEYWORDS}"
        properties = schema.get("properties", {})
        if "type" in schema:  # else it is a part of one
            assert set(schema.get("required", ())) <= set(properties), name
        for part in [*properties.values(), *schema.get("anyOf", ()),
                     *(schema[k] for k in ("items", "if", "then") if k in schema)]:
            self.check_schema(name, part)


# ---- messages ----

ID = "9fZ_-" + 17 * "A"
TARGET = {"host": "example.com", "port": 443}
ADDRESS = {"address": "192.0.2.1", "port": 443}
# Each has all its keys; those that may be left out are named.
GOOD = {
    "NoiseRequest": ({"v": 1, "noise": "AAAA"}, ()),
    "NoiseReply": ({"noise": "A-_z"}, ()),
    "BoxRequest": ({"v": 1, "n": 7, "box": "AAAA"}, ()),
    "BoxReply": ({"n": 12, "box": "AAAA"}, ()),
    "OpenHeader": ({"op": "open", "time": 1767225600, "target": TARGET, "up": 0,
                    "token": "0123456789abcdef", "pad": "000"}, ("target", "token", "pad")),
    "StatusHeader": ({"op": "status", "time": 0, "session": ID, "pad": "0"}, ("pad",)),
    "ResolveHeader": ({"op": "resolve", "time": 1, "host": "example.com", "token": "x",
                       "pad": "0"}, ("token", "pad")),
    "OpenedHeader": ({"session": ID, "up_ack": [517, 262661], "down": 0, "fin": False,
                      "target": ADDRESS, "direct": [ADDRESS, {"address": "2001:db8::1", "port": 1}],
                      "retain_s": 600, "pad": "0"}, ("target", "pad")),
    "AliveHeader": ({"alive": True, "pad": "0"}, ("pad",)),
    "ResolvedHeader": ({"addresses": ["192.0.2.1", "2001:db8::1"], "ttl": 60, "pad": "0"},
                       ("pad",)),
    "ErrorHeader": ({"error": {"code": "clock_skew", "message": ""}, "time": 9, "pad": "0"},
                    ("pad",)),
    "ExchangeHeader": ({"op": "exchange", "epoch": 0, "poll": True, "up": 517, "fin": False,
                        "down_ack": [0, 262144], "up_limit": 262144, "wait_ms": 25000,
                        "close": None, "pad": "0"}, ("pad",)),
    "ExchangedHeader": ({"re": 7, "up_ack": [1034, 263178], "down": 0, "fin": False,
                         "close": "reset", "pad": "0"}, ("pad",)),
}
BIG = 1 << 62
# Values that make a good message a bad one.
BAD = {
    "NoiseRequest": {"v": [0, 2, "1"], "noise": ["", "AA=", "A+/A", 1]},
    "NoiseReply": {"noise": ["", "AAAA=", None]},
    "BoxRequest": {"v": [2], "n": [-1, BIG, "7", 0.5], "box": ["", "A A"]},
    "BoxReply": {"n": [-1, BIG, None], "box": ["="]},
    "OpenHeader": {"op": ["status", "resolve"], "time": [-1, "now", 1 << 63, True], "up": [1, "0"],
                   "target": [None, "example.com:443", {"host": "x"}, {"port": 1},
                              {"host": "", "port": 1}, {"host": 256 * "x", "port": 1},
                              {"host": "x", "port": 0}, {"host": "x", "port": 65536}],
                   "token": ["", 65 * "x", 7], "pad": ["1", "", 0]},
    "StatusHeader": {"op": ["open"], "time": [-1], "session": ["A", 23 * "A", 21 * "A" + "="]},
    "ResolveHeader": {"op": ["open"], "host": ["", 256 * "x", 1], "token": ["", 65 * "x"]},
    "OpenedHeader": {"session": ["", 23 * "A", None], "up_ack": [[1], [1, 2, 3], [-1, 0], [0, "1"]],
                     "down": [1], "fin": [0, None],
                     "target": ["192.0.2.1:443", {"address": "example.com", "port": 1},
                                {"address": "[::1]", "port": 1}, {"address": "192.0.2.1"},
                                {"address": "192.0.2.1", "port": 0}],
                     "direct": [None, 5 * [ADDRESS], [{"port": 1}]], "retain_s": [-1, 86401]},
    "AliveHeader": {"alive": [1, "yes", None]},
    "ResolvedHeader": {"addresses": [["example.com"], 17 * ["192.0.2.1"], "192.0.2.1"],
                       "ttl": [-1, 86401]},
    "ErrorHeader": {"error": [{"code": "clock_skew"}, {"code": "other", "message": ""},
                              {"message": ""}, "busy"], "time": [-1]},
    "ExchangeHeader": {"op": ["open"], "epoch": [-1, 1 << 31], "poll": [None, 1], "up": [-1, BIG],
                       "fin": [0], "down_ack": [[0], [0, -1]], "up_limit": [-1, BIG],
                       "wait_ms": [-1, 60001], "close": ["later", False]},
    "ExchangedHeader": {"re": [-1, BIG, None], "up_ack": [[], [1.5, 2]], "down": [-1, BIG],
                        "fin": ["false"], "close": ["", 0]},
}


def check_messages(api):
    for name, (good, optional) in GOOD.items():
        assert api.takes(name, good), name
        assert api.takes(name, {**good, "a key of tomorrow": 1}), name
        assert not api.takes(name, []) and not api.takes(name, "x"), name
        for key in good:
            without = {k: v for k, v in good.items() if k != key}
            assert api.takes(name, without) == (key in optional), f"{name} without {key}"
        for key, values in BAD[name].items():
            for value in values:
                assert not api.takes(name, {**good, key: value}), f"{name}: {key}: {value}"
    assert api.takes("ErrorHeader", {"error": {"code": "busy", "message": "x"}}), "without a time"


def main():
    api = Api(sys.argv[1])
    api.check()
    roots = {n for n in api.schemas if re.search("(Header|Request|Reply)$", n)}
    assert roots == set(GOOD) == set(BAD), "messages without examples"
    check_messages(api)


if __name__ == "__main__":
    main()
