"""A second verifier of Testimony's statements, written from docs/format.md alone: it shares no code with the first."""
import argparse
import base64
import hashlib
import json
import os
import re
import resource
import stat
import sys
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fold import KINDS, LEVELS, Fold, lowest
from log import MIB, Refused, read_log
from statement import Statement

MEMORY_MAX = 4096 * MIB
SCHEMA = json.loads((Path(__file__).resolve().parents[2] / "docs/schema/statement-v1.schema.json").read_bytes())
NOT_UNDERSTOOD = ("ENVELOPE_MALFORMED", "PAYLOAD_TYPE", "STATEMENT_MALFORMED", "VERSION_UNKNOWN", "UNREADABLE_FILE")
NUMBERS = ("attempted", "delivered", "coalesced", "lost", "truncated", "misses")


def read(path, limit):
    """A regular file's bytes, up to one more than the limit."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise OSError("no regular file")
            return file.read(limit + 1)
    except OSError as fault:
        raise Refused("UNREADABLE_FILE", f"{path}: {fault}") from None


def parse(data, watched=None):
    """JSON in which no key, or none of those watched, stands twice in an object; at most 127 deep."""
    def unique(pairs):
        keys = [name for name, _ in pairs if watched is None or name in watched]
        if len(set(keys)) < len(keys):
            raise ValueError("a key stands twice")
        return dict(pairs)

    def constant(name):
        raise ValueError(name)

    def walk(value, depth):
        if isinstance(value, (dict, list)):
            if depth == 127:
                raise ValueError("too deep")
            for each in value.values() if isinstance(value, dict) else value:
                walk(each, depth + 1)

    value = json.loads(data.decode("utf-8"), object_pairs_hook=unique, parse_constant=constant)
    walk(value, 0)
    json.dumps(value, ensure_ascii=False).encode()  # a lone surrogate is no text
    return value


def base64_bytes(text):
    """Either alphabet, with or without padding; nothing else in it."""
    if not re.fullmatch(r"(?:[A-Za-z0-9+/]*|[A-Za-z0-9_-]*)={0,2}", text) or "=" in text and len(text) % 4:
        raise ValueError("base64")
    text = text.rstrip("=").replace("-", "+").replace("_", "/")
    data = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    if base64.b64encode(data).decode().rstrip("=") != text:
        raise ValueError("base64 with bits left over")
    return data


def open_envelope(path, keys, evidence):
    """The payload over which one of the keys signed."""
    if not keys:
        raise Refused("NO_ANCHOR", "no key to trust was given")
    if evidence and not os.path.exists(path):
        raise Refused("NO_STATEMENT", "there is evidence, and nobody signed")
    data = read(path, 256 * MIB)
    try:
        if len(data) > 256 * MIB:
            raise ValueError("over 256 MiB")
        envelope = parse(data, ("payloadType", "payload", "signatures", "keyid", "sig"))
        kind, payload = envelope["payloadType"], base64_bytes(envelope["payload"])
        signatures = [(base64_bytes(each["sig"]), each.get("keyid")) for each in envelope["signatures"]]
        if not isinstance(kind, str) or not 1 <= len(signatures) <= 16 \
                or not all(keyid is None or isinstance(keyid, str) for _, keyid in signatures):
            raise ValueError("its fields")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as fault:
        raise Refused("ENVELOPE_MALFORMED", str(fault)) from None
    signed = b"DSSEv1 %d %b %d %b" % (len(kind.encode()), kind.encode(), len(payload), payload)
    for key in keys:
        for signature, _ in signatures:
            try:
                key.verify(signature, signed, ec.ECDSA(hashes.SHA256()))
            except InvalidSignature:
                continue
            if kind != "application/vnd.in-toto+json":
                raise Refused("PAYLOAD_TYPE", kind)
            return payload
    raise Refused("SIGNATURE_INVALID", "no signature by a given key holds")


def valid(rule, value):
    """Whether a value is as the JSON Schema says. What `complete` claims has a check and a code of its own."""
    if "$ref" in rule:
        return valid(SCHEMA["$defs"][rule["$ref"].rsplit("/", 1)[1]], value)
    kinds = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "null": type(None)}
    wanted = rule.get("type", [])
    if wanted and type(value) not in [kinds[kind] for kind in ([wanted] if isinstance(wanted, str) else wanted)]:
        return False
    if "const" in rule and (value != rule["const"] or type(value) is not type(rule["const"])) \
            or "enum" in rule and value not in rule["enum"] or "not" in rule and valid(rule["not"], value) \
            or "anyOf" in rule and not any(valid(each, value) for each in rule["anyOf"]):
        return False
    if isinstance(value, int) and not rule.get("minimum", -1 << 63) <= value <= rule.get("maximum", (1 << 64) - 1):
        return False
    if isinstance(value, str) and "pattern" in rule and not re.search(re.sub(r"\$\Z", r"\\Z", rule["pattern"]), value):
        return False
    if isinstance(value, list) and not (
            len(value) >= rule.get("minItems", 0) and all(valid(rule.get("items", {}), each) for each in value)
            and len(value) == (len(set(value)) if rule.get("uniqueItems") else len(value))):
        return False
    if isinstance(value, dict) and not (set(rule.get("required", [])) <= set(value) and all(
            valid(each, value[name]) for name, each in rule.get("properties", {}).items() if name in value)):
        return False
    if "if" not in rule or "complete" in rule["if"]["properties"]:
        return True
    return valid(rule.get("then" if valid(rule["if"], value) else "else", {}), value)


def read_statement(payload):
    try:
        statement = parse(payload)
        testimony = statement["predicate"]["testimony"]
        versions = testimony["version"], testimony["log"]["formatVersion"]
        if any(type(version) is int and version != 1 for version in versions):
            raise Refused("VERSION_UNKNOWN", f"versions {versions}")
        if not valid(SCHEMA, statement):
            raise ValueError("not of the schema's shape")
        if any(named["sequence"] != i for i, named in enumerate(testimony["log"]["segments"])):
            raise ValueError("segments out of order")
        return statement
    except (ValueError, KeyError, TypeError, RecursionError) as fault:
        raise Refused("STATEMENT_MALFORMED", str(fault)) from None


class Verdict:
    """What the checks found, printed as they find it."""

    def __init__(self):
        self.codes = []

    def check(self, name, work):
        """Runs one check: it returns what is proven, None if nothing is claimed, or raises Refused."""
        try:
            text = work()
            print(f"{'not claimed' if text is None else 'proven':<12} {name:<15} {text or ''}")
            return text
        except Refused as refusal:
            self.codes.append(refusal.args[0])
            print(f"{'refused':<12} {name:<15} {refusal.args[0]}: {refusal.args[1]!a}")
            return None


def contradicted(holds, text):
    if not holds:
        raise Refused("CLAIM_CONTRADICTED", text)
    return text


def verify(path, keys, evidence, accept_incomplete):
    """The exit code."""
    verdict, found = Verdict(), {}

    def signature():
        found["payload"] = open_envelope(path, keys, evidence)
        return hashlib.sha256(found["payload"]).hexdigest()

    def statement():
        found["statement"] = read_statement(found["payload"])
        return "runtime-trace v0.1 of session " + found["statement"]["predicate"]["testimony"]["session"]["id"]

    if not (verdict.check("signature", signature) and verdict.check("statement", statement)):
        print(f"REFUSED ({verdict.codes[0]})")
        return 2 if verdict.codes[0] in NOT_UNDERSTOOD else 1
    said = found["statement"]["predicate"]["testimony"]
    files = found["statement"]["predicate"]["monitorLog"]["fileAccess"]
    gaps = [gap["code"] for gap in said["gaps"]]
    spots = [spot["code"] for spot in said["blindSpots"] if spot["endsCompleteness"]]

    def log():
        if evidence is None:
            return None
        fold = Fold()
        log = read_log(evidence, said, fold)
        if not fold.opened:
            raise Refused("LOG_MALFORMED", "the log opens no session")
        fold.judge()
        found["trace"] = Statement(fold, log, said["session"])
        return f"{log['treeSize']} frames in {len(log['segments'])} segments, root {log['rootSha256']}"

    def losslessness():
        if "trace" in found:
            again = found["trace"].testimony([])
            same = [[row["hook"], *map(row.get, NUMBERS)] for row in said["coverage"]] == \
                [[row["hook"], *map(row.get, NUMBERS)] for row in again["coverage"]]
            if said["lossless"] != again["lossless"] or not same:
                raise Refused("NUMBERS_DIFFER", "the log gives other numbers")
            return f"lossless: {again['lossless']}, recomputed"
        if not said["lossless"]:
            return "no losslessness is claimed"
        good = all(row["attempted"] == row["delivered"] + row["coalesced"] and
                   (row["lost"], row["truncated"], row["misses"]) == (0, 0, 0) for row in said["coverage"])
        good = good and not any(KINDS.get(code, "Loss") == "Loss" for code in gaps)
        return contradicted(good, "the signer's word, and its numbers allow it") and None

    def trace():
        if "trace" not in found:
            return None
        if found["trace"].payload() != found["payload"]:
            raise Refused("TRACE_DIFFERS", "the log gives another statement")
        return f"all {len(found['payload'])} bytes are what the log gives"

    def coverage():
        rows = [(row["observation"], LEVELS.index(row["level"])) for row in said["coverage"]]
        return contradicted(said["coverageLevel"] == lowest(rows), f"level {said['coverageLevel']}")

    def blind_spots():
        return f"{len(said['blindSpots'])}, none ends completeness" if not spots else None

    def classes():
        counts = dict.fromkeys(said["digestClasses"], 0)
        for file in files:
            counts[file["annotations"]["class"]] = counts.get(file["annotations"]["class"], 0) + 1
        return contradicted(all(said["digestClasses"].get(name) == n for name, n in counts.items()), str(counts))

    def completeness():
        whole = said["lossless"] and not (gaps or spots or said["survivors"]) and said["coverageLevel"] in LEVELS[2:]
        contradicted(said["complete"] == whole, f"complete is {said['complete']}")
        if not whole and not accept_incomplete:
            raise Refused("INCOMPLETE", "the statement says so itself")
        return ("recomputed" if evidence else "by the signer's word") if whole else None

    for check in (log, losslessness, trace, coverage, blind_spots, classes, completeness):
        verdict.check(check.__name__.replace("_", " "), check)
    other = [code for code in verdict.codes if code != "INCOMPLETE"]
    count = len(gaps) + len(spots)
    incomplete = f"INCOMPLETE ({count} gap{'' if count == 1 else 's'})"
    print(f"REFUSED ({other[0]})" if other else "COMPLETE" if said["complete"] else incomplete)
    return 1 if verdict.codes else 0


class Arguments(argparse.ArgumentParser):
    def error(self, message):
        print(f"verify.py: {message}", file=sys.stderr)
        sys.exit(64)


def main():
    arguments = Arguments(description="Verifies a runtime-trace statement and its evidence, offline")
    arguments.add_argument("--key", action="append", default=[], metavar="PEM")
    arguments.add_argument("--evidence", metavar="DIR", help="NAME.evidence beside NAME.intoto.jsonl")
    arguments.add_argument("--accept-incomplete", action="store_true")
    arguments.add_argument("file", metavar="FILE")
    given = arguments.parse_args()
    try:
        keys = [serialization.load_pem_public_key(read(path, MIB)) for path in given.key]
        if not all(isinstance(getattr(key, "curve", None), ec.SECP256R1) for key in keys):
            raise ValueError("not a P-256 key")
    except (Refused, ValueError, TypeError) as fault:
        arguments.error(f"key: {fault}")
    evidence = Path(given.evidence or re.sub(r"\.intoto\.jsonl\Z", "", given.file) + ".evidence")
    if given.evidence and not evidence.is_dir():
        arguments.error(f"{evidence}: no directory")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX, MEMORY_MAX))
    try:
        code = verify(given.file, keys, evidence if evidence.is_dir() else None, given.accept_incomplete)
    except MemoryError:
        print("REFUSED (TRACE_TOO_LARGE)")
        code = 1
    sys.exit(code)


if __name__ == "__main__":
    main()
