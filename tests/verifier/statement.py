"""The statement for the second verifier: from facts to the bytes that must have been signed."""
import ipaddress
import json
import re
import time
import uuid
from urllib.parse import quote

from fold import CLASSES, KINDS, LEVELS, NAME_OPERATIONS, level, lowest

ACCESSES = "read write exec created truncated path".split()
TYPES = {0o040000: "directory", 0o020000: "character device", 0o060000: "block device", 0o010000: "fifo",
         0o140000: "socket", 0o120000: "symlink"}
UNSAFE = re.compile("[\0-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


def esc(data):
    """Bytes, or text, as section 7 escapes them."""
    data = data.encode() if isinstance(data, str) else bytes(data)
    text = data.replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")
    return UNSAFE.sub(lambda found: "".join(f"\\x{byte:02x}" for byte in found[0].encode()), text)


def instant(ns):
    seconds, rest = divmod(min(max(ns, 0), 253402300800 * 10**9 - 1), 10**9)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest:09}Z"


def unless(name, value, absent=""):
    """A field that is left out if it is absent."""
    return {} if value == absent else {name: value}


class Statement:
    """Section 7, from a fold that has been judged. `session` is the signed one, for what the log does not know."""

    def __init__(self, fold, log, session):
        self.fold, self.log, self.signed = fold, log, session
        self.lossless = not any(KINDS.get(code, "Loss") == "Loss" for code, _ in fold.gaps)
        self.complete = not fold.gaps and not any(ends for _, ends in fold.spots.values())

    def at(self, boottime):
        return instant(boottime + self.fold.opened["realtime_offset_ns"])

    def payload(self):
        opened, closed = self.fold.opened, self.fold.closed
        host, kind = opened["host_id"], quote(opened["kind"].encode(), safe="")
        metadata = {"buildStartedOn": self.at(opened["opened_boottime_ns"])}
        if closed:
            metadata["buildFinishedOn"] = instant(closed["closed_boottime_ns"] + closed["realtime_offset_ns"])
        files = [row for row in self.fold.rows if row["access"] & 7]
        predicate = {
            "monitor": {"type": "urn:testimony:monitor:v1"},
            "monitoredProcess": {
                "hostID": f"urn:uuid:{uuid.UUID(bytes=host)}" if len(host) == 16 else "urn:testimony:host:unknown",
                "type": f"urn:testimony:session:{kind}:v1", "event": f"urn:uuid:{uuid.UUID(self.signed['id'])}"},
            "metadata": metadata,
            "testimony": self.testimony(files),
            "monitorLog": {
                "process": [entry for process in self.fold.processes for entry in self.programs(process)],
                "network": [self.contact(key, row) for key, row in self.fold.contacts.items()],
                "fileAccess": [self.file(row) for row in files]}}
        whole = {"_type": "https://in-toto.io/Statement/v1", "subject": self.subjects(),
                 "predicateType": "https://in-toto.io/attestation/runtime-trace/v0.1", "predicate": predicate}
        return json.dumps(whole, ensure_ascii=False, separators=(",", ":")).encode()

    def subjects(self):
        named = {}
        for file_id, rows in self.fold.files.items():  # in the order of their first rows
            content = self.fold.contents.get(file_id)
            if content and content["product"] and content["sha256"]:
                name = esc(content["left_at"] or rows[0]["file"]["path"])
                named.pop(name, None)
                named[name] = content["sha256"].hex()
        return [{"name": name, "digest": {"sha256": digest}}
                for name, digest in (named or {"evidence": self.log["rootSha256"]}).items()]

    def testimony(self, files):
        fold, classes = self.fold, [self.content(row)[0] for row in files]
        lists = [[(code, esc(detail), facts[code, detail]) for code, detail in
                  sorted(facts, key=lambda key: (key[0].encode(), key[1].encode()))]
                 for facts in (fold.gaps, fold.spots)]
        return {
            "version": 1, "complete": self.complete, "lossless": self.lossless,
            "coverageLevel": lowest((hook["observation"], level(hook["level"])) for hook in fold.hooks.values()),
            "gaps": [{"code": code, **unless("detail", detail), "count": count} for code, detail, count in lists[0]],
            "blindSpots": [{"code": code, **unless("detail", detail), "count": count, "endsCompleteness": ends}
                           for code, detail, (count, ends) in lists[1]],
            "session": self.session(), "log": self.log,
            "coverage": [{
                "hook": hook["id"], "observation": esc(hook["observation"]), "method": esc(hook["method"]),
                "level": LEVELS[level(hook["level"])], "program": esc(hook["program"]),
                "programTag": hook["program_tag"].hex(), "programSha256": hook["program_sha256"].hex(),
                "refused": [*map(esc, hook["refused"])], **fold.sums[hook["id"]]} for hook in fold.opened["hooks"]],
            "digestClasses": {name: classes.count(name) for name in CLASSES[1:]},
            "platform": self.platform(fold.opened["platform"] or {}),
            "survivors": [{"pid": body["pid"], **(body["start_ns"] and {"start": self.at(body["start_ns"])} or {})}
                          for body in fold.survivors],
            "nameChanges": [{
                "operation": NAME_OPERATIONS[body["operation"]], "path": esc(body["path"]),
                **unless("target", esc(body["target"])), "process": number, "result": body["result"],
                "level": LEVELS[level(body["level"])], "timestamp": self.at(now)} for body, number, now in fold.names]}

    @staticmethod
    def platform(said):
        texts = {"kernelRelease": "kernel_release", "machine": "machine", "agentVersion": "agent_version"}
        return {**{name: esc(said.get(field, "")) for name, field in texts.items()},
                "agentSha256": said.get("agent_sha256", b"").hex(), "cpus": said.get("cpus", 0)}

    def session(self):
        opened, closed = self.fold.opened, self.fold.closed
        end = closed and {
            "closedBoottimeNs": str(closed["closed_boottime_ns"]),
            "closedRealtimeOffsetNs": str(closed["realtime_offset_ns"]),
            "reason": esc(closed["reason"]), "rootStatus": closed["root_status"]}
        return {
            "id": self.signed["id"], "kind": esc(opened["kind"]), "bootId": opened["boot_id"].hex(),
            "hostId": opened["host_id"].hex(), **{name: self.signed[name] for name in ("signer", "number", "previous")},
            "membership": esc(opened["membership"]), "command": [*map(esc, opened["command"])],
            "directory": esc(opened["directory"]), "rootPid": opened["root_pid"],
            "productGlobs": [*map(esc, opened["product_globs"])], "clockGrainNs": opened["clock_grain_ns"],
            "limitFileBytes": opened["limit_file_bytes"], "openedBoottimeNs": str(opened["opened_boottime_ns"]),
            "openedRealtimeOffsetNs": str(opened["realtime_offset_ns"]), **(end or {})}

    def programs(self, process):
        parent, end = process["parent"], {}
        head = {"id": process["number"], "pid": process["pid"]}
        if parent:
            head |= {"parent": parent["number"], "ppid": parent["pid"]}
        head["origin"] = process["origin"]
        if process["start"]:
            end["start"] = self.at(process["start"])
        if process["end"]:
            now, body = process["end"]
            signal = body["status"] & 127
            end |= {"end": self.at(now), **({"signal": signal} if signal else {"exitCode": body["status"] >> 8 & 255}),
                    "userNs": body["utime_ns"], "systemNs": body["stime_ns"], "maxRssBytes": body["max_rss_bytes"]}
        if not process["execs"]:
            return [{"eventType": "fork", **head, **end}]
        return [{"eventType": "exec", **head, **self.program(run), **end} for run in process["execs"]]

    def program(self, run):
        args = run["args"].removesuffix(b"\0").split(b"\0") if run["args"] else []
        differs = (run["euid"], run["egid"]) != (run["uid"], run["gid"])
        return {
            "processBinary": esc(run["row"]["file"]["path"]), "arguments": [*map(esc, args)],
            "filename": esc(run["filename"]), **unless("interpreter", esc(run["interpreter"])),
            "cwd": esc(run["directory"]), "uid": run["uid"], "gid": run["gid"],
            **({"euid": run["euid"], "egid": run["egid"]} if differs else {}),
            "capEffective": f"{run['cap_effective']:016x}",
            "namespaces": {name: run[name + "_ns"] for name in ("pid", "mnt", "net", "user")},
            "executedOn": self.at(run["at"])}

    def contact(self, key, row):
        number, operation, family, kind, protocol, port, result, shown, address = key
        where = unless("path", esc(address))
        if (family, len(address)) in ((2, 4), (10, 16)):
            ip = ipaddress.ip_address(address)
            mapped = ip.version == 6 and ip.ipv4_mapped
            where = {"ip": f"::ffff:{mapped}" if mapped else str(ip), **unless("port", port, 0)}
        name = f"family-{family}" if family != 1 else "unix"
        if family in (2, 10):
            name = {6: "tcp", 17: "udp", 1: "icmp", 58: "icmp"}.get(protocol) \
                or protocol == 0 and {1: "tcp", 2: "udp"}.get(kind) or f"ip-{protocol}"
        who = {} if number is None else {"invokingProcess": {
            "id": number, "pid": self.fold.processes[number]["pid"], "comm": self.comm(number, row["first"])}}
        return {**where, "protocol": name, "direction": "inbound" if operation in ("bind", "accept") else "outbound",
                "timestamp": self.at(row["first"]), **who, "operation": operation, "result": result,
                "count": row["count"], "lastOn": self.at(row["last"]), "sentBytes": row["sent"],
                "receivedBytes": row["received"], "addressLevel": LEVELS[level(shown)]}

    def comm(self, number, now):
        process = self.fold.processes[number]
        while process:
            before = [run for run in process["execs"] if run["at"] <= now]
            if before:
                return esc(before[-1]["filename"].rsplit(b"/", 1)[-1][:15])
            parent = process["parent"]
            process = parent if parent and parent["number"] < process["number"] else None
        return ""

    def content(self, row):
        digest = self.fold.contents.get(row["file"]["id"])
        digest = digest or {"class": 5, "reason": "NOT_HASHED", "sha256": b"", "product": False}
        return CLASSES[digest["class"]], digest

    def file(self, row):
        file, (name, digest) = row["file"], self.content(row)
        path, sha256 = file["path"], digest["sha256"].hex()
        kind = file["mode"] & 0o170000
        return {
            "name": esc(path),
            **({"digest": {"sha256": sha256}} if sha256 else {"uri": "file://" + quote(path, safe="/")}),
            "annotations": {
                "class": name, **unless("reason", digest["reason"]),
                "access": "+".join(word for bit, word in enumerate(ACCESSES) if row["access"] >> bit & 1),
                "accesses": row["accesses"], "processes": sorted(row["processes"]),
                **({} if kind == 0o100000 else {"type": TYPES.get(kind, "other")}),
                "size": file["size"], "mode": f"{file['mode'] & 0o7777:04o}",
                "dev": f"{file['dev'] >> 20}:{file['dev'] & 0xfffff}", "ino": str(file["ino"]),
                "ctime": instant(file["ctime_sec"] * 10**9 + file["ctime_nsec"]),
                "filesystem": f"0x{file['fs_magic']:08x}",
                **({"deleted": True} if row["deleted"] else {}), **({"product": True} if digest["product"] else {})}}
