"""A second verifier of Testimony's statements, written from docs/format.md alone: it shares no code with the first."""
import argparse, hashlib, io, ipaddress, json, re, sys, time, uuid
from base64 import b64decode, b64encode, urlsafe_b64encode
from collections import Counter, defaultdict
from contextlib import contextmanager, suppress
from itertools import accumulate, pairwise, product
from pathlib import Path
from urllib.parse import quote

import grpc
import zstandard
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf import proto
from jsonschema import Draft202012Validator

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((ROOT / "docs/schema/statement-v1.schema.json").read_text("utf-8").replace('$"', r'\\Z"'))
KINDS = dict(re.findall(r"^\| ([A-Z_]+) \| (\w+) \|", (ROOT / "docs/format.md").read_text("utf-8"), re.M))
HARMLESS = {code for code, kind in KINDS.items() if kind not in ("Loss", "Gap", "BlindSpot")}
NOT_UNDERSTOOD = ("ENVELOPE_MALFORMED", "PAYLOAD_TYPE", "STATEMENT_MALFORMED", "VERSION_UNKNOWN", "UNREADABLE_FILE")
LIMITS = {"args_bytes": 6291456, "access": 255, "local_port": 65535, "remote_port": 65535}
NAMES, BITS = "rename link unlink mkdir rmdir symlink act unix-send", "read write exec created truncated path"
OBSERVATIONS = "exec fork exit open rename link unlink connect send bind accept close".split()
LEVELS, NUMBERS = SCHEMA["$defs"]["level"]["enum"], "attempted delivered coalesced lost truncated accounts".split()
UNTRIED, CLASSES = "membership attention outside-write".split(), "kernel stable ephemeral raced absent".split()
TYPES = {1: "fifo", 2: "character device", 4: "directory", 6: "block device", 8: None, 10: "symlink", 12: "socket"}
PROTOCOLS = {6: "tcp", 17: "udp", 1: "icmp", 58: "icmp", (0, 1): "tcp", (0, 2): "udp"}
UNSAFE = re.compile("[\0-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
NOT_HASHED = {"class": "absent", "reason": "NOT_HASHED", "sha256": b"", "product": None, "leftAt": b""}
dumps, label = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode, "{0[observation]}#{0[hook]}".format
is_code, is_call = re.compile("[A-Z0-9_]{1,64}").fullmatch, re.compile("[a-z0-9_]{1,32}").fullmatch
sys.path.append(str(ROOT / "proto"))  # section 4, word for word: attestation/tests/format.rs holds them equal
messages = grpc.protos("testimony/evidence/v1/evidence.proto")

class Refused(Exception): """(code,)"""

def need(wanted, refusal=None):  # and gives it back
    if not wanted:
        raise Refused(refusal) if refusal else ValueError
    return wanted

@contextmanager
def refusing(code):  # for whatever goes wrong inside
    try:
        yield
    except Exception as fault:
        raise fault if isinstance(fault, Refused) else Refused(code)

def word(enum, number):  # as statements write it: it must be known, but for a level
    words = {n: known.name.removeprefix("LEVEL_").lower() for n, known in enum.values_by_number.items() if n}
    return (words.get(number, "none") if enum.name == "Level" else words[number]).replace("_", "-")

def fields(body, **more):  # under their names in camel case, each within its limit; what may lack is None then
    facts = {f: None if f.has_presence else f.default_value for f in body.DESCRIPTOR.fields} | dict(body.ListFields())
    need(all(n <= LIMITS[field.name] for field, n in facts.items() if field.name in LIMITS and type(n) is int))
    return {field.json_name: f"{n >> 20}:{n & 0xfffff}" if field.name == "dev" else word(field.enum_type, n)
            if field.enum_type else n for field, n in facts.items()} | more

def cover(hooks):  # section 5.5: the coverage level, the weak hooks, the observations that no hook makes
    levels = [(LEVELS.index(hook["level"]), hook["observation"] in NAMES.split(), hook) for hook in hooks]
    weak = [hook for level, name, hook in levels if level < (1 if name else 2)]
    missing = [wanted for wanted in OBSERVATIONS if wanted not in [hook["observation"] for hook in hooks]]
    return LEVELS[min((level for level, name, _ in levels if not name), default=0)], weak, missing

def faults(row, held=True):  # section 5.5: the gaps of a hook's canaries; section 8 demands the first
    return {"HOOK_SILENT": row["silent"], "HOOK_NOT_TRIED": not row["silent"] and not (row["seen"] and held),
            "CANARIES_LATE": row["seen"] and int(row["longestNs"]) > 60e9}

def instant(ns):
    seconds, rest = divmod(min(max(ns, 0), 253402300800 * 10**9 - 1), 10**9)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest:09}Z"

def esc(data):
    text = (data.encode() if type(data) is str else data).replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")
    return UNSAFE.sub(lambda found: "".join(f"\\x{byte:02x}" for byte in found[0].encode()), text)

@Draft202012Validator.FORMAT_CHECKER.checks("testimony-escaped", raises=ValueError)
def is_escaped(text):
    plain = re.sub(rb"\\(?:x(..)|\\)", lambda found: bytes.fromhex((found[1] or b"5c").decode()), str(text).encode())
    return esc(plain) == str(text)

def write(form, fact):  # section 7: as the schema has it; what is no fact is an object of the same facts
    name = form.get("$ref", "").removeprefix("#/$defs/")
    form = SCHEMA["$defs"].get(name, form)
    if "properties" in form:
        fact = fact if isinstance(fact, dict) else fields(fact)
        return {key: write(part, fact.get(key, fact)) for key, part in form["properties"].items()
                if key in form["required"] or fact.get(key) not in (None, [])}
    if "items" in form:
        fact = (fact.removesuffix(b"\0").split(b"\0") if fact else []) if isinstance(fact, bytes) else fact
        return [write(form["items"], each) for each in fact]
    if name in ("escaped", "time", "decimal", "signedDecimal"):
        return esc(fact) if name == "escaped" else instant(fact) if name == "time" else str(fact)
    return form.get("const", fact.hex() if type(fact) is bytes else min(fact, 2**64 - 1) if type(fact) is int else fact)

class Trace:  # its facts are kept under the names that they have in a statement, and others beside them
    def __init__(self):
        self.opened, self.closed, self.container = None, None, None
        self.processes, self.stayed, self.names, self.acts = [], [], [], []
        self.gaps, self.spots, self.delivered, self.known, self.rounds = Counter(), Counter(), defaultdict(dict), [], []
        self.folds, self.accounts, self.contents, self.ending, self.reasons = defaultdict(Counter), {}, {}, set(), set()
        self.hooks, self.current, self.live, self.rows, self.files, self.contacts, self.cookies = [{} for _ in range(7)]

    def gap(self, details=("",), **counts):  # so often for each detail; a count may be a condition
        for (code, count), detail in product([told for told in counts.items() if told[1]], map(str, details)):
            self.gaps[code, detail if (code, detail) in self.gaps or len(self.gaps) < 4096 else ""] += count

    def report(self, code, detail, ends):
        need(is_code(code))
        self.gap([code], UNKNOWN_CODE=code not in KINDS)
        key = code, detail if (code, detail) in self.spots or sum(told == code for told, _ in self.spots) < 64 else ""
        self.spots[key] += 1
        self.ending |= {key} if ends or code not in HARMLESS else set()

    def process(self, pid, origin, start=0):
        self.processes.append({"id": len(self.processes), "pid": pid, "origin": origin, "start": start, "execs": []})
        self.current[pid] = self.live[pid] = self.processes[-1]
        return self.processes[-1]

    def push(self, frame):  # what is malformed has a wrong value, or asks for something that is not there
        with suppress(ValueError, LookupError):
            return self.take(frame.WhichOneof("body"), frame)
        self.gap(MALFORMED_LOG=1)

    def take(self, kind, frame):  # section 5.1
        need(kind in ("segment", "opened") or self.opened and not self.closed)
        facts = fields(body := getattr(frame, kind))
        key = tuple(map(facts.get, ("epoch", "hook", "cpu")))
        need("hook" not in facts or body.hook in self.hooks)
        match kind:
            case "opened":
                need(not self.opened and len({hook.id for hook in body.hooks}) == len(body.hooks))
                self.opened, self.offset = body, body.realtime_offset_ns
                self.opening = self.since = body.opened_boottime_ns + self.offset
                self.hooks = {row.id: fields(row, hook=row.id, **dict.fromkeys(NUMBERS, 0)) for row in body.hooks}
                self.process(body.root_pid, "root")
            case "event":
                need(body.number not in self.delivered[key])
                self.delivered[key][body.number] = body.flags & 0xffff != 0
                self.act(need(body.WhichOneof("body")), body)
            case "folded": self.folds[key][body.number] += body.count
            case "account": need(self.accounts.setdefault(key, body) is body)
            case "digest":
                n, told = CLASSES.index(facts["class"]), facts["measure"]
                need(len(body.sha256) == 32 * (n in (0, 1, 3)) and (is_code(body.reason) if n > 1 else not body.reason))
                need(not told or n == 0 and len(told.digest) * 8 == int(fields(told)["algorithm"][3:]))
                need(body.file_id in self.files and len(self.reasons | {body.reason, "NOT_HASHED", ""}) <= 256)
                self.reasons.add(body.reason)
                self.contents[body.file_id] = facts | {"product": body.product or None, "reason": body.reason or None}
            case "canary":
                began, ended = body.began_boottime_ns + self.offset, body.ended_boottime_ns + self.offset
                need(body.round == len(self.rounds) and self.since <= began <= ended)
                need([a.hook for a in body.acts] == sorted({a.hook for a in body.acts if a.count} & self.hooks.keys()))
                told = Counter(hook for hook, at in self.known if began <= at <= ended)
                self.rounds.append((began, ended, {act.hook: told[act.hook] >= act.count for act in body.acts}))
                self.known, self.since = [(hook, at) for hook, at in self.known if at > ended], ended
            case "blind_spot": self.report(body.code, body.detail, body.ends_completeness)
            case "container":
                need(not self.container and len(body.image_sha256) in (0, 32))
                self.container = {name: fact or None for name, fact in fields(body).items()}
            case "survivor": self.stayed += [facts | {"start": body.start_ns + self.offset if body.start_ns else None}]
            case "closed": self.closed, self.since = body, body.closed_boottime_ns + self.offset

    def act(self, kind, event):  # section 5.2
        body, pid, now, actor = getattr(event, kind), event.pid, event.boottime_ns + self.offset, None
        facts = fields(body, timestamp=now)
        need(kind != "act" or is_call(body.call) and len(body.arguments) == 6 and len(body.texts) <= 2)
        if kind not in ("joined", "outside_write", "attention", "provisional", "canary") and (pid or kind != "network"):
            self.gap([pid], UNKNOWN_PROCESS=pid not in self.current)
            actor = self.current.get(pid) or self.process(pid, "unknown")
        match kind:
            case "fork":
                if self.live.get(body.child_pid, {}).get("start") != body.child_start_ns:
                    self.process(body.child_pid, "forked", body.child_start_ns)
                self.live[body.child_pid] |= {"parent": actor["id"], "ppid": actor["pid"]} | self.live[body.child_pid]
            case "exec":
                same = {"euid": None, "egid": None} if (body.uid, body.gid) == (body.euid, body.egid) else {}
                actor["execs"].append(facts | same | {
                    "eventType": "exec", "executedOn": now, "arguments": b"", "interpreter": body.interpreter or None,
                    "processBinary": self.access(event, body.binary.id, need(facts["binary"]), 4, actor)["path"],
                    "capEffective": f"{body.cap_effective:016x}", "cwd": body.directory, "left": body.args_bytes,
                    "namespaces": {name: facts[f"{name}Ns"] for name in ("pid", "mnt", "net", "user")}, "userNs": None})
            case "exec_args":
                run = actor["execs"][-1]
                left = run["left"] if facts["argsBytes"] is None else facts["argsBytes"] - body.offset
                need(body.offset == len(run["arguments"]) and len(body.data) <= left)
                run |= {"arguments": run["arguments"] + body.data, "left": left - len(body.data)}
            case "exit":
                how = {"signal": body.status & 127} if body.status & 127 else {"exitCode": body.status >> 8 & 255}
                self.live.pop(pid).update(facts | how | {"start": actor["start"] or body.start_ns, "end": now,
                                                         "userNs": body.utime_ns, "systemNs": body.stime_ns})
            case "open": self.access(event, body.file_id, body.HasField("file") and body.file, body.access, actor)
            case "name": self.names.append(facts | {"process": actor["id"], "target": body.target or None})
            case "network": self.contact(facts, body, actor)
            case "act":
                given = {name: facts[name] or None for name in ("texts", "outside", "ino")}
                self.acts.append(facts | given | {"process": actor["id"], "dev": body.ino and facts["dev"] or None})
            case "joined":
                if self.live.get(pid, {}).get("start") not in (0, body.start_ns):
                    self.process(pid, "joined")
                    self.report("JOINED_PROCESS", str(pid), True)
                self.live[pid]["start"] = body.start_ns
            case "canary": self.known.append((event.hook, now))
            case "outside_write": self.report("OUTSIDE_WRITE", "", False)
            case "attention": self.report(body.code, str(body.detail or ""), False)

    def access(self, event, file_id, record, bits, actor):  # section 5.3
        row = self.files.get(file_id)
        need(record.id == file_id if record else row)
        if record and (record.path or not row):
            new = fields(record, bits=0, by={}, name=record.path, deleted=event.flags >> 16 & 1 or None,
                         mode=f"{record.mode & 0o7777:04o}", type=TYPES.get(record.mode >> 12 & 15, "other"),
                         filesystem=f"0x{record.fs_magic:08x}", ctime=record.ctime_sec * 10**9 + record.ctime_nsec)
            need(not row or all(row[name] == new[name] for name in ("dev", "ino", "size", "ctimeSec", "ctimeNsec")))
            self.files.setdefault(file_id, row := self.rows.setdefault((file_id, record.path), new))
        row["bits"], row["by"][(event.epoch, event.hook, event.cpu), event.number] = row["bits"] | bits, actor["id"]
        return row

    def contact(self, act, body, actor):  # sections 5.4 and 7.2
        port, address = (body.local_port, body.local) if act["operation"] == "bind" else (body.remote_port, body.remote)
        ip = ipaddress.ip_address(address) if (body.family, len(address)) in ((2, 4), (10, 16)) else None
        over_ip = PROTOCOLS.get(body.protocol or (0, body.type), f"ip-{body.protocol}")
        key = (id(actor), body.operation, body.family, body.type, body.protocol, body.result, body.level, port, address,
               str(act["dns"]), str(act["peer"]))
        closes = need(((did := body.operation) > 6) == body.HasField("dns")) and did == 6 and body.cookie in self.cookies
        row = self.cookies.pop(body.cookie) if closes else self.contacts.setdefault(key, act | {
            "actor": actor, "ip": ip and (f"::ffff:{ip.ipv4_mapped}" if getattr(ip, "ipv4_mapped", None) else str(ip)),
            "port": ip and port or None, "path": None if ip else address or None, "addressLevel": act["level"],
            "protocol": {1: "unix", 2: over_ip, 10: over_ip}.get(body.family, f"family-{body.family}"), "sentBytes": 0,
            "direction": "inbound" if body.operation in (4, 5, 8) else "outbound", "receivedBytes": 0})
        row |= {name: row[name] + act[name] for name in ("sentBytes", "receivedBytes")}
        row |= {"count": row.get("count", 0) + (not closes), "lastOn": max(row.get("lastOn", 0), act["timestamp"])}
        self.cookies |= {body.cookie: row} if body.cookie and body.operation in (1, 2, 5) else {}

    def judge(self):  # section 5.5; an account is `a` there, too
        closed, ended, repeats = self.closed or messages.SessionClosed(), bool(self.closed), defaultdict(Counter)
        for survivor in self.stayed:
            process = self.live.get(survivor["pid"], {})
            known = process and len({process["start"], survivor["startNs"]} - {0}) < 2
            self.gap([survivor["pid"]], SURVIVOR=1)
            self.gap(["survivor"], MALFORMED_LOG=not known)
            process |= {"stays": True} if known else {}
        self.gap([p["pid"] for p in self.processes if not {"end", "stays"} & p.keys()], END_NOT_SEEN=1)
        for key in sorted({*self.delivered, *self.accounts, *self.folds}):
            hook, events, folds, told = self.hooks[key[1]], self.delivered[key], self.folds[key], key in self.accounts
            a = self.accounts.get(key, messages.HookAccount())
            found = a.attempted, len(events), a.coalesced, a.lost, max(sum(events.values()), a.truncated), told
            hook |= {name: hook[name] + n for name, n in zip(NUMBERS, found)}
            self.gap([label(hook)], TRUNCATED_EVENT=found[4], MISSING_ACCOUNT=ended and not told, LOST_EVENTS=a.lost)
            self.gap([label(hook)] * told, ACCOUNT_MISMATCH=found[0] != sum(found[1:4]),
                     NUMBER_BEYOND_ACCOUNT=max(events, default=-1) >= found[0], FOLD_MISMATCH=not {*folds} <= {*events})
            repeats[key[1]][key[0]] += sum(folds.values()) - a.coalesced
        for number, hook in self.hooks.items():
            found = [row.misses if row.known else None for row in closed.misses if row.hook == number]
            hook["misses"] = found[0] if len(found) == 1 else None
            self.gap([label(hook)] * ended, UNKNOWN_MISSES=hook["misses"] is None, MISSED_RUNS=hook["misses"],
                     MISSING_ACCOUNT=not hook["accounts"])
        self.gap(["misses"], MALFORMED_LOG=any(row.hook not in self.hooks for row in closed.misses))
        self.gap([label(hook) for n, hook in self.hooks.items() if any(repeats[n].values())], FOLD_MISMATCH=ended)
        for n, hook in self.hooks.items() if self.rounds else ():  # membership is tried where a cgroup can be entered
            saw = [(self.opening, None), *[span for *span, told in self.rounds if told.get(n)], (None, self.since)]
            silent = sum(told.get(n) is False for _, _, told in self.rounds)
            if saw[2:] or silent or hook["observation"] not in UNTRIED[self.opened.membership == "cgroup+inheritance":]:
                hook["canaries"] = {"seen": len(saw) - 2, "silent": silent, "first": saw[1][0], "last": saw[-2][1],
                                    "longestNs": max(0, *(end - began for (began, _), (_, end) in pairwise(saw)))}
                self.gap([label(hook)], **faults(hook["canaries"], not ended or n in self.rounds[-1][2]))
        self.gap([p["pid"] for p in self.processes for run in p["execs"] if run["left"]], TRUNCATED_ARGV=1)
        self.gap(NOT_CLOSED=not ended, SESSION_CUT=closed.reason == "signal" and closed.root_status < 0,
                 SESSION_FAILED=closed.reason == "failed")
        self.gap(["reason"], UNKNOWN_CODE=ended and closed.reason not in ("ended", "signal", "failed"))
        level, weak, missing = cover(self.hooks.values())
        self.gap(map(label, weak), WEAK_HOOK=1)
        self.gap(missing, MISSING_OBSERVATION=1)
        return level

    def payload(self, log, signed):  # section 7
        level, opened, closed, host = self.judge(), self.opened, self.closed, self.opened.host_id
        end = fields(closed, closedRealtimeOffsetNs=closed.realtime_offset_ns,
                     buildFinishedOn=closed.closed_boottime_ns + closed.realtime_offset_ns) if closed else {}
        rows = [row | content | {
            **({"digest": content} if content["sha256"] else {"uri": "file://" + quote(row["path"])}),
            "access": "+".join(name for bit, name in enumerate(BITS.split()) if row["bits"] >> bit & 1),
            "processes": sorted({*row["by"].values()}), "accesses": sum(1 + self.folds[key][n] for key, n in row["by"])}
            for row in self.rows.values() for content in [self.contents.get(row["id"], NOT_HASHED)]]
        files = [row for row in rows if row["bits"] & 7]
        left = {row["leftAt"] or row["path"]: at for at, row in enumerate(rows)
                if row["product"] and row["sha256"] and row["path"] == self.files[row["id"]]["path"]}
        optional = {name: getattr(opened, name) or None for name in ("redaction_rules", "subject_name", "cgroup")}
        image = [{"name": c["image"] or "", "sha256": c["imageSha256"]} for c in [self.container or {}]
                 if opened.kind == "container" and c.get("imageSha256")]
        gaps, spots = ([{"code": key[0], "detail": key[1] or None, "count": n, "endsCompleteness": key in self.ending}
                        for key, n in sorted(told.items())] for told in (self.gaps, self.spots))
        return dumps(write(SCHEMA, fields(opened, openedRealtimeOffsetNs=self.offset, blindSpots=spots) | end | {
            "subject": image or [rows[at] | {"name": name} for name, at in sorted(left.items(), key=lambda item: item[1])]
                       or [{"name": "evidence", "sha256": log["rootSha256"]}], "coverage": self.hooks.values(),
            **{name: signed.get(name) for name in "id signer coSigners insteadOf number previous".split()},
            "hostID": uuid.UUID(bytes=host).urn if len(host) == 16 else "urn:testimony:host:unknown", "gaps": gaps,
            "type": f"urn:testimony:session:{quote(opened.kind, safe='')}:v1", "event": uuid.UUID(signed["id"]).urn,
            "buildStartedOn": opened.opened_boottime_ns + self.offset, "complete": not self.gaps and not self.ending,
            "lossless": all(KINDS[code] != "Loss" for code, _ in self.gaps), "log": log, "fileAccess": files,
            "digestClasses": {name: sum(file["class"] == name for file in files) for name in CLASSES},
            "platform": fields(opened.platform, end=end.get("platform")), "acts": self.acts, "coverageLevel": level,
            "redactionRules": optional["redaction_rules"], "subjectName": optional["subject_name"],
            "cgroup": optional["cgroup"], "container": self.container, "survivors": self.stayed, "nameChanges": self.names,
            "process": [run | process | {"start": process["start"] + self.offset if process["start"] else None}
                        for process in self.processes for run in process["execs"] or [{"eventType": "fork"}]],
            "network": [row | {"invokingProcess": self.invoker(row)} for row in self.contacts.values()]})).encode()

    def invoker(self, row):  # section 7.2
        line = [row["actor"] or {"id": 0, "execs": []}]
        while line[-1].get("parent", line[-1]["id"]) < line[-1]["id"]:
            line.append(self.processes[line[-1]["parent"]])
        runs = [run for each in line for run in reversed(each["execs"]) if run["executedOn"] <= row["timestamp"]]
        return row["actor"] and row["actor"] | {"comm": runs[0]["filename"].rsplit(b"/", 1)[-1][:15] if runs else ""}

def read(path, code):
    with refusing(code):
        return need(path.is_file()) and path.read_bytes()

def base64_bytes(text):  # of either alphabet, with or without padding, and one text for any bytes
    data = b64decode(text.replace("-", "+").replace("_", "/").rstrip("=") + "==")
    need(text in [encode(data).decode().rstrip(pad) for encode in (b64encode, urlsafe_b64encode) for pad in ("=", "")])
    return data

def unique(pairs, names="payloadType payload signatures keyid sig certificate intermediates".split()):
    need(all(sum(key == name for key, _ in pairs) < 2 for name in names))
    return dict(pairs)

@refusing("ENVELOPE_MALFORMED")
def open_envelope(data, keys):  # section 2: the payload over which one of the keys signed
    need(keys, "NO_ANCHOR")
    envelope = json.loads(data.decode("utf-8"), object_pairs_hook=unique, parse_int=float, parse_constant=int)
    kind, payload = envelope["payloadType"].encode(), base64_bytes(envelope["payload"])
    signatures = [base64_bytes(each["sig"]) for each in envelope["signatures"]]
    "".join(each["keyid"] for each in envelope["signatures"] if each.get("keyid") is not None).encode()
    need(len(data) <= 256 << 20 and 1 <= len(signatures) <= 16 and max(map(len, signatures)) <= 1024)
    signed = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
    for key, signature in product(keys, signatures):
        with suppress(InvalidSignature):
            key.verify(signature, signed, ec.ECDSA(hashes.SHA256()))
            need(kind == b"application/vnd.in-toto+json", "PAYLOAD_TYPE")
            return payload
    raise Refused("SIGNATURE_INVALID")

@refusing("STATEMENT_MALFORMED")
def read_statement(payload):  # sections 7 and 8.2: what it says, and how many files are of which class
    text = payload.decode("utf-8")
    bare = re.sub(r'"(\\["\\]|[^"\\])*"', "", text)  # without its strings, but for one that has another escape
    need(max(accumulate((mark in "[{") - (mark in "]}") for mark in bare), default=0) <= 127)
    need(all(-1 << 63 <= int(number) < 1 << 64 for number in re.findall("-?[0-9]+", bare)))
    statement = json.loads(text, parse_float=int, parse_constant=int)
    need(dumps(statement) == text and "\\" not in bare)
    said = statement["predicate"]["testimony"]
    for version in said["version"], said["log"]["formatVersion"]:
        need(type(version) is not int or version == 1 or not 0 <= version < 1 << 32, "VERSION_UNKNOWN")
    need(Draft202012Validator(SCHEMA, format_checker=Draft202012Validator.FORMAT_CHECKER).is_valid(statement))
    need(all(named["sequence"] == at for at, named in enumerate(said["log"]["segments"])))
    return said, Counter(file["annotations"]["class"] for file in statement["predicate"]["monitorLog"]["fileAccess"])

def frames(data):  # section 3: those of a segment
    need(data[:4] == b"\x28\xb5\x2f\xfd" and zstandard.get_frame_parameters(data).window_size <= 8 << 20)
    unpacker = zstandard.ZstdDecompressor(max_window_size=8 << 20).decompressobj()
    plain, again = io.BytesIO(unpacker.decompress(data)), io.BytesIO()
    while frame := proto.parse_length_prefixed(messages.Frame, plain):
        frame.DiscardUnknownFields()
        proto.serialize_length_prefixed(frame, again)
        need(frame.WhichOneof("body") and frame.ByteSize() <= 1 << 20)
        yield frame
    need(again.getvalue() == plain.getvalue() and unpacker.eof and not unpacker.unused_data)

def root(leaves):
    if len(leaves) < 2:
        return leaves[0] if leaves else hashlib.sha256().digest()
    half = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\1" + root(leaves[:half]) + root(leaves[half:])).digest()

@refusing("LOG_MALFORMED")
def read_log(directory, log, session):  # section 3: the facts of the log that the statement names
    trace, leaves = Trace(), []
    for before, named in pairwise([{"sha256": ""}, *log["segments"]]):
        data = read(directory / named["sha256"], "SEGMENT_MISSING")[:named["bytes"] + 1]
        need(hashlib.sha256(data).hexdigest() == named["sha256"], "SEGMENT_CHANGED")
        header = messages.SegmentHeader(format_version=1, session_id=session, sequence=named["sequence"],
                                        first_leaf=len(leaves), previous_sha256=bytes.fromhex(before["sha256"]))
        for at, frame in enumerate(frames(data)):
            need(frame.segment == header if at == 0 else not frame.HasField("segment"))
            leaves.append(hashlib.sha256(b"\0" + frame.SerializeToString()).digest())
            trace.push(frame)
        need((len(leaves) - header.first_leaf, len(data)) == (named["frames"], named["bytes"]))
    need((len(leaves), root(leaves).hex()) == (log["treeSize"], log["rootSha256"]), "LOG_ROOT")
    return need(trace.opened) and trace

def verify(path, keys, evidence, accept_incomplete):  # section 8: whether it is complete
    need(path.exists() or not evidence.is_dir(), "NO_STATEMENT")
    said, classes = read_statement(payload := open_envelope(read(path, "UNREADABLE_FILE"), keys))
    hooks, codes, spots = said["coverage"], {gap["code"] for gap in said["gaps"]}, said["blindSpots"]
    if evidence.is_dir():
        trace = read_log(evidence, said["log"], bytes.fromhex(said["session"]["id"]))
        need("TRACE_TOO_LARGE" in codes or trace.payload(said["log"], said["session"]) == payload, "TRACE_DIFFERS")
    level, weak, missing = cover(hooks)
    exact = all(hook["attempted"] == hook["delivered"] + hook["coalesced"]
                and hook["lost"] == hook["truncated"] == hook["misses"] == 0 for hook in hooks)
    ends = codes or said["survivors"] or weak or missing or any(spot["endsCompleteness"] for spot in spots)
    need(not said["lossless"] or exact and all(KINDS[code] != "Loss" for code in codes), "CLAIM_CONTRADICTED")
    need(all(spot["endsCompleteness"] or spot["code"] in HARMLESS for spot in spots), "CLAIM_CONTRADICTED")
    for hook in hooks if any("canaries" in hook for hook in hooks) else ():
        row = hook.get("canaries", {"seen": hook["observation"] in UNTRIED, "silent": 0, "longestNs": 0})
        need({*[code for code, count in faults(row).items() if count][:1]} <= codes, "CLAIM_CONTRADICTED")
    need(all(said["digestClasses"][name] == classes[name] for name in CLASSES), "CLAIM_CONTRADICTED")
    need(said["coverageLevel"] == level and said["complete"] == (said["lossless"] and not ends), "CLAIM_CONTRADICTED")
    return need(said["complete"] or accept_incomplete, "INCOMPLETE") and said["complete"]

def main(words=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--key", action="append", default=[], type=Path, metavar="PEM")
    parser.add_argument("--evidence", type=Path, metavar="DIR", help="NAME.evidence beside NAME.intoto.jsonl")
    parser.add_argument("--accept-incomplete", action="store_true")
    parser.add_argument("file", type=Path, metavar="FILE")
    try:
        args = parser.parse_args(words)
        keys = [serialization.load_pem_public_key(key.read_bytes()) for key in args.key]
        folder = args.evidence or args.file.with_name(args.file.name.removesuffix(".intoto.jsonl") + ".evidence")
        need({type(getattr(k, "curve", 0)) for k in keys} <= {ec.SECP256R1} and (folder.is_dir() or not args.evidence))
        print("COMPLETE" if verify(args.file, keys, folder, args.accept_incomplete) else "INCOMPLETE")
        return 0
    except Refused as refusal:
        print(f"REFUSED ({refusal})")
        return 2 if str(refusal) in NOT_UNDERSTOOD else 1
    except (SystemExit, OSError, ValueError) as fault:
        print(f"verify.py: {fault}", file=sys.stderr)
        return 64

if __name__ == "__main__":
    sys.exit(main())
