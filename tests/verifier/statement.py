"""Section 7 of docs/format.md: from facts to the bytes that must have been signed."""
import ipaddress
import json
import re
import time
import uuid
from urllib.parse import quote

from fold import CLASSES, CONTACT_OPERATIONS, KINDS, LEVELS, NAME_OPERATIONS, Fold, level, lowest

ACCESSES = "read write exec created truncated path".split()
TYPES = {0o040000: "directory", 0o020000: "character device", 0o060000: "block device", 0o010000: "fifo",
         0o140000: "socket", 0o120000: "symlink", 0o100000: None}
UNSAFE = re.compile("[\0-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")

def compact(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()

def esc(data):
    data = data.encode() if isinstance(data, str) else data
    text = data.replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")
    return UNSAFE.sub(lambda found: "".join(f"\\x{byte:02x}" for byte in found[0].encode()), text)

def is_escaped(text):
    plain = re.sub(rb"\\(?:\\|x(..))", lambda found: bytes.fromhex(found[1].decode()) if found[1] else b"\\", text.encode())
    return esc(plain) == text

def instant(ns):
    seconds, rest = divmod(min(max(ns, 0), 253402300800 * 10**9 - 1), 10**9)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest:09}Z"

def present(values):
    """Without what is left out, which is None here."""
    return {name: value for name, value in values.items() if value is not None}

def fields(message, names):
    """Fields of a message under their names in camel case: texts escaped, digests and ids in hexadecimal."""
    found = {}
    for name in names.split():
        value = getattr(message, name)
        if name in ("boot_id", "host_id", "program_tag", "program_sha256", "agent_sha256"):
            value = value.hex()
        elif not isinstance(value, int):
            value = esc(value) if isinstance(value, (str, bytes)) else [esc(each) for each in value]
        found[re.sub("_(.)", lambda part: part[1].upper(), name)] = value
    return found

class Statement(Fold):
    def at(self, boottime):
        return instant(boottime + self.opened.realtime_offset_ns)

    def payload(self, log, signed):
        opened, closed, host = self.opened, self.closed, self.opened.host_id
        files = [self.file(row) for row in self.rows if row.access & 7]
        return compact({
            "_type": "https://in-toto.io/Statement/v1", "subject": self.subjects(log),
            "predicateType": "https://in-toto.io/attestation/runtime-trace/v0.1",
            "predicate": {
                "monitor": {"type": "urn:testimony:monitor:v1"},
                "monitoredProcess": {
                    "hostID": f"urn:uuid:{uuid.UUID(bytes=host)}" if len(host) == 16 else "urn:testimony:host:unknown",
                    "type": f"urn:testimony:session:{quote(opened.kind, safe='')}:v1",
                    "event": f"urn:uuid:{uuid.UUID(signed['id'])}"},
                "metadata": present({
                    "buildStartedOn": self.at(opened.opened_boottime_ns),
                    "buildFinishedOn": closed and instant(closed.closed_boottime_ns + closed.realtime_offset_ns)}),
                "testimony": self.testimony(files, log, signed),
                "monitorLog": {
                    "process": [entry for process in self.processes for entry in self.programs(process)],
                    "network": [self.peer(*contact) for contact in self.contacts.items()],
                    "fileAccess": files}}})

    def subjects(self, log):
        named = {}
        for file_id, rows in self.files.items():  # in the order of their first rows
            content = self.contents.get(file_id)
            if content and content.product and content.sha256:
                name = esc(content.left_at or rows[0].file.path)
                named.pop(name, None)
                named[name] = content.sha256.hex()
        return [{"name": name, "digest": {"sha256": digest}}
                for name, digest in (named or {"evidence": log["rootSha256"]}).items()]

    def testimony(self, files, log, signed):
        classes = [file["annotations"]["class"] for file in files]
        segments = [{name: named[name] for name in ("sequence", "sha256", "frames", "bytes")} for named in log["segments"]]
        return {
            "version": 1, "complete": not self.gaps and not any(ends for _, ends in self.spots.values()),
            "lossless": all(KINDS[code] != "Loss" for code, _ in self.gaps),
            "coverageLevel": lowest((hook.observation, level(hook.level)) for hook in self.hooks.values()),
            "gaps": [present({"code": code, "detail": esc(detail) or None, "count": count})
                     for (code, detail), count in sorted(self.gaps.items())],
            "blindSpots": [
                present({"code": code, "detail": esc(detail) or None, "count": count, "endsCompleteness": ends})
                for (code, detail), (count, ends) in sorted(self.spots.items())],
            "session": self.session(signed),
            "log": {"formatVersion": 1, "treeSize": log["treeSize"], "rootSha256": log["rootSha256"], "segments": segments},
            "coverage": [{
                "hook": hook.id, **fields(hook, "observation method"), "level": LEVELS[level(hook.level)],
                **fields(hook, "program program_tag program_sha256 refused"), **self.sums[hook.id]} for hook in self.opened.hooks],
            "digestClasses": {name: classes.count(name) for name in CLASSES[1:]},
            "platform": fields(self.opened.platform, "kernel_release machine agent_version agent_sha256 cpus"),
            "survivors": [present({"pid": body.pid, "start": self.at(body.start_ns) if body.start_ns else None})
                          for body in self.survivors],
            "nameChanges": [present({
                "operation": NAME_OPERATIONS[body.operation], "path": esc(body.path), "target": esc(body.target) or None,
                "process": number, "result": body.result, "level": LEVELS[level(body.level)], "timestamp": self.at(now)})
                for body, number, now in self.names]}

    def session(self, signed):
        opened, closed = self.opened, self.closed
        return {
            "id": signed["id"], **fields(opened, "kind boot_id host_id"),
            **{name: signed[name] for name in ("signer", "number", "previous")},
            **fields(opened, "membership command directory root_pid product_globs clock_grain_ns limit_file_bytes"),
            "openedBoottimeNs": str(opened.opened_boottime_ns), "openedRealtimeOffsetNs": str(opened.realtime_offset_ns),
            **({"closedBoottimeNs": str(closed.closed_boottime_ns),
                "closedRealtimeOffsetNs": str(closed.realtime_offset_ns),
                **fields(closed, "reason root_status")} if closed else {})}

    def programs(self, process):
        end, parent = process.end, process.parent
        signal = end and end.status & 127
        head = {"id": process.number, "pid": process.pid, "parent": parent and parent.number,
                "ppid": parent and parent.pid, "origin": process.origin}
        tail = {"start": self.at(process.start) if process.start else None, "end": end and self.at(process.ended),
                "exitCode": end.status >> 8 & 255 if signal == 0 else None, "signal": signal or None,
                "userNs": end and end.utime_ns, "systemNs": end and end.stime_ns,
                "maxRssBytes": end and end.max_rss_bytes}
        runs = [{"eventType": "exec", **head, **self.program(run), **tail} for run in process.execs]
        return [present(entry) for entry in runs or [{"eventType": "fork", **head, **tail}]]

    def program(self, run):
        body = run.body
        ids = "uid gid" if (body.uid, body.gid) == (body.euid, body.egid) else "uid gid euid egid"
        return {
            "processBinary": esc(run.row.file.path),
            "arguments": [esc(word) for word in run.args.removesuffix(b"\0").split(b"\0")] if run.args else [],
            "filename": esc(body.filename), "interpreter": esc(body.interpreter) or None, "cwd": esc(body.directory),
            **fields(body, ids), "capEffective": f"{body.cap_effective:016x}",
            "namespaces": {"pid": body.pid_ns, "mnt": body.mnt_ns, "net": body.net_ns, "user": body.user_ns},
            "executedOn": self.at(run.at)}

    def peer(self, key, row):
        number, operation, family, kind, protocol, result, shown, (port, address) = key
        ip = ipaddress.ip_address(address) if (family, len(address)) in ((2, 4), (10, 16)) else None
        mapped = ip and ip.version == 6 and ip.ipv4_mapped
        names = {6: "tcp", 17: "udp", 1: "icmp", 58: "icmp", (0, 1): "tcp", (0, 2): "udp"}
        name = names.get(protocol or (0, kind), f"ip-{protocol}")
        return present({
            "ip": (f"::ffff:{mapped}" if mapped else str(ip)) if ip else None, "port": port or None if ip else None,
            "path": esc(address) or None if not ip else None,
            "protocol": name if family in (2, 10) else "unix" if family == 1 else f"family-{family}",
            "direction": "inbound" if operation in ("bind", "accept") else "outbound", "timestamp": self.at(row.first),
            "invokingProcess": None if number is None else {
                "id": number, "pid": self.processes[number].pid, "comm": self.comm(self.processes[number], row.first)},
            "operation": operation, "result": result, "count": row.count, "lastOn": self.at(row.last),
            "sentBytes": row.sent, "receivedBytes": row.received, "addressLevel": LEVELS[level(shown)]})

    def comm(self, process, now):
        while process:
            before = [run for run in process.execs if run.at <= now]
            if before:
                return esc(before[-1].body.filename.rsplit(b"/", 1)[-1][:15])
            process = process.parent if process.parent and process.parent.number < process.number else None
        return ""

    def file(self, row):
        file, content = row.file, self.contents.get(row.file.id)
        sha256 = content.sha256.hex() if content else ""
        return present({
            "name": esc(file.path), "digest": {"sha256": sha256} if sha256 else None,
            "uri": None if sha256 else "file://" + quote(file.path, safe="/"),
            "annotations": present({
                "class": CLASSES[getattr(content, "class")] if content else "absent",
                "reason": (content.reason or None) if content else "NOT_HASHED",
                "access": "+".join(word for bit, word in enumerate(ACCESSES) if row.access >> bit & 1),
                "accesses": row.accesses, "processes": sorted(row.processes),
                "type": TYPES.get(file.mode & 0o170000, "other"), "size": file.size, "mode": f"{file.mode & 0o7777:04o}",
                "dev": f"{file.dev >> 20}:{file.dev & 0xfffff}", "ino": str(file.ino),
                "ctime": instant(file.ctime_sec * 10**9 + file.ctime_nsec), "filesystem": f"0x{file.fs_magic:08x}",
                "deleted": True if row.deleted else None, "product": True if content and content.product else None})})
