"""A second verifier of Testimony's statements, written from docs/format.md alone: it shares no code with the first."""
import argparse
import base64
import hashlib
import io
import ipaddress
import json
import re
import sys
import tempfile
import time
import uuid
from collections import Counter
from contextlib import contextmanager, suppress
from itertools import accumulate, product
from pathlib import Path
from urllib.parse import quote

import grpc
import zstandard
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf import proto
from jsonschema import Draft202012Validator, FormatChecker

DOCS = Path(__file__).resolve().parents[2] / "docs"
FORMAT = (DOCS / "format.md").read_text("utf-8")
SCHEMA = json.loads((DOCS / "schema/statement-v1.schema.json").read_text("utf-8").replace('$"', r'\\Z"'))
KINDS = dict(re.findall(r"^\| ([A-Z_]+) \| (\w+) \|", FORMAT.split("<!-- codes -->")[1], re.M))
HARMLESS = {code for code, kind in KINDS.items() if kind not in ("Loss", "Gap", "BlindSpot")}
NOT_UNDERSTOOD = ("ENVELOPE_MALFORMED", "PAYLOAD_TYPE", "STATEMENT_MALFORMED", "VERSION_UNKNOWN", "UNREADABLE_FILE")
NAMES = "rename link unlink mkdir rmdir symlink".split()
OBSERVATIONS = "exec fork exit open rename link unlink connect send bind accept close".split()
LEVELS = {0: "none", 1: "user-argument", 2: "returned-object", 3: "object"}
CLASSES = "kernel stable ephemeral raced absent".split()
NUMBERS = "attempted delivered coalesced lost truncated".split()
ACCESSES = "read write exec created truncated path".split()
TYPES = {1: "fifo", 2: "character device", 4: "directory", 6: "block device", 8: None, 10: "symlink", 12: "socket"}
PROTOCOLS = {6: "tcp", 17: "udp", 1: "icmp", 58: "icmp", (0, 1): "tcp", (0, 2): "udp"}
UNSAFE = re.compile("[\0-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
NOT_HASHED = {"class": "absent", "reason": "NOT_HASHED", "sha256": b"", "product": None}
is_code = re.compile("[A-Z0-9_]{1,64}").fullmatch
formats = FormatChecker(formats=())
with tempfile.TemporaryDirectory() as directory:  # section 4, as Python
    Path(directory, "evidence.proto").write_text(FORMAT.split("```proto\n")[1].split("```")[0], "utf-8")
    sys.path.insert(0, directory)
    messages = grpc.protos("evidence.proto")
    sys.path.remove(directory)

class Refused(Exception):
    """(code,)"""

def need(condition, refusal=None):
    if not condition:
        raise Refused(refusal) if refusal else ValueError

@contextmanager
def refusing(code):  # for whatever goes wrong inside
    try:
        yield
    except Exception as fault:
        raise fault if isinstance(fault, Refused) else Refused(code)

def word(enum, number):  # a value that must be known, as statements write it
    need(number)
    return enum.Name(number).lower().replace("_", "-")

def fields(message, **more):  # under their names in camel case
    return {field.json_name: getattr(message, field.name) for field in message.DESCRIPTOR.fields} | more

def is_weak(hook):
    return hook["level"] == "none" or hook["level"] == "user-argument" and hook["observation"] not in NAMES

def lowest(hooks):
    levels = [hook["level"] for hook in hooks if hook["observation"] not in NAMES]
    return min(levels, key=[*LEVELS.values()].index, default="none")

def compact(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()

def instant(ns):
    seconds, rest = divmod(min(max(ns, 0), 253402300800 * 10**9 - 1), 10**9)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest:09}Z"

def esc(data):
    data = data.encode() if isinstance(data, str) else data
    text = data.replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")
    return UNSAFE.sub(lambda found: "".join(f"\\x{byte:02x}" for byte in found[0].encode()), text)

@formats.checks("testimony-escaped", raises=ValueError)
def is_escaped(text):
    plain = re.sub(rb"\\(?:x(..)|\\)", lambda found: bytes.fromhex((found[1] or b"5c").decode()), str(text).encode())
    return esc(plain) == str(text)

def write(shape, value):
    """Section 7: a value as the schema has it. An object that is not among the facts is written from the same facts."""
    name = shape.get("$ref", "").removeprefix("#/$defs/")
    shape = SCHEMA["$defs"].get(name, shape)
    if "properties" in shape:
        return {key: write(part, value.get(key, value)) for key, part in shape["properties"].items()
                if key in shape["required"] or value.get(key) is not None}
    if "items" in shape:
        return [write(shape["items"], each) for each in value]
    if name in ("escaped", "time", "decimal", "signedDecimal"):
        return esc(value) if name == "escaped" else instant(value) if name == "time" else str(value)
    value = min(value, (1 << 64) - 1) if type(value) is int else value.hex() if isinstance(value, bytes) else value
    return shape.get("const", value)

class Trace:
    """Facts are kept under the names that they have in a statement, and others beside them."""

    def __init__(self):
        self.opened = self.closed = None
        self.hooks, self.delivered, self.accounts, self.folded, self.repeats = {}, {}, {}, [], Counter()
        self.gaps, self.spots, self.ending, self.survivors, self.names = Counter(), Counter(), set(), [], []
        self.processes, self.current, self.contacts, self.cookies = [], {}, {}, {}
        self.rows, self.files, self.touched, self.contents, self.reasons = {}, {}, {}, {}, {"NOT_HASHED", ""}

    def gap(self, code, details=("",), count=1):
        """Counts a gap so often for each detail: not at all if the count is 0, or a condition that does not hold."""
        for key in ((code, str(detail)) for detail in details if count):
            self.gaps[key if key in self.gaps or len(self.gaps) < 4096 else (code, "")] += count

    def report(self, code, detail, ends):
        need(is_code(code))
        self.gap("UNKNOWN_CODE", [code], code not in KINDS)
        full = sum(told == code for told, _ in self.spots) >= 64
        key = (code, "" if full and (code, detail) not in self.spots else detail)
        self.spots[key] += 1
        self.ending |= {key} if ends or code not in HARMLESS else set()

    def key(self, body):
        need(body.hook in self.hooks)
        return body.epoch, body.hook, body.cpu

    def process(self, pid, origin, start=0):
        self.current[pid] = {"id": len(self.processes), "pid": pid, "parent": None, "origin": origin, "start": start,
                             "end": None, "userNs": None, "execs": []}
        self.processes.append(self.current[pid])
        return self.current[pid]

    def live(self, pid):
        return self.current[pid] if pid in self.current and self.current[pid]["end"] is None else None

    def actor(self, event):
        self.gap("UNKNOWN_PROCESS", [event.pid], event.pid not in self.current)
        return self.current.get(event.pid) or self.process(event.pid, "unknown")

    def push(self, frame):
        try:
            need(frame.WhichOneof("body") in ("segment", "opened") or self.opened and not self.closed)
            self.take(frame.WhichOneof("body"), frame)
        except ValueError:
            self.gap("MALFORMED_LOG")

    def take(self, kind, event, now=None):  # sections 5.1 and 5.2, of a frame or an event
        body = getattr(event, kind)
        match kind:
            case "opened":
                need(not self.opened and len({hook.id for hook in body.hooks}) == len(body.hooks))
                self.opened, sums = body, dict.fromkeys(NUMBERS, 0) | {"misses": None}
                for hook in body.hooks:
                    self.hooks[hook.id] = fields(hook, hook=hook.id, level=LEVELS.get(hook.level, "none"), **sums)
                self.process(body.root_pid, "root")
            case "event":
                numbers = self.delivered.setdefault(self.key(body), {})
                need(body.number not in numbers)
                numbers[body.number] = body.flags & 0xffff != 0
                need(body.WhichOneof("body"))
                self.take(body.WhichOneof("body"), body, body.boottime_ns + self.opened.realtime_offset_ns)
            case "folded":
                self.folded.append((self.key(body), body))
                self.repeats[body.epoch, body.hook] += body.count
            case "account":
                need(self.key(body) not in self.accounts)
                self.accounts[self.key(body)] = body
                self.repeats[body.epoch, body.hook] -= body.coalesced
            case "digest":
                name, reason = word(messages.Class, getattr(body, "class")), body.reason
                need(len(body.sha256) == (0 if name in ("ephemeral", "absent") else 32))
                need(not reason if name in ("kernel", "stable") else is_code(reason))
                need(body.file_id in self.files and len(self.reasons | {reason}) <= 256)
                self.reasons.add(reason)
                content = fields(body, reason=reason or None, product=body.product or None)
                self.contents[body.file_id] = content | {"class": name}
            case "blind_spot": self.report(body.code, body.detail, body.ends_completeness)
            case "survivor": self.survivors.append(body)
            case "closed": self.closed = body
            case "fork":
                parent, child = self.actor(event), self.live(body.child_pid)
                if not child or child["start"] != body.child_start_ns:
                    child = self.process(body.child_pid, "forked", body.child_start_ns)
                if child["parent"] is None:
                    child.update(parent=parent["id"], ppid=parent["pid"])
            case "exec":
                need(body.args_bytes <= 6291456)
                actor, same = self.actor(event), (body.uid, body.gid) == (body.euid, body.egid)
                need(body.HasField("binary"))
                path = self.access(event, body.binary.id, body.binary, 4, actor)["path"]
                actor["execs"].append(fields(
                    body, processBinary=path, args=b"", interpreter=body.interpreter or None, cwd=body.directory,
                    euid=None if same else body.euid, egid=None if same else body.egid, executedOn=now,
                    capEffective=f"{body.cap_effective:016x}",
                    namespaces={name: getattr(body, f"{name}_ns") for name in ("pid", "mnt", "net", "user")}))
            case "exec_args":
                execs = self.actor(event)["execs"]
                need(execs and body.offset == len(execs[-1]["args"]) <= execs[-1]["argsBytes"] - len(body.data))
                execs[-1]["args"] += body.data
            case "exit":
                actor, signal = self.actor(event), body.status & 127
                need(actor["end"] is None)
                actor |= fields(body, start=actor["start"] or body.start_ns, end=now, userNs=body.utime_ns,
                                systemNs=body.stime_ns, signal=signal or None,
                                exitCode=None if signal else body.status >> 8 & 255)
            case "open":
                need(body.access <= 255)
                record = body.file if body.HasField("file") else None
                self.access(event, body.file_id, record, body.access, self.actor(event))
            case "name":
                operation, actor = word(messages.NameChange.Operation, body.operation), self.actor(event)
                self.names.append(fields(body, operation=operation, target=body.target or None, process=actor["id"],
                                         level=LEVELS.get(body.level, "none"), timestamp=now))
            case "network":
                operation = word(messages.Network.Operation, body.operation)
                need(max(body.local_port, body.remote_port) < 65536)
                self.contact(operation, self.actor(event) if event.pid else None, body, now)
            case "joined":
                there = self.live(event.pid)
                if there and there["start"] in (0, body.start_ns):
                    there["start"] = body.start_ns
                else:
                    self.process(event.pid, "joined", body.start_ns)
                    self.report("JOINED_PROCESS", str(event.pid), True)
            case "outside_write": self.report("OUTSIDE_WRITE", "", False)
            case "attention": self.report(body.code, str(body.detail or ""), False)

    def access(self, event, file_id, record, bits, actor):  # section 5.3
        row = self.files.get(file_id)
        need(record.id == file_id if record else row)
        if record and (record.path or not row):
            version = record.dev, record.ino, record.size, record.ctime_sec, record.ctime_nsec
            need(not row or row["version"] == version)
            row = self.rows.setdefault((file_id, record.path), fields(
                record, version=version, access=0, accesses=0, processes=set(), deleted=event.flags >> 16 & 1 or None))
            self.files.setdefault(file_id, row)
        row["access"] |= bits
        row["accesses"] += 1
        row["processes"].add(actor["id"])
        self.touched[self.key(event), event.number] = row
        return row

    def contact(self, operation, actor, body, now):  # sections 5.4 and 7.2
        port, address = (body.local_port, body.local) if operation == "bind" else (body.remote_port, body.remote)
        ip = ipaddress.ip_address(address) if (body.family, len(address)) in ((2, 4), (10, 16)) else None
        mapped = getattr(ip, "ipv4_mapped", None)
        protocol = PROTOCOLS.get(body.protocol or (0, body.type), f"ip-{body.protocol}")
        new = fields(
            body, operation=operation, actor=actor, ip=ip and (f"::ffff:{mapped}" if mapped else str(ip)),
            port=ip and port or None, path=None if ip else address or None,
            protocol={1: "unix", 2: protocol, 10: protocol}.get(body.family, f"family-{body.family}"),
            direction="inbound" if operation in ("bind", "accept") else "outbound", timestamp=now, lastOn=now,
            count=0, sentBytes=0, receivedBytes=0, addressLevel=LEVELS.get(body.level, "none"))
        act = operation, body.family, body.type, body.protocol, port, body.result, body.level, address
        closes = operation == "close" and body.cookie in self.cookies
        row = self.cookies.pop(body.cookie) if closes else self.contacts.setdefault((actor and actor["id"], act), new)
        row["count"] += not closes
        row["lastOn"] = max(row["lastOn"], now)
        row["sentBytes"] += body.sent_bytes
        row["receivedBytes"] += body.received_bytes
        if body.cookie and operation in ("connect-attempt", "connect", "accept"):
            self.cookies[body.cookie] = row

    def judge(self):  # section 5.5
        marked, labels = set(), {number: f"{hook['observation']}#{number}" for number, hook in self.hooks.items()}
        for body in self.survivors:
            process = self.live(body.pid)
            known = process and (process["start"] == body.start_ns or 0 in (process["start"], body.start_ns))
            self.gap("SURVIVOR", [body.pid])
            self.gap("MALFORMED_LOG", ["survivor"], not known)
            marked |= {process["id"]} if known else set()
        self.gap("END_NOT_SEEN", [p["pid"] for p in self.processes if p["end"] is None and p["id"] not in marked])
        stray = {key for key, body in self.folded if body.number not in self.delivered.get(key, ())}
        for key in sorted({*self.delivered, *self.accounts, *(key for key, _ in self.folded)}):
            label, hook, numbers = [labels[key[1]]], self.hooks[key[1]], self.delivered.get(key, {})
            account = self.accounts.get(key, messages.HookAccount())
            cut = max(sum(numbers.values()), account.truncated)
            found = account.attempted, len(numbers), account.coalesced, account.lost, cut
            hook |= {name: hook[name] + n for name, n in zip(NUMBERS, found)}
            self.gap("TRUNCATED_EVENT", label, cut)
            if key in self.accounts:
                self.gap("LOST_EVENTS", label, account.lost)
                self.gap("ACCOUNT_MISMATCH", label, account.attempted != sum(found[1:4]))
                self.gap("NUMBER_BEYOND_ACCOUNT", label, max(numbers, default=-1) >= account.attempted)
                self.gap("FOLD_MISMATCH", label, key in stray)
            self.gap("MISSING_ACCOUNT", label, bool(self.closed) and key not in self.accounts)
        closed = self.closed or messages.SessionClosed()
        for number, label in labels.items() if self.closed else ():
            found = [row.misses if row.known else None for row in closed.misses if row.hook == number]
            misses = self.hooks[number]["misses"] = found[0] if len(found) == 1 else None
            self.gap("UNKNOWN_MISSES", [label], misses is None)
            self.gap("MISSED_RUNS", [label], misses)
            self.gap("MISSING_ACCOUNT", [label], all(key[1] != number for key in self.accounts))
        self.gap("MALFORMED_LOG", ["misses"], any(row.hook not in labels for row in closed.misses))
        unequal = {hook for (_, hook), n in self.repeats.items() if n and self.closed}
        self.gap("FOLD_MISMATCH", [label for number, label in labels.items() if number in unequal])
        runs = [(row["pid"], len(run["args"]), run["argsBytes"]) for row in self.processes for run in row["execs"]]
        self.gap("TRUNCATED_ARGV", [pid for pid, taken, given in runs if taken != given])
        self.gap("NOT_CLOSED", count=not self.closed)
        self.gap("SESSION_CUT", count=closed.reason == "signal" and closed.root_status < 0)
        self.gap("SESSION_FAILED", count=closed.reason == "failed")
        self.gap("UNKNOWN_CODE", ["reason"], bool(self.closed) and closed.reason not in ("ended", "signal", "failed"))
        self.gap("WEAK_HOOK", [label for number, label in labels.items() if is_weak(self.hooks[number])])
        observed = {hook["observation"] for hook in self.hooks.values()}
        self.gap("MISSING_OBSERVATION", [wanted for wanted in OBSERVATIONS if wanted not in observed])
        for key, body in self.folded:
            self.touched.get((key, body.number), Counter())["accesses"] += body.count

    def payload(self, log, signed):
        opened, closed, host, offset = self.opened, self.closed, self.opened.host_id, self.opened.realtime_offset_ns
        files = [row | self.contents.get(row["id"], NOT_HASHED) for row in self.rows.values() if row["access"] & 7]
        first = [row | self.contents.get(number, NOT_HASHED) for number, row in self.files.items()]
        products = [(row["leftAt"] or row["path"], row["sha256"]) for row in first if row["product"] and row["sha256"]]
        products = products or [("evidence", log["rootSha256"])]
        last = {name: at for at, (name, _) in enumerate(products)}
        end = closed and closed.closed_boottime_ns + closed.realtime_offset_ns
        end = fields(closed, closedRealtimeOffsetNs=closed.realtime_offset_ns, buildFinishedOn=end) if closed else {}
        chain = {name: signed[name] for name in ("id", "signer", "number", "previous")}
        return compact(write(SCHEMA, fields(opened, openedRealtimeOffsetNs=offset) | end | chain | {
            "subject": [{"name": products[at][0], "sha256": products[at][1]} for at in sorted(last.values())],
            "hostID": uuid.UUID(bytes=host).urn if len(host) == 16 else "urn:testimony:host:unknown",
            "type": f"urn:testimony:session:{quote(opened.kind, safe='')}:v1", "event": uuid.UUID(signed["id"]).urn,
            "buildStartedOn": opened.opened_boottime_ns + offset, "complete": not self.gaps and not self.ending,
            "lossless": all(KINDS[code] != "Loss" for code, _ in self.gaps), "log": log,
            "coverageLevel": lowest(self.hooks.values()), "coverage": self.hooks.values(),
            "gaps": [{"code": key[0], "detail": key[1] or None, "count": self.gaps[key]} for key in sorted(self.gaps)],
            "blindSpots": [{"code": key[0], "detail": key[1] or None, "count": self.spots[key],
                            "endsCompleteness": key in self.ending} for key in sorted(self.spots)],
            "digestClasses": {name: sum(file["class"] == name for file in files) for name in CLASSES},
            "survivors": [{"pid": body.pid, "start": body.start_ns + offset if body.start_ns else None}
                          for body in self.survivors],
            "platform": fields(opened.platform), "nameChanges": self.names,
            "fileAccess": [row | {
                "name": row["path"], "digest": row if row["sha256"] else None,
                "uri": None if row["sha256"] else "file://" + quote(row["path"], safe="/"),
                "access": "+".join(name for bit, name in enumerate(ACCESSES) if row["access"] >> bit & 1),
                "processes": sorted(row["processes"]), "type": TYPES.get(row["mode"] >> 12 & 15, "other"),
                "mode": f"{row['mode'] & 0o7777:04o}", "dev": f"{row['dev'] >> 20}:{row['dev'] & 0xfffff}",
                "ctime": row["ctimeSec"] * 10**9 + row["ctimeNsec"], "filesystem": f"0x{row['fsMagic']:08x}"}
                for row in files],
            "process": [entry for process in self.processes for entry in self.programs(process)],
            "network": [row | {"invokingProcess": row["actor"] and row["actor"] | {"comm": self.comm(row)}}
                        for row in self.contacts.values()]}))

    def programs(self, process):
        start = process["start"] + self.opened.realtime_offset_ns if process["start"] else None
        own = process | {"start": start, "eventType": "exec" if process["execs"] else "fork"}
        return [run | {"arguments": run["args"].removesuffix(b"\0").split(b"\0") if run["args"] else []} | own
                for run in process["execs"]] or [own]

    def comm(self, row):
        line = [row["actor"]]
        while line[-1]["parent"] is not None and line[-1]["parent"] < line[-1]["id"]:
            line.append(self.processes[line[-1]["parent"]])
        runs = [run for each in line for run in reversed(each["execs"]) if run["executedOn"] <= row["timestamp"]]
        return runs[0]["filename"].rsplit(b"/", 1)[-1][:15] if runs else ""

def read(path, code):
    with refusing(code):
        need(path.is_file())
        return path.read_bytes()

def base64_bytes(text):  # of either alphabet, with or without padding, and one text for any bytes
    data = base64.b64decode(text.replace("-", "+").replace("_", "/").rstrip("=") + "==")
    wholes = [encode(data).decode() for encode in (base64.b64encode, base64.urlsafe_b64encode)]
    need(text in wholes or text in [whole.rstrip("=") for whole in wholes])
    return data

def unique(pairs):
    names = [name for name, _ in pairs if name in ("payloadType", "payload", "signatures", "keyid", "sig")]
    need(len(set(names)) == len(names))
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
def read_statement(payload):  # sections 7 and 8.2
    text = payload.decode("utf-8")
    bare = re.sub(r'"(\\.|[^"\\])*"', "", text)
    need(max(accumulate((mark in "[{") - (mark in "]}") for mark in bare), default=0) <= 127)
    need(all(-1 << 63 <= int(number) < 1 << 64 for number in re.findall("-?[0-9]+", bare)))
    statement = json.loads(text, parse_float=int, parse_constant=int)
    need(compact(statement) == payload and not re.search(r'\\[^"\\]', text.replace("\\\\", "")))
    testimony = statement["predicate"]["testimony"]
    for version in testimony["version"], testimony["log"]["formatVersion"]:
        need(type(version) is not int or version == 1 or not 0 <= version < 1 << 32, "VERSION_UNKNOWN")
    need(Draft202012Validator(SCHEMA, format_checker=formats).is_valid(statement))
    need(all(named["sequence"] == at for at, named in enumerate(testimony["log"]["segments"])))
    return statement["predicate"]

def frames(data):  # section 3: those of a segment
    need(data[:4] == b"\x28\xb5\x2f\xfd" and zstandard.get_frame_parameters(data).window_size <= 8 << 20)
    unpacker = zstandard.ZstdDecompressor(max_window_size=8 << 20).decompressobj()
    plain, again = io.BytesIO(unpacker.decompress(data)), io.BytesIO()
    need(unpacker.eof and not unpacker.unused_data)
    while frame := proto.parse_length_prefixed(messages.Frame, plain):
        frame.DiscardUnknownFields()
        proto.serialize_length_prefixed(frame, again)
        need(frame.WhichOneof("body") and frame.ByteSize() <= 1 << 20)
        yield frame
    need(again.getvalue() == plain.getvalue())

def root(leaves):
    if len(leaves) < 2:
        return leaves[0] if leaves else hashlib.sha256().digest()
    half = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\1" + root(leaves[:half]) + root(leaves[half:])).digest()

def read_log(directory, log, session):  # section 3: the facts of the log that the statement names
    trace, leaves, previous = Trace(), [], b""
    for named in log["segments"]:
        data = read(directory / named["sha256"], "SEGMENT_MISSING")[:named["bytes"] + 1]
        need(hashlib.sha256(data).hexdigest() == named["sha256"], "SEGMENT_CHANGED")
        header = expected = messages.SegmentHeader(format_version=1, session_id=session, sequence=named["sequence"],
                                                   first_leaf=len(leaves), previous_sha256=previous)
        with refusing("LOG_MALFORMED"):
            for frame in frames(data):
                need((frame.segment if frame.HasField("segment") else None) == expected)
                leaves.append(hashlib.sha256(b"\0" + frame.SerializeToString()).digest())
                trace.push(frame)
                expected = None
            need((len(leaves) - header.first_leaf, len(data)) == (named["frames"], named["bytes"]))
        previous = bytes.fromhex(named["sha256"])
    need((len(leaves), root(leaves).hex()) == (log["treeSize"], log["rootSha256"]), "LOG_ROOT")
    need(trace.opened, "LOG_MALFORMED")
    trace.judge()
    return trace

@refusing("CLAIM_CONTRADICTED")
def weigh(said, files):  # sections 8.4 and 8.6 to 8.9
    hooks, gaps, spots = said["coverage"], said["gaps"], said["blindSpots"]
    exact = all(hook["attempted"] == hook["delivered"] + hook["coalesced"] for hook in hooks)
    exact = exact and all(hook[name] == 0 for hook in hooks for name in ("lost", "truncated", "misses"))
    need(not said["lossless"] or exact and all(KINDS[gap["code"]] != "Loss" for gap in gaps))
    need(said["coverageLevel"] == lowest(hooks))
    need(all(spot["endsCompleteness"] or spot["code"] in HARMLESS for spot in spots))
    classes = Counter(file["annotations"]["class"] for file in files)
    need(all(said["digestClasses"][name] == classes[name] for name in CLASSES))
    held = not any(map(is_weak, hooks)) and {*OBSERVATIONS} <= {hook["observation"] for hook in hooks}
    ends = gaps or said["survivors"] or any(spot["endsCompleteness"] for spot in spots)
    need(said["complete"] == (said["lossless"] and held and not ends))

def verify(path, keys, evidence, accept_incomplete):  # section 8: whether it is complete
    need(path.exists() or not evidence.is_dir(), "NO_STATEMENT")
    payload = open_envelope(read(path, "UNREADABLE_FILE"), keys)
    predicate = read_statement(payload)
    said = predicate["testimony"]
    if evidence.is_dir():
        trace = read_log(evidence, said["log"], bytes.fromhex(said["session"]["id"]))
        gave_up = any(gap["code"] == "TRACE_TOO_LARGE" for gap in said["gaps"])
        need(gave_up or trace.payload(said["log"], said["session"]) == payload, "TRACE_DIFFERS")
    weigh(said, predicate["monitorLog"]["fileAccess"])
    need(said["complete"] or accept_incomplete, "INCOMPLETE")
    return said["complete"]

def main(words=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--key", action="append", default=[], type=Path, metavar="PEM")
    parser.add_argument("--evidence", type=Path, metavar="DIR", help="NAME.evidence beside NAME.intoto.jsonl")
    parser.add_argument("--accept-incomplete", action="store_true")
    parser.add_argument("file", type=Path, metavar="FILE")
    try:
        given = parser.parse_args(words)
        keys = [serialization.load_pem_public_key(key.read_bytes()) for key in given.key]
        need(all(isinstance(getattr(key, "curve", None), ec.SECP256R1) for key in keys))
        evidence = given.evidence or given.file.with_name(given.file.name.removesuffix(".intoto.jsonl") + ".evidence")
        need(evidence.is_dir() or not given.evidence)
        print("COMPLETE" if verify(given.file, keys, evidence, given.accept_incomplete) else "INCOMPLETE")
        return 0
    except Refused as refusal:
        print(f"REFUSED ({refusal})")
        return 2 if str(refusal) in NOT_UNDERSTOOD else 1
    except (SystemExit, OSError, ValueError) as fault:
        print(f"verify.py: {fault}", file=sys.stderr)
        return 64

if __name__ == "__main__":
    sys.exit(main())
