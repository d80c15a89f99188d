"""A second verifier of Testimony's statements, written from docs/format.md alone: it shares no code with the first."""
import argparse
import base64
import contextlib
import hashlib
import json
import re
import sys
import tempfile
from collections import Counter
from itertools import accumulate
from pathlib import Path

import zstandard
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf.message import DecodeError
from grpc_tools import protoc
from jsonschema import Draft202012Validator, FormatChecker

from fold import ENDING, FORMAT, KINDS, LEVELS, NUMBERS, OBSERVATIONS, is_weak, lowest
from statement import CLASSES, Statement, compact, is_escaped

MIB = 1 << 20
NOT_UNDERSTOOD = ("ENVELOPE_MALFORMED", "PAYLOAD_TYPE", "STATEMENT_MALFORMED", "VERSION_UNKNOWN", "UNREADABLE_FILE")
with tempfile.TemporaryDirectory() as directory:  # section 4, as Python
    Path(directory, "evidence.proto").write_text(FORMAT.split("```proto\n")[1].split("```")[0], "utf-8")
    protoc.main(["protoc", f"-I{directory}", f"--python_out={directory}", "evidence.proto"])
    sys.path.insert(0, directory)
    from evidence_pb2 import Frame, SegmentHeader
    sys.path.remove(directory)
formats = FormatChecker(formats=())
formats.checks("testimony-escaped", raises=ValueError)(lambda text: not isinstance(text, str) or is_escaped(text))
schema = (Path(__file__).resolve().parents[2] / "docs/schema/statement-v1.schema.json").read_text("utf-8")
SCHEMA = Draft202012Validator(json.loads(schema.replace('$"', r'\\Z"')), format_checker=formats)

class Refused(Exception):
    """(code,)"""

def read(path, code):
    """A regular file's bytes."""
    with contextlib.suppress(OSError):
        if path.is_file():
            return path.read_bytes()
    raise Refused(code)

def base64_bytes(text):
    """Either alphabet, with or without padding, and one text for any bytes."""
    alphabet = b"-_" if re.search("[-_]", text) else b"+/"
    data = base64.b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), alphabet, validate=True)
    whole = base64.b64encode(data, alphabet).decode()
    if text not in (whole, whole.rstrip("=")):
        raise ValueError("base64")
    return data

def unique(pairs):
    names = [name for name, _ in pairs if name in ("payloadType", "payload", "signatures", "keyid", "sig")]
    if len(set(names)) < len(names):
        raise ValueError("a field stands twice")
    return dict(pairs)

def open_envelope(path, keys):
    """Section 2: the payload over which one of the keys signed."""
    data = read(path, "UNREADABLE_FILE")
    if not keys:
        raise Refused("NO_ANCHOR")
    try:
        envelope = json.loads(data.decode("utf-8"), object_pairs_hook=unique, parse_int=float)
        kind, payload = envelope["payloadType"], base64_bytes(envelope["payload"])
        signatures = [base64_bytes(each["sig"]) for each in envelope["signatures"]]
        "".join(each.get("keyid") or "" for each in envelope["signatures"]).encode()  # all of them are text
        signed = b"DSSEv1 %d %b %d %b" % (len(kind.encode()), kind.encode(), len(payload), payload)
        if len(data) > 256 * MIB or not 1 <= len(signatures) <= 16 or max(map(len, signatures)) > 1024:
            raise ValueError("over a limit")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Refused("ENVELOPE_MALFORMED") from None
    for key, signature in ((key, signature) for key in keys for signature in signatures):
        with contextlib.suppress(InvalidSignature):
            key.verify(signature, signed, ec.ECDSA(hashes.SHA256()))
            if kind != "application/vnd.in-toto+json":
                raise Refused("PAYLOAD_TYPE")
            return payload
    raise Refused("SIGNATURE_INVALID")

def integer(text):
    if not -1 << 63 <= int(text) < 1 << 64:
        raise ValueError("no integer of 64 bits")
    return int(text)

def read_statement(payload):
    """Section 7's one form of JSON, the schema's shape, and what a schema cannot say."""
    try:
        text = payload.decode("utf-8")
        brackets = re.sub(r'"(\\.|[^"\\])*"', "", text)
        depth = max(accumulate((mark in "[{") - (mark in "]}") for mark in brackets), default=0)
        statement = json.loads(text, parse_int=integer, parse_float=integer, parse_constant=integer)
        if compact(statement) != payload or re.search(r'\\[^"\\]', text.replace("\\\\", "")) or depth > 127:
            raise ValueError("not the one form")
        testimony = statement["predicate"]["testimony"]
        for version in testimony["version"], testimony["log"]["formatVersion"]:
            if type(version) is int and version != 1 and 0 <= version < 1 << 32:
                raise Refused("VERSION_UNKNOWN")
        if not SCHEMA.is_valid(statement) or [named["sequence"] for named in testimony["log"]["segments"]] != \
                [*range(len(testimony["log"]["segments"]))]:
            raise ValueError("not the shape")
        return statement
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Refused("STATEMENT_MALFORMED") from None

def frames(data):
    """Section 3: the bytes of a segment's log frames."""
    if data[:4] != b"\x28\xb5\x2f\xfd" or zstandard.get_frame_parameters(data).window_size > 8 * MIB:
        raise ValueError("no zstd frame with a window of at most 8 MiB")
    unpacker = zstandard.ZstdDecompressor(max_window_size=8 * MIB).decompressobj()
    plain, at = unpacker.decompress(data), 0
    if not unpacker.eof or unpacker.unused_data:
        raise ValueError("a cut zstd frame, or something behind it")
    while at < len(plain):
        length = re.compile(rb"[\x80-\xff]{0,3}[\0-\x7f]").match(plain, at)
        size = length and sum((byte & 127) << 7 * i for i, byte in enumerate(length[0]))
        if not length or len(length[0]) > 1 and not length[0][-1] or size > MIB or length.end() + size > len(plain):
            raise ValueError("a frame's length")
        at = length.end() + size
        yield plain[length.end():at]

def root(leaves):
    if len(leaves) < 2:
        return leaves[0] if leaves else hashlib.sha256().digest()
    half = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\1" + root(leaves[:half]) + root(leaves[half:])).digest()

def fold_segment(data, header, leaves, trace):
    """Folds the frames of one segment; how many they are."""
    before = len(leaves)
    for leaf in frames(data):
        frame = Frame.FromString(leaf)
        frame.DiscardUnknownFields()
        if frame.SerializeToString(deterministic=True) != leaf or not frame.WhichOneof("body"):
            raise ValueError("a frame that is not known, or not in its one form")
        if frame.HasField("segment") != (len(leaves) == before) or frame.HasField("segment") and frame.segment != header:
            raise ValueError("a header that does not continue the log, or where none belongs")
        leaves.append(hashlib.sha256(b"\0" + leaf).digest())
        trace.push(frame)
    return len(leaves) - before

def read_log(directory, said):
    """Section 3: the facts of the log that the statement names."""
    log, leaves, previous, trace = said["log"], [], b"", Statement()
    for named in log["segments"]:
        data = read(directory / named["sha256"], "SEGMENT_MISSING")[:named["bytes"] + 1]
        if hashlib.sha256(data).hexdigest() != named["sha256"]:
            raise Refused("SEGMENT_CHANGED")
        header = SegmentHeader(format_version=1, session_id=bytes.fromhex(said["session"]["id"]),
                               sequence=named["sequence"], first_leaf=len(leaves), previous_sha256=previous)
        try:
            if (fold_segment(data, header, leaves, trace), len(data)) != (named["frames"], named["bytes"]):
                raise ValueError("another number of frames or bytes")
        except (ValueError, DecodeError, zstandard.ZstdError):
            raise Refused("LOG_MALFORMED") from None
        previous = bytes.fromhex(named["sha256"])
    if (len(leaves), root(leaves).hex()) != (log["treeSize"], log["rootSha256"]):
        raise Refused("LOG_ROOT")
    if not trace.opened:
        raise Refused("LOG_MALFORMED")
    trace.judge()
    return trace

def contradictions(said, files):
    """Sections 8.4 and 8.6 to 8.9: whether the statement's own parts forbid what it claims."""
    hooks = [(row["observation"], LEVELS.index(row["level"])) for row in said["coverage"]]
    numbers = [[row[name] for name in (*NUMBERS, "misses")] for row in said["coverage"]]
    held = not any(is_weak(*hook) for hook in hooks) and {*OBSERVATIONS} <= {*dict(hooks)}
    classes = Counter(file["annotations"]["class"] for file in files)
    ends = any(spot["endsCompleteness"] for spot in said["blindSpots"])
    whole = said["lossless"] and held and not (said["gaps"] or ends or said["survivors"])
    return (said["lossless"] and any(row[0] != row[1] + row[2] or row[3:] != [0, 0, 0] for row in numbers)
            or said["lossless"] and any(KINDS[gap["code"]] == "Loss" for gap in said["gaps"])
            or said["coverageLevel"] != lowest(hooks)
            or any(not spot["endsCompleteness"] and KINDS.get(spot["code"], "Gap") in ENDING for spot in said["blindSpots"])
            or any(said["digestClasses"][name] != classes[name] for name in CLASSES[1:])
            or said["complete"] != whole)

def verify(path, keys, evidence=None, accept_incomplete=False):
    """Section 8: whether the statement is complete, unless it is refused."""
    if evidence and not path.exists():
        raise Refused("NO_STATEMENT")
    payload = open_envelope(path, keys)
    statement = read_statement(payload)
    said = statement["predicate"]["testimony"]
    trace = read_log(evidence, said) if evidence else None
    gave_up = any(gap["code"] == "TRACE_TOO_LARGE" for gap in said["gaps"])
    if trace and not gave_up and trace.payload(said["log"], said["session"]) != payload:
        raise Refused("TRACE_DIFFERS")
    if contradictions(said, statement["predicate"]["monitorLog"]["fileAccess"]):
        raise Refused("CLAIM_CONTRADICTED")
    if not said["complete"] and not accept_incomplete:
        raise Refused("INCOMPLETE")
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
        if not all(isinstance(getattr(key, "curve", None), ec.SECP256R1) for key in keys):
            raise ValueError("not a P-256 key")
        if given.evidence and not given.evidence.is_dir():
            raise ValueError("the evidence is no directory")
    except (SystemExit, OSError, ValueError) as fault:
        print(f"verify.py: {fault}", file=sys.stderr)
        return 64
    beside = given.file.with_name(given.file.name.removesuffix(".intoto.jsonl") + ".evidence")
    try:
        evidence = given.evidence or (beside if beside.is_dir() else None)
        print("COMPLETE" if verify(given.file, keys, evidence, given.accept_incomplete) else "INCOMPLETE")
    except Refused as refusal:
        print(f"REFUSED ({refusal})")
        return 2 if str(refusal) in NOT_UNDERSTOOD else 1
    return 0

if __name__ == "__main__":
    sys.exit(main())
