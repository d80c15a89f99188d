"""The evidence log for the second verifier: one zstd frame a segment, log frames, protobuf, the RFC 6962 tree."""
import hashlib
import os
import re
import stat
from pathlib import Path

import zstandard

MIB = 1 << 20
FORMAT = (Path(__file__).resolve().parents[2] / "docs/format.md").read_text("utf-8")


class Refused(Exception):
    """(code, sentence)"""


def read_proto(text):
    """{message: {number: (name, type, mark)}}; mark is * of a repeated field, | of one in a oneof."""
    messages, fields, oneof = {}, {}, False
    for line in re.sub("//.*", "", text).split("\n"):
        if found := re.match(r"message (\w+)", line):
            fields = messages[found[1]] = {}
        elif found := re.match(r"\s+(repeated )?(\w+) (\w+) = (\d+);", line):
            fields[int(found[4])] = (found[3], found[2], "|" if oneof else "*" if found[1] else "")
        elif "}" in line or "oneof" in line:
            oneof = "oneof" in line
    return messages


FIELDS = read_proto(FORMAT.split("<!-- proto -->")[1].split("<!-- /proto -->")[0])


# ---- protobuf

def varint(data, at):
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("varint")
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            if value >> 64:
                raise ValueError("varint")
            return value, at


def field(data, at, depth=0):
    """(number, wire type, value, next position); a group is walked over."""
    key, at = varint(data, at)
    number, wire = key >> 3, key & 7
    if not 1 <= number < 1 << 29 or depth > 100 or wire > 5 or wire == 4 and not depth:
        raise ValueError("field key")
    if wire == 0:
        value, at = varint(data, at)
        return number, wire, value, at
    inner = (number, wire, None, at)
    while wire == 3 and inner[1:2] != (4,):
        inner = field(data, inner[3], depth + 1)
    if wire in (3, 4):
        if inner[0] != number:
            raise ValueError("group")
        return number, wire, None, inner[3]
    size, at = varint(data, at) if wire == 2 else (8 if wire == 1 else 4, at)
    if at + size > len(data):
        raise ValueError("cut field")
    return number, wire, data[at:at + size], at + size


def empty(kind, mark):
    return [] if mark == "*" else {"bytes": b"", "string": "", "bool": False}.get(kind, None if kind in FIELDS else 0)


def decode(message, data, into=None):
    """One message as a dict of all its fields; `body` is the (name, value) of its oneof. Raises ValueError."""
    fields, at = FIELDS[message], 0
    out = into if into is not None else {name: empty(kind, mark) for name, kind, mark in fields.values() if mark != "|"}
    while at < len(data):
        number, wire, value, at = field(data, at)
        if number not in fields:
            continue
        name, kind, mark = fields[number]
        if wire != (2 if kind in FIELDS or kind in ("bytes", "string") else 0):
            raise ValueError("wire type")
        if kind in FIELDS:
            body = out.get("body", (None, None))
            before = body[1] if mark == "|" and body[0] == name else out.get(name) if mark not in "*|" else None
            value = decode(kind, value, before)
        elif kind == "string":
            value = value.decode("utf-8")
        elif kind == "bool":
            value = value != 0
        elif kind not in ("bytes", "uint64"):  # uint32, int32, int64 or an enum
            bits = 64 if kind == "int64" else 32
            value &= (1 << bits) - 1
            value -= 1 << bits if kind != "uint32" and value >> (bits - 1) else 0
        if mark == "|":
            out["body"] = (name, value)
        elif mark == "*":
            out[name].append(value)
        else:
            out[name] = value
    return out


# ---- log

def log_frames(path, named):
    """The log frames of one segment, each read when asked for."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as fault:
        raise Refused("SEGMENT_MISSING", f"{named['sha256']}: {fault.strerror}") from None
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise Refused("SEGMENT_MISSING", f"{named['sha256']} is no regular file")
        if hashlib.file_digest(file, "sha256").hexdigest() != named["sha256"] or file.tell() != named["bytes"]:
            raise Refused("SEGMENT_CHANGED", named["sha256"])
        file.seek(0)
        yield from cut(unpack(file))


def unpack(file):
    """One zstd frame, in pieces that stay small whatever the file holds."""
    try:
        head = file.read(18)
        frame = zstandard.get_frame_parameters(head)
        if head[:4] != b"\x28\xb5\x2f\xfd" or frame.window_size > 8 * MIB or frame.dict_id:
            raise ValueError("not one zstd frame with a window of at most 8 MiB")
        unpacker = zstandard.ZstdDecompressor(max_window_size=8 * MIB).decompressobj()
        piece = head
        while piece and not unpacker.eof:
            yield unpacker.decompress(piece)
            rest, piece = unpacker.unused_data, file.read(512)
        if not unpacker.eof or piece or rest:
            raise ValueError("a cut zstd frame, or something behind it")
    except zstandard.ZstdError as fault:
        raise ValueError(f"zstd: {fault}") from None


def cut(pieces):
    buffer = bytearray()
    for piece in pieces:
        buffer += piece
        at = 0
        while True:
            end = next((i for i in range(at, min(at + 4, len(buffer))) if buffer[i] < 128), None)
            if end is None:
                if len(buffer) - at >= 4:
                    raise ValueError("a frame's length of more than four bytes")
                break
            size = sum((byte & 127) << 7 * i for i, byte in enumerate(buffer[at:end + 1]))
            if size > MIB or end > at and not buffer[end]:
                raise ValueError("a frame's length")
            if len(buffer) < end + 1 + size:
                break
            yield bytes(buffer[end + 1:end + 1 + size])
            at = end + 1 + size
        del buffer[:at]
    if buffer:
        raise ValueError("a cut frame")


def read_log(directory, said, fold):
    """Checks the whole log that the statement names, and folds it. The log as it must stand in the statement."""
    log, total, stack, previous, found = said["log"], 0, [], b"", []
    for sequence, named in enumerate(log["segments"]):
        frames = 0
        try:
            for data in log_frames(directory / named["sha256"], named):
                name, body = decode("Frame", data).get("body", (None, None))
                if name is None or (name == "segment") != (frames == 0):
                    raise ValueError("a frame that is not known, or a header where none belongs")
                if name == "segment":
                    wanted = (1, bytes.fromhex(said["session"]["id"]), sequence, total, previous)
                    if wanted != tuple(body.values()):
                        raise ValueError("its header does not continue the log")
                node, rank = hashlib.sha256(b"\0" + data).digest(), total
                while rank & 1:
                    node, rank = hashlib.sha256(b"\1" + stack.pop() + node).digest(), rank >> 1
                stack.append(node)
                frames, total = frames + 1, total + 1
                fold.frame(name, body)
        except ValueError as fault:
            raise Refused("LOG_MALFORMED", f"segment {sequence}: {fault}") from None
        if frames != named["frames"]:
            raise Refused("SEGMENT_CHANGED" if frames else "LOG_MALFORMED", f"segment {sequence} has {frames} frames")
        previous = bytes.fromhex(named["sha256"])
        found.append({"sequence": sequence, "sha256": named["sha256"], "frames": frames, "bytes": named["bytes"]})
    root = stack.pop() if stack else hashlib.sha256().digest()
    while stack:
        root = hashlib.sha256(b"\1" + stack.pop() + root).digest()
    if (total, root.hex()) != (log["treeSize"], log["rootSha256"]):
        raise Refused("LOG_ROOT", f"the log has {total} frames and root {root.hex()}")
    return {"formatVersion": 1, "treeSize": total, "rootSha256": root.hex(), "segments": found}
