"""Runs both verifiers on the golden files and on spoilt copies of them: they must end with the same code on each."""
import base64
import contextlib
import copy
import hashlib
import io
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import zstandard
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import verify  # noqa: E402
from verify import Trace, messages  # noqa: E402

GOLDEN = HERE.parent / "golden/v1"
NAMES = sorted(path.name.removesuffix(".intoto.jsonl") for path in GOLDEN.glob("*.intoto.jsonl"))
RUST = os.environ.get("TESTIMONY_VERIFY_BIN", str(HERE.parents[1] / "target/release/testimony-verify"))
LOGS = int(os.environ.get("TESTIMONY_VERIFIER_LOGS", "40"))
SEED = int(os.environ.get("TESTIMONY_VERIFIER_SEED", "1"))
LINES_MAX = 400  # of code: blank ones are not counted
Frame = messages.Frame
KEY = ec.generate_private_key(ec.SECP256R1())


def write_varint(n):
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes(out + bytes([n]))


def compress(frames):
    return zstandard.compress(b"".join(write_varint(len(frame)) + frame for frame in frames))


class Unopened(Exception):
    """A log that opens no session: there is nothing to say of it."""


class Case:
    """A copy of a golden file, to be spoilt."""

    def __init__(self, name, directory):
        self.file, self.evidence = directory / "case.intoto.jsonl", directory / "case.evidence"
        self.key = directory / "key"
        shutil.copytree(GOLDEN / f"{name}.evidence", self.evidence)
        self.file.write_bytes((GOLDEN / f"{name}.intoto.jsonl").read_bytes())
        self.key.write_bytes((GOLDEN / "key.pub").read_bytes())
        self.statement = json.loads(self.payload())
        self.log = self.statement["predicate"]["testimony"]["log"]

    def envelope(self):
        return json.loads(self.file.read_bytes())

    def payload(self):
        return base64.b64decode(self.envelope()["payload"])

    def sign(self, payload=None, kind="application/vnd.in-toto+json"):
        """Signs what is given, or the statement as it now is, with the tests' own key, now the one to trust."""
        if payload is None:
            payload = json.dumps(self.statement, ensure_ascii=False, separators=(",", ":")).encode()
        signed = b"DSSEv1 %d %b %d %b" % (len(kind), kind.encode(), len(payload), payload)
        public = KEY.public_key()
        der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        self.write({"payloadType": kind, "payload": base64.b64encode(payload).decode(), "signatures": [
            {"keyid": hashlib.sha256(der).hexdigest(),
             "sig": base64.b64encode(KEY.sign(signed, ec.ECDSA(hashes.SHA256()))).decode()}]})
        self.key.write_bytes(
            public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))

    def write(self, envelope):
        self.file.write_text(json.dumps(envelope, separators=(",", ":")) + "\n")

    def segments(self):
        return [self.evidence / named["sha256"] for named in self.log["segments"]]

    def put(self, index, data, frames=None):
        """Another object for a segment, named by its own digest in the statement, which must then be signed."""
        named = self.log["segments"][index]
        named |= {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        named["frames"] = named["frames"] if frames is None else frames
        (self.evidence / named["sha256"]).write_bytes(data)

    def frames(self):
        """The leaves of each segment."""
        return [[frame.SerializeToString() for frame in verify.frames(path.read_bytes())] for path in self.segments()]

    def relog(self, segments, signed=True):
        """A log of these leaves (headers written anew). It is signed with the statement that the second verifier gives
        for it, or with the old one, which is about other facts."""
        session = self.statement["predicate"]["testimony"]["session"]
        self.log = self.statement["predicate"]["testimony"]["log"] = {"formatVersion": 1, "segments": []}
        trace, leaves, previous = Trace(), [], b""
        for sequence, frames in enumerate(segments):
            header = Frame()
            header.segment.format_version, header.segment.session_id = 1, bytes.fromhex(session["id"])
            header.segment.sequence, header.segment.first_leaf = sequence, len(leaves)
            header.segment.previous_sha256 = previous
            frames = [header.SerializeToString(), *frames]
            leaves += [hashlib.sha256(b"\0" + frame).digest() for frame in frames]
            self.log["segments"].append({"sequence": sequence, "sha256": "", "frames": 0, "bytes": 0})
            self.put(sequence, compress(frames), len(frames))
            previous = bytes.fromhex(self.log["segments"][-1]["sha256"])
            for frame in map(Frame.FromString, frames) if signed else ():
                trace.push(frame)
        self.log |= {"treeSize": len(leaves), "rootSha256": verify.root(leaves).hex()}
        if not signed:
            return self.sign()
        if not trace.opened:
            raise Unopened
        self.sign(trace.payload(self.log, session))


def both(arguments):
    """(exit code, output) of each verifier."""
    first = subprocess.run([RUST, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.redirect_stderr(said):
        code = verify.main(arguments)
    return (first.returncode, first.stdout + first.stderr), (code, said.getvalue())


def refusal(text):
    """The code of a verdict's last line. That numbers differ is to the second verifier a trace that differs."""
    last = (text.splitlines() or [""])[-1]
    code = re.search(r"\(([A-Z_]+)\)", last)
    code = code[1] if code else last.split(" ")[0]
    return {"NUMBERS_DIFFER": "TRACE_DIFFERS", "NO_STATEMENT": "INCOMPLETE"}.get(code, code)


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at % len(data)] ^= 1
    path.write_bytes(data)


# ---- each spoils a case; what it returns is the exit code that the document asks for, or None if that depends.

def payload_flipped(case):
    payload = bytearray(case.payload())
    payload[len(payload) // 2] ^= 1
    case.write(case.envelope() | {"payload": base64.b64encode(payload).decode()})
    return 1


def signature_flipped(case):
    envelope = case.envelope()
    signature = bytearray(base64.b64decode(envelope["signatures"][0]["sig"]))
    signature[-1] ^= 1
    envelope["signatures"][0]["sig"] = base64.b64encode(signature).decode()
    case.write(envelope)
    return 1


def payload_type_other(case):
    case.write(case.envelope() | {"payloadType": "text/plain"})
    return 1


def payload_type_signed(case):
    case.sign(kind="text/plain")
    return 2


def signature_not_base64(case):
    envelope = case.envelope()
    envelope["signatures"][0]["sig"] = "*"
    case.write(envelope)


def signature_second_of_two(case):
    envelope = case.envelope()
    case.write(envelope | {"signatures": [{"keyid": "", "sig": "AAAA"}] + envelope["signatures"]})


def signature_without_keyid(case):
    envelope = case.envelope()
    del envelope["signatures"][0]["keyid"]
    case.write(envelope)


def signatures_none(case):
    case.write(case.envelope() | {"signatures": []})
    return 2


def signatures_17(case):
    case.write(case.envelope() | {"signatures": case.envelope()["signatures"] * 17})
    return 2


def base64_url_and_bare(case):
    envelope = case.envelope()
    envelope["payload"] = envelope["payload"].rstrip("=").replace("+", "-").replace("/", "_")
    case.write(envelope)


def base64_mixed(case):
    case.sign(case.payload().replace(b'"monitor":', '"…½":"\u07ff\u07fe~~~???>>>",'.encode() + b'"monitor":'))
    envelope = case.envelope()
    envelope["payload"] = envelope["payload"].replace("+", "-")
    case.write(envelope)


def base64_spaced(case):
    case.write(case.envelope() | {"payload": case.envelope()["payload"] + "\n"})


def base64_bits_left_over(case):
    case.sign(case.payload() + b" " * ((2 - len(case.payload())) % 3))
    payload = case.envelope()["payload"]
    assert payload.endswith("=") and not payload.endswith("==")
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    case.write(case.envelope() | {"payload": payload[:-2] + last[last.index(payload[-2]) + 1] + "="})


def envelope_twice_a_field(case):
    case.file.write_text(case.file.read_text().replace("{", '{"payloadType":"application/vnd.in-toto+json",', 1))
    return 2


def envelope_twice_an_unknown_field(case):
    case.file.write_text(case.file.read_text().replace("{", '{"x":1,"x":2,', 1))


def envelope_twice_a_keyid(case):
    case.file.write_text(case.file.read_text().replace('"keyid"', '"keyid":"","keyid"', 1))
    return 2


def envelope_spread_over_lines(case):
    case.file.write_text(json.dumps(case.envelope(), indent=1))


def envelope_twice(case):
    case.file.write_bytes(case.file.read_bytes() * 2)
    return 2


def envelope_with_mark(case):
    case.file.write_bytes(b"\xef\xbb\xbf" + case.file.read_bytes())


def envelope_deep(case):
    case.file.write_bytes(b"[" * 100000)
    return 2


def truncated(case):
    case.file.write_bytes(case.file.read_bytes()[:-40])
    return 2


def empty_file(case):
    case.file.write_bytes(b"")
    return 2


def no_file(case):
    case.file.unlink()
    return 1


def no_file_nor_evidence(case):
    case.file.unlink()
    evidence_absent(case)
    return 2


def segment_flipped(case):
    flip(case.segments()[0], 100)
    return 1


def segment_dropped(case):
    case.segments()[-1].unlink()
    return 1


def segment_truncated(case):
    case.segments()[-1].write_bytes(case.segments()[-1].read_bytes()[:-5])
    return 1


def segment_truncated_signed(case):
    case.put(-1, case.segments()[-1].read_bytes()[:-5])
    case.sign()
    return 1


def segment_trailed_signed(case):
    case.put(-1, case.segments()[-1].read_bytes() + b"\0")
    case.sign()
    return 1


def segment_twice_signed(case):
    case.put(-1, case.segments()[-1].read_bytes() + zstandard.compress(b""))
    case.sign()
    return 1


def segment_skippable_first_signed(case):
    case.put(-1, b"\x50\x2a\x4d\x18\1\0\0\0x" + case.segments()[-1].read_bytes())
    case.sign()
    return 1


def segment_wide_window_signed(case):
    plain = b"".join(write_varint(len(frame)) + frame for frame in case.frames()[-1])
    wide = zstandard.ZstdCompressionParameters(window_log=24)
    packer = zstandard.ZstdCompressor(compression_params=wide).compressobj()
    case.put(-1, packer.compress(plain) + packer.flush())
    case.sign()
    return 1


def segment_long_varint_signed(case):
    frames = case.frames()[-1]
    plain = bytes([len(frames[0]) & 127 | 128, len(frames[0]) >> 7]) + frames[0]
    case.put(-1, zstandard.compress(plain + b"".join(write_varint(len(frame)) + frame for frame in frames[1:])))
    case.sign()
    return 1


def trace_too_large(case):
    testimony = case.statement["predicate"]["testimony"]
    testimony |= {"complete": False, "gaps": [{"code": "TRACE_TOO_LARGE", "count": 1}]}
    testimony["platform"]["cpus"] += 1
    case.sign()


def envelope_of_lists(case):
    case.file.write_text(json.dumps([*case.envelope().values()]))
    return 2


def signature_of_1025_bytes(case):
    signatures = case.envelope()["signatures"]
    case.write(case.envelope() | {"signatures": [*signatures, {"sig": base64.b64encode(bytes(1025)).decode()}]})
    return 2


def keyid_a_lone_surrogate(case):
    case.file.write_text(case.file.read_text().replace('"keyid":"', '"keyid":"\\ud800', 1))
    return 2


def envelope_with_odd_numbers(case):
    case.file.write_text(case.file.read_text().replace("{", '{"x":[1e400,-0,' + "9" * 5000 + "],", 1))


def envelope_with_a_number_that_is_none(case):
    case.file.write_text(case.file.read_text().replace("{", '{"x":NaN,', 1))
    return 2


def keyid_false(case):
    envelope = case.envelope()
    envelope["signatures"][0]["keyid"] = False
    case.write(envelope)
    return 2


def keyid_null(case):
    envelope = case.envelope()
    envelope["signatures"][0]["keyid"] = None
    case.write(envelope)


def segment_is_a_fifo(case):
    case.segments()[-1].unlink()
    os.mkfifo(case.segments()[-1])
    return 1


def segments_swapped(case):
    if len(case.segments()) > 1:
        a, b = case.segments()[:2]
        first, second = a.read_bytes(), b.read_bytes()
        a.write_bytes(second)
        b.write_bytes(first)
        return 1


def segments_swapped_signed(case):
    segments = case.log["segments"]
    if len(segments) > 1:
        segments[0], segments[1] = segments[1], segments[0]
        case.sign()
        return 2


def segments_swapped_renumbered_signed(case):
    segments = case.log["segments"]
    if len(segments) > 1:
        segments[0], segments[1] = segments[1] | {"sequence": 0}, segments[0] | {"sequence": 1}
        case.sign()
        return 1


def segment_frame_dropped_signed(case):
    frames = case.frames()[-1]
    case.put(-1, compress(frames[:-1]), len(frames) - 1)
    case.sign()
    return 1


def segments_named_none(case):
    case.log |= {"segments": [], "treeSize": 0, "rootSha256": hashlib.sha256().hexdigest()}
    case.sign()
    return 2


def evidence_absent(case):
    shutil.rmtree(case.evidence)


def evidence_absent_loss_claimed_away(case):
    evidence_absent(case)
    case.statement["predicate"]["testimony"]["coverage"][0]["lost"] += 1
    case.statement["predicate"]["testimony"]["lossless"] = True
    case.sign()
    return 1


def golden(case):
    return None


def signed_again(case):
    case.sign()


def said(path, value):
    """A spoiler that sets one value of the statement and signs it."""
    def spoil(case):
        *heads, last = path
        place = case.statement
        for name in heads:
            place = place[name]
        if value is None:
            del place[last]
        elif callable(value):
            place[last] = value(place[last])
        else:
            place[last] = value
        case.sign()
    return spoil


T, M = ("predicate", "testimony"), ("predicate", "monitorLog")
SAYS = [
    ((*T, "complete"), True), ((*T, "complete"), False), ((*T, "complete"), 1), ((*T, "complete"), None),
    ((*T, "complete"), lambda was: not was), ((*T, "lossless"), lambda was: not was),
    ((*T, "coverageLevel"), "object"), ((*T, "coverageLevel"), "none"), ((*T, "version"), 2), ((*T, "version"), "1"),
    ((*T, "version"), 1.0), ((*T, "version"), None), ((*T, "version"), True), ((*T, "log", "formatVersion"), 2),
    ((*T, "log", "treeSize"), 7), ((*T, "log", "rootSha256"), "00" * 32), ((*T, "log", "rootSha256"), "00"),
    ((*T, "log", "rootSha256"), "AA" * 32), ((*T, "log", "segments", 0, "frames"), 5),
    ((*T, "log", "segments", 0, "bytes"), 5), ((*T, "log", "segments", 0, "sequence"), 1),
    ((*T, "log", "segments", 0, "sha256"), "../" + "0" * 61), ((*T, "log", "segments", 0, "bytes"), -1),
    ((*T, "log", "segments", 0, "bytes"), 1 << 70), ((*T, "coverage", 0, "attempted"), 99),
    ((*T, "coverage", 0, "misses"), "null"), ((*T, "coverage", 0, "level"), "user-argument"),
    ((*T, "coverage", 0, "observation"), "\u202e"), ((*T, "coverage", 0, "observation"), "rename"),
    ((*T, "coverage"), []), ((*T, "digestClasses", "stable"), 99), ((*T, "digestClasses", "absent"), None),
    ((*T, "digestClasses", "more"), 0), ((*T, "gaps"), []), ((*T, "gaps"), [{"code": "NEWER", "count": 1}]),
    ((*T, "gaps"), [{"code": "NEWER", "count": -1}]), ((*T, "gaps"), [{"code": "LOST_EVENTS", "count": 0}]),
    ((*T, "survivors"), []), ((*T, "survivors"), [{"pid": 1}]), ((*T, "blindSpots"), []),
    ((*T, "blindSpots"), [{"code": "RECOVERED", "count": 1, "endsCompleteness": False}]),
    ((*T, "session", "id"), "00" * 16), ((*T, "session", "id"), "00"), ((*T, "session", "number"), 2),
    ((*T, "session", "number"), -1), ((*T, "session", "number"), 1 << 64), ((*T, "session", "previous"), "11" * 32),
    ((*T, "session", "previous"), "11"), ((*T, "session", "signer"), "\\x0a"), ((*T, "session", "signer"), "\\x0A"),
    ((*T, "session", "signer"), "a\nb"), ((*T, "session", "signer"), "\ud800"), ((*T, "session", "signer"), '"'),
    ((*T, "session", "signer"), "\\"), ((*T, "session", "openedBoottimeNs"), "-5"),
    ((*T, "session", "openedBoottimeNs"), "05000000000"), ((*T, "session", "rootPid"), 1 << 40),
    ((*T, "session", "more"), {"x": 0.5}), ((*T, "nameChanges", 0, "timestamp"), "2023-99-99T99:99:99.000000000Z"),
    ((*T, "nameChanges", 0, "result"), 1 << 31), (("_type",), "https://in-toto.io/Statement/v2"),
    (("predicateType",), "https://in-toto.io/attestation/other/v0.1"),
    (("predicateType",), "https://in-toto.io/attestation/runtime-trace/v0.2"), (("subject",), []),
    (("subject", 0, "digest"), {}), (("subject", 0, "digest", "sha256"), "11" * 32),
    (("subject", 0, "digest", "sha512"), "11" * 64), (("subject", 0, "digest", "sha256"), "11"),
    (("subject", 0, "name"), "other"), (("subject", 0, "name"), None), (("predicate", "monitor"), None),
    (("predicate", "more"), [1]), (("more",), {"a": 1e400}), ((*M, "process"), []),
    ((*M, "process", 0, "pid"), 1 << 32), ((*M, "network"), []), ((*M, "fileAccess"), []),
    ((*M, "fileAccess", 0), None), ((*M, "fileAccess", 0, "digest"), None),
    ((*M, "fileAccess", 0, "annotations", "class"), "stable"),
    ((*M, "fileAccess", 0, "annotations", "class"), "absent"),
    ((*M, "fileAccess", 0, "annotations", "class"), "sure"), ((*M, "fileAccess", 0, "annotations", "reason"), "GONE"),
    ((*M, "fileAccess", 0, "uri"), "file:///x"), ((*M, "fileAccess", 0, "digest", "sha256"), "AA" * 32),
]
# What the schema forbids.
SHAPES = [
    ((*T, "coverageLevel"), "perfect"), ((*T, "log", "segments", 0, "frames"), 0),
    ((*T, "log", "segments", 0, "bytes"), 0), ((*T, "coverage", 0, "programTag"), "xy"),
    ((*T, "gaps"), [{"code": "lower", "count": 1}]), ((*T, "survivors"), [{"pid": 1, "start": "soon"}]),
    ((*T, "session", "bootId"), "zz"), ((*T, "session", "openedBoottimeNs"), "x"), ((*T, "platform", "cpus"), -1),
    ((*T, "platform", "secureBoot"), 1), ((*T, "platform", "bpf"), {}), ((*T, "platform", "settings"), [{}]),
    ((*T, "platform"), None), ((*T, "nameChanges", 0, "operation"), "jump"), (("subject", 0, "name"), "\u001b"),
    (("predicate", "monitor", "type"), "urn:other"), (("predicate", "monitoredProcess", "hostID"), "x"),
    (("predicate", "monitoredProcess", "event"), "urn:uuid:x"), (("predicate", "monitoredProcess", "type"), "x"),
    (("predicate", "metadata"), {}), (("predicate", "metadata", "buildStartedOn"), "now"),
    ((*M, "process", 0, "eventType"), "clone"), ((*M, "process", 0, "exitCode"), 256),
    ((*M, "process", 0, "filename"), None), ((*M, "process", 0, "origin"), "x"),
    ((*M, "process", 0, "capEffective"), "0"), ((*M, "fileAccess", 0, "annotations", "mode"), "9999"),
    ((*M, "fileAccess", 0, "annotations", "processes"), []),
    ((*M, "fileAccess", 0, "annotations", "processes"), [0, 0]),
    ((*M, "fileAccess", 0, "annotations", "access"), "fly"),
    ((*M, "fileAccess", 0, "annotations", "access"), "write+read"),
    ((*M, "fileAccess", 0, "annotations", "deleted"), False), ((*M, "fileAccess", 0, "annotations", "ino"), "x"),
    ((*M, "fileAccess", 0, "annotations", "type"), "regular"), ((*M, "fileAccess", 0, "annotations", "accesses"), 0),
    ((*M, "fileAccess", 0, "annotations", "reason"), "bad reason"), ((*M, "fileAccess", 0, "uri"), "http://x"),
    ((*M, "fileAccess", 0, "name"), "x\u0007"),
]
# Of the golden file `unix`: of a peer there is whatever is there, or nothing.
PEERS = [lambda _: None, {}, [], {"pid": 77, "outside": True}, {"pid": 1 << 32, "uid": 0, "outside": True},
         {"pid": 77, "uid": -1, "outside": True}, {"pid": 77, "uid": 0, "outside": 1}]
# Of the golden file `platform`, with the exit code where the evidence is given.
P = (*T, "platform")
PLATFORM = [
    ((*P, "taint"), 1, 1), ((*P, "settings"), [], 1), ((*P, "end"), None, 1), ((*P, "bpf", "programs"), [], 1),
    ((*P, "end", "bpf", "programsGone"), [8], 1), ((*P, "bpf", "programs", 1, "sha256"), "", 1),
    ((*P, "bpf", "programs", 0, "ours"), None, 2), ((*P, "bpf", "links", 0, "id"), 1 << 32, 2),
    ((*P, "secureBoot"), 0, 2), ((*P, "end", "modulesCame"), ["\u001b"], 2),
    ((*P, "end", "settings", 0, "name"), None, 2), ((*P, "more"), 1, 1),
]
# Of the canaries of coverage rows: the golden file, what is set there, and the codes whose gaps are taken away.
C = (*T, "coverage")
TRIED, LATE = "canaries", "canaries-silent"  # in the second every hook is late, and rows 3 and 8 were silent once
CANARIES = [
    (TRIED, ((*C, 0, "canaries", "silent"), 1), ()), (TRIED, ((*C, 0, "canaries", "silent"), (1 << 64) - 1), ()),
    (TRIED, ((*C, 0, "canaries", "seen"), 0), ()), (TRIED, ((*C, 13, "canaries", "seen"), 0), ()),
    (TRIED, ((*C, 0, "canaries", "seen"), 2), ()), (TRIED, ((*C, 0, "canaries", "seen"), (1 << 64) - 1), ()),
    (TRIED, ((*C, 5, "canaries", "longestNs"), "60000000000"), ()),
    (TRIED, ((*C, 5, "canaries", "longestNs"), "60000000001"), ()),
    (TRIED, ((*C, 5, "canaries", "longestNs"), "18446744073709551615"), ()),
    (TRIED, ((*C, 5, "canaries", "longestNs"), "18446744073709551616"), ()),
    (TRIED, ((*C, 5, "canaries", "longestNs"), "0"), ()), (TRIED, ((*C, 5, "canaries", "longestNs"), "-1"), ()),
    (TRIED, ((*C, 5, "canaries", "longestNs"), 1), ()), (TRIED, ((*C, 5, "canaries", "longestNs"), None), ()),
    (TRIED, ((*C, 0, "canaries", "silent"), -1), ()), (TRIED, ((*C, 0, "canaries", "silent"), "0"), ()),
    (TRIED, ((*C, 0, "canaries", "silent"), None), ()), (TRIED, ((*C, 0, "canaries", "seen"), None), ()),
    (TRIED, ((*C, 0, "canaries", "first"), None), ()), (TRIED, ((*C, 0, "canaries", "last"), "soon"), ()),
    (TRIED, ((*C, 0, "canaries", "more"), 1), ()), (TRIED, ((*C, 0, "canaries"), None), ()),
    (TRIED, ((*C, 0, "canaries"), {}), ()), (TRIED, ((*C, 7, "canaries"), []), ()),
    (TRIED, ((*C, 13, "canaries"), None), ()),
    (TRIED, ((*C, 14, "canaries"), {"seen": 0, "silent": 0, "longestNs": "0"}), ()),
    (TRIED, ((*C, 14, "canaries"), {"seen": 1, "silent": 0, "longestNs": "60000000001"}), ()),
    (TRIED, ((*C, 14, "canaries"), {"seen": 1, "silent": 0, "longestNs": "0"}), ()),
    (TRIED, (C, lambda rows: [{key: row[key] for key in row if key != "canaries"} for row in rows]), ()),
    (TRIED, ((*T, "gaps"), [{"code": "HOOK_SILENT", "detail": "fork#1", "count": 1}]), ()),
    (LATE, ((*C, 3, "canaries", "silent"), 0), ()), (LATE, ((*C, 3, "canaries", "silent"), 2), ()),
    (LATE, ((*C, 0, "canaries", "silent"), 1), ()), (LATE, ((*C, 0, "canaries", "longestNs"), "1"), ()),
    (LATE, ((*C, 0, "canaries", "seen"), 0), ()), (LATE, ((*C, 0, "canaries"), None), ()),
    (LATE, ((*C, 0, "canaries", "seen"), 3), ("CANARIES_LATE",)),
    (LATE, ((*C, 0, "canaries", "silent"), 1), ("HOOK_SILENT",)),
    (LATE, ((*C, 0, "canaries", "seen"), 3), ("CANARIES_LATE", "HOOK_SILENT", "MALFORMED_LOG")),
    # Of these the first row that demands a gap has it, and a later one demands another, which is not there.
    (LATE, ((*C, 0, "canaries", "seen"), 3), ("HOOK_SILENT",)), (LATE, ((*C, 13, "canaries", "seen"), 0), ()),
    (LATE, ((*C, 13, "canaries"), None), ()), (LATE, ((*C, 13, "canaries", "silent"), 1), ("HOOK_SILENT",)),
    (LATE, ((*C, 0, "canaries", "silent"), 1), ("CANARIES_LATE",)),
]
RAW = {
    "twice a key": lambda text: text.replace('"version":1', '"version":1,"version":1'),
    "twice an unknown key": lambda text: text.replace('"version":1', '"version":1,"x":1,"x":1'),
    "twice a key in an unknown object": lambda text: text.replace('"version":1', '"version":1,"x":{"y":1,"y":1}'),
    "a space": lambda text: text.replace(",", ", ", 1),
    "a line end": lambda text: text + "\n",
    "an escape": lambda text: text.replace('"run"', '"\\u0072un"'),
    "two values": lambda text: text + "{}",
    "no object": lambda text: "[]",
    "nothing": lambda text: "",
    "NaN": lambda text: text.replace('"version":1', '"version":1,"x":NaN'),
    "minus nought": lambda text: text.replace('"rootStatus":0', '"rootStatus":-0'),
    "an exponent": lambda text: text.replace('"version":1', '"version":1e0'),
    "a long number": lambda text: text.replace('"version":1', '"version":1,"x":' + "9" * 5000),
    "deep": lambda text: text.replace('"version":1', '"version":1,"x":' + "[" * 5000 + "]" * 5000),
    "rather deep": lambda text: text.replace('"version":1', '"version":1,"x":' + "[" * 150 + "]" * 150),
    "a lone surrogate": lambda text: text.replace('"version":1', '"version":1,"x":"\\ud800"'),
    "an integer of 65 bits": lambda text: text.replace('"version":1', '"version":1,"x":18446744073709551616'),
    "a fraction in an unknown field": lambda text: text.replace('"version":1', '"version":1,"x":0.5'),
    "a number beyond a double": lambda text: text.replace('"version":1', '"version":1,"x":1e400'),
    "a needless escape in an unknown field": lambda text: text.replace('"version":1', '"version":1,"x":"\\/"'),
    "a control character's escape": lambda text: text.replace('"version":1', '"version":1,"x":"\\n"'),
    "127 deep": lambda text: text.replace('"version":1', '"version":1,"x":' + "[" * 124 + "]" * 124),
    "128 deep": lambda text: text.replace('"version":1', '"version":1,"x":' + "[" * 125 + "]" * 125),
    "an unknown field": lambda text: text.replace('"version":1', '"version":1,"x":{"y":[null,true,-1]}'),
    "keys in another order": lambda text: json.dumps(json.loads(text), separators=(",", ":"), sort_keys=True),
}
SPOILERS = [
    golden, signed_again, payload_flipped, signature_flipped, payload_type_other, payload_type_signed,
    signature_not_base64, signature_second_of_two, signature_without_keyid, signatures_none, signatures_17,
    base64_url_and_bare, base64_mixed, base64_spaced, base64_bits_left_over, envelope_twice_a_field,
    envelope_twice_an_unknown_field, envelope_twice_a_keyid, envelope_spread_over_lines, envelope_twice,
    envelope_with_mark, envelope_deep, truncated, empty_file, no_file, no_file_nor_evidence, segment_flipped,
    segment_dropped, segment_truncated, segment_truncated_signed, segment_trailed_signed, segment_twice_signed,
    segment_skippable_first_signed, segment_wide_window_signed, segment_long_varint_signed, segment_is_a_fifo,
    trace_too_large, envelope_of_lists, signature_of_1025_bytes, keyid_a_lone_surrogate, envelope_with_odd_numbers,
    envelope_with_a_number_that_is_none, keyid_false, keyid_null,
    segments_swapped, segments_swapped_signed, segments_swapped_renumbered_signed, segment_frame_dropped_signed,
    segments_named_none, evidence_absent, evidence_absent_loss_claimed_away]


# ---- logs that no run wrote

NUMBERS = [0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 16, 63, 64, 255, 256, 1000, 1001, 1002, 65536, 100001,
           4990000000, 5005000000, (1 << 31) - 1, (1 << 32) - 1, (1 << 63) - 1, (1 << 64) - 1]
BYTES = [b"", b"/", b"/a/b", b"/src/tool", b"a\0b\0", b"\0", b"\xff\xc3\x28\xe2\x82",
         "\u202e\\\"\u007f\u0085é".encode(), b"\x7f\0\0\1",
         b"\0" * 10 + b"\xff\xff\xc0\0\2\1", b"\x20\1\x0d\xb8" + b"\0" * 11 + b"\1", b"x" * 32, b"x" * 16]
WORDS = ["", "run", "ended", "signal", "failed", "open", "rename", "IO_URING_USED", "OUTSIDE_WRITE", "NEWER_CODE",
         "FRESH_CTIME", "lower", "\u202e", "A" * 65, "a b/ü"]


def stir(chance, message):
    """Changes one field somewhere in a message."""
    oneof = message.DESCRIPTOR.oneofs_by_name.get("body")
    fields = [field for field in message.DESCRIPTOR.fields if not field.containing_oneof]
    if oneof and message.WhichOneof("body") and (not fields or chance.random() < 0.7):
        return stir(chance, getattr(message, message.WhichOneof("body")))
    if not fields:
        return
    field = chance.choice(fields)
    if not field.is_repeated:
        if field.message_type and message.HasField(field.name) and chance.random() < 0.9:
            return stir(chance, getattr(message, field.name))
        if field.message_type:
            return message.ClearField(field.name)
        return setattr(message, field.name, other(chance, field, getattr(message, field.name)))
    values = getattr(message, field.name)
    if not values or chance.random() < 0.3:
        repeated = [*values] * chance.choice((0, 2))
        del values[:]
        return values.extend(repeated)
    at = chance.randrange(len(values))
    if field.message_type:
        stir(chance, values[at])
    else:
        values[at] = other(chance, field, values[at])


def other(chance, field, value):
    if field.type == field.TYPE_BYTES:
        return chance.choice(BYTES)
    if field.type == field.TYPE_STRING:
        return chance.choice(WORDS)
    if field.type == field.TYPE_BOOL:
        return not value
    bits = 64 if field.type in (field.TYPE_UINT64, field.TYPE_INT64) else 32
    number = chance.choice(NUMBERS) if chance.random() < 0.8 else value + chance.choice((-1, 1))
    signed = field.type not in (field.TYPE_UINT64, field.TYPE_UINT32)
    number &= (1 << bits) - 1
    return number - (1 << bits) if signed and number >> bits - 1 else number


def split(chance, frames):
    middle = chance.randrange(len(frames))
    return [frames] if chance.random() < 0.5 else [frames[:middle], frames[middle:]]


def stirred(chance, case):
    """Frames of a golden log, some changed, doubled, moved or left out."""
    frames = [Frame.FromString(leaf) for segment in case.frames() for leaf in segment[1:]]
    for _ in range(chance.choice((1, 2, 4, 8, 30))):
        at, how = chance.randrange(len(frames)), chance.random()
        if how < 0.7:
            frames[at] = copy.deepcopy(frames[at])
            stir(chance, frames[at])
        elif how < 0.8:
            del frames[at]
        elif how < 0.9:
            frames.insert(chance.randrange(len(frames)), frames[at])
        else:
            frames.insert(chance.randrange(len(frames)), frames.pop(at))
    return split(chance, [frame.SerializeToString(deterministic=True) for frame in frames])


def bent(chance, case):
    """Leaves of a golden log, one changed in its bytes."""
    leaves = [leaf for segment in case.frames() for leaf in segment[1:]]
    at = chance.randrange(len(leaves))
    leaf = bytearray(leaves[at])
    place, how = chance.randrange(len(leaf)), chance.random()
    if how < 0.5:
        leaf[place] ^= 1 << chance.randrange(8)
    elif how < 0.7:
        leaf.insert(place, chance.choice((0, 1, 0x7f, 0x80, 0xff)))
    elif how < 0.8:
        del leaf[place]
    else:  # behind a message's fields: another, known or not
        leaf += chance.choice((b"\x08\1", b"\x10\0", b"\xf8\7\1", b"\x5a\0", b"\x5b\x5c", b"\x1a\0", b"\x00", b"\x7f"))
    leaves[at] = bytes(leaf)
    return split(chance, leaves)


VALUES = [None, True, False, 0, 1, -1, 255, 65536, 1 << 32, (1 << 53) + 1, (1 << 64) - 1, 1 << 64, -(1 << 63), 1.0, 0.5, 1e300,
          "", "x", "0", "-0", "00", "\n", "\x1b", "\x7f", "\u202e", "é", "\\", "\\x1b", "\\x41", "\\xc3\\xa9", "\\xff", '"',
          "GONE", "SURVIVOR", "RECOVERED", "object", "none", "stable", "absent", "exec", "fork", [], {}, [[]], [{}], ["x"], [0, 0]]


def places(value, path=()):
    """Every place in a statement."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, each in inner:
        yield *path, name
        yield from places(each, (*path, name))


def put_another(chance, case):
    """Puts another value in some places of the statement, moves one or leaves one out."""
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        *heads, last = chance.choice([*places(case.statement)])
        place = case.statement
        for name in heads:
            place = place[name]
        how = chance.random()
        if how < 0.7:
            place[last] = chance.choice(VALUES)
        elif how < 0.8 and isinstance(place[last], str):
            place[last] = place[last][:-1] + chance.choice(("", "\n", " ", "0", "A", "\0"))
        elif how < 0.9:
            del place[last]
        else:
            place[last] = [*place[last].values()] if isinstance(place[last], dict) else [place[last]]
    case.sign()


class Size(unittest.TestCase):
    def test_the_second_verifier_is_small(self):
        files = [path for path in HERE.glob("*.py") if path.name != "test_verify.py"]
        lines = {path.name: sum(map(bool, path.read_text().split("\n"))) for path in files}
        print(lines)
        self.assertLessEqual(sum(lines.values()), LINES_MAX)


class Agreement(unittest.TestCase):
    """Both verifiers end with the same exit code, and name the same refusal first."""

    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)
        self.jobs = []

    def case(self, name="complete"):
        return Case(name, Path(tempfile.mkdtemp(dir=self.directory.name)))

    def add(self, about, case, wanted=None, *arguments):
        self.jobs.append((about, case, wanted, arguments or ("--key", str(case.key))))

    def compared(self):
        """Runs what was added, several at a time: (what it is about, code and output of the first verifier)."""
        with ProcessPoolExecutor(os.cpu_count()) as pool:
            runs = [*pool.map(both, [[*arguments, str(case.file)] for _, case, _, arguments in self.jobs], chunksize=8)]
        done = []
        for (about, _, wanted, _), ((first, text), (second, other)) in zip(self.jobs, runs):
            with self.subTest(about):
                said = f"first verifier:\n{text}\nsecond verifier:\n{other}"
                self.assertEqual(first, second, said)
                if first != 64:
                    self.assertEqual(refusal(text), refusal(other), said)
                if wanted is not None:
                    self.assertEqual(second, wanted, other)
                done.append((about, first, text))
        return done

    def test_golden_files_and_spoilt_copies(self):
        for name in NAMES:
            for spoil in SPOILERS:
                case = self.case(name)
                wanted = spoil(case)
                self.add((name, spoil.__name__), case, wanted)
                if wanted is None:
                    self.add((name, spoil.__name__, "accepted"), case, None,
                             "--key", str(case.key), "--accept-incomplete")
        table = {}
        for (name, spoilt, *accepted), code, _ in self.compared():
            table.setdefault(" ".join([spoilt, *accepted]), {})[name] = code
        for spoilt, codes in table.items():
            print(f"{spoilt:<48}", *(f"{name}={code}" for name, code in codes.items()))

    def test_what_is_said_and_signed(self):
        for path, value in SAYS + SHAPES:
            for evidence in (True, False):
                case = self.case()
                before = case.payload()
                try:
                    said(path, value)(case)
                except UnicodeEncodeError:
                    case.sign(json.dumps(case.statement, separators=(",", ":")).encode())
                if not evidence:
                    evidence_absent(case)
                may_hold = not evidence or case.payload() == before or path[:-1] == (*T, "session")
                self.add((path, value, may_hold), case, 2 if (path, value) in SHAPES else None)
        for (path, value, may_hold), code, text in self.compared():
            self.assertTrue(code or may_hold, f"{path} {value!r}: {text}")

    def test_what_is_said_of_a_peer(self):
        network = self.case("unix").statement["predicate"]["monitorLog"]["network"]
        at = max(at for at, row in enumerate(network) if "peer" in row)
        for value in PEERS:
            case = self.case("unix")
            said((*M, "network", at, "peer"), value)(case)
            self.add((value,), case, 2)
        self.compared()

    def test_what_is_said_of_the_platform(self):
        for path, value, code in PLATFORM:
            case = self.case("platform")
            said(path, value)(case)
            self.add((path, value), case, code)
        self.compared()

    def test_what_is_said_of_canaries(self):
        changed = {}
        for name, (path, value), gone in CANARIES:
            for evidence in (True, False):
                case = self.case(name)
                before, testimony = case.payload(), case.statement["predicate"]["testimony"]
                testimony["gaps"] = [gap for gap in testimony["gaps"] if gap["code"] not in gone]
                said(path, value)(case)
                if not evidence:
                    evidence_absent(case)
                about = (name, path[2:], str(value), gone, evidence)
                self.add(about, case, 1 if evidence and gone else None)
                self.add((*about, "accepted"), case, None, "--key", str(case.key), "--accept-incomplete")
                changed[about] = case.payload() != before
        for about, code, text in self.compared():
            self.assertTrue(code or not about[4] or not changed[about[:5]], f"{about}: {text}")

    def test_how_it_is_written(self):
        for what, write in RAW.items():
            case = self.case()
            case.sign(write(case.payload().decode()).encode())
            self.add(what, case)
        for _, code, text in self.compared():
            self.assertTrue(code, text)

    def test_usage(self):
        case = self.case()
        self.add("an unknown option", case, 64, "--bogus")
        self.add("a key that is none", case, 64, "--key", str(case.file))
        self.add("a key that is not there", case, 64, "--key", str(case.file) + "x")
        self.add("evidence that is no directory", case, 64, "--key", str(case.key), "--evidence", str(case.file))
        self.add("no key", case, 1, "--accept-incomplete")
        self.add("evidence named", case, 0, "--key", str(case.key), "--evidence", str(case.evidence))
        self.assertEqual(len(self.compared()), 6)

    def test_statements_of_the_second_verifier_are_proven_by_the_first(self):
        for number in range(LOGS):
            chance = random.Random(SEED * 1000003 + number)
            name = chance.choice(NAMES)
            case = self.case(name)
            with contextlib.suppress(Unopened):
                case.relog(stirred(chance, case))
                self.add((number, name), case, None, "--key", str(case.key), "--accept-incomplete")
        for _, code, text in self.compared():
            self.assertTrue(code or re.search(r"^ *proven +trace ", text, re.M), text)
            self.assertNotIn("TRACE_DIFFERS", text)
        self.assertGreater(len(self.jobs), LOGS // 2)

    def test_logs_whose_bytes_were_bent_and_that_were_signed_anew(self):
        for number in range(LOGS * 2):
            chance = random.Random(SEED * 1000003 + number)
            case = self.case(chance.choice(NAMES))
            case.relog(bent(chance, case), signed=False)
            self.add(number, case, 1, "--key", str(case.key), "--accept-incomplete")
        self.compared()

    def test_statements_whose_values_were_bent_and_that_were_signed_anew(self):
        for number in range(LOGS * 4):
            chance = random.Random(SEED * 1000003 + number)
            case = self.case(chance.choice(NAMES))
            put_another(chance, case)
            if chance.random() < 0.7:
                evidence_absent(case)
            self.add(number, case, None, "--key", str(case.key), "--accept-incomplete")
        self.compared()

    def test_files_whose_bytes_were_flipped(self):
        for number in range(LOGS):
            chance = random.Random(SEED * 1000003 + number)
            case = self.case(chance.choice(NAMES))
            flip(chance.choice([case.file, *case.segments()]), chance.randrange(1 << 20))
            self.add(number, case, None, "--key", str(case.key), "--accept-incomplete")
        self.compared()


if __name__ == "__main__":
    unittest.main()
