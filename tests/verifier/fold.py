"""Section 5 of docs/format.md: from the frames of a log to facts, and what the facts leave open."""
import re
from collections import Counter
from pathlib import Path
from types import SimpleNamespace as Facts

FORMAT = (Path(__file__).resolve().parents[2] / "docs/format.md").read_text("utf-8")
KINDS = dict(re.findall(r"^\| ([A-Z_]+) \| (\w+) \|", FORMAT.split("<!-- codes -->")[1], re.M))
ENDING = ("Loss", "Gap", "BlindSpot")
LEVELS = ["none", "user-argument", "returned-object", "object"]
NAMES = "rename link unlink mkdir rmdir symlink".split()
OBSERVATIONS = "exec fork exit open rename link unlink connect send bind accept close".split()
NAME_OPERATIONS = [None, *NAMES, "truncate", "exchange"]
CONTACT_OPERATIONS = [None, "connect-attempt", "connect", "send", "bind", "accept", "close"]
CLASSES = [None, "kernel", "stable", "ephemeral", "raced", "absent"]
NUMBERS = ["attempted", "delivered", "coalesced", "lost", "truncated"]
NO_ACCOUNT = Facts(attempted=0, coalesced=0, lost=0, truncated=0)
U64 = (1 << 64) - 1

class Malformed(Exception):
    """A frame that is left out from here on."""

def need(condition):
    if not condition:
        raise Malformed

def is_code(text):
    return re.fullmatch("[A-Z0-9_]{1,64}", text)

def level(number):
    return number if 0 < number < len(LEVELS) else 0

def is_weak(observation, rank):
    return rank <= (0 if observation in NAMES else 1)

def lowest(hooks):
    """The coverage level of (observation, level) pairs."""
    return LEVELS[min((rank for observation, rank in hooks if observation not in NAMES), default=0)]

class Fold:
    def __init__(self):
        self.opened = self.closed = None
        self.hooks, self.accounts, self.delivered, self.gaps, self.spots = {}, {}, {}, {}, {}
        self.processes, self.current, self.rows, self.names, self.survivors, self.folded = [], {}, [], [], [], []
        self.files, self.contents, self.reasons, self.touched = {}, {}, {"NOT_HASHED", ""}, {}
        self.contacts, self.cookies, self.sums = {}, {}, {}

    def gap(self, code, detail="", count=1):
        """Counts a gap so many times: none at all if the count is 0, or a condition that does not hold."""
        if count:
            key = (code, str(detail)) if (code, str(detail)) in self.gaps or len(self.gaps) < 4096 else (code, "")
            self.gaps[key] = min(self.gaps.get(key, 0) + count, U64)

    def report(self, code, detail, ends):
        need(is_code(code))
        self.gap("UNKNOWN_CODE", code, code not in KINDS)
        told = [key for key in self.spots if key[0] == code]
        key = (code, detail if (code, detail) in told or len(told) < 64 else "")
        count, before = self.spots.get(key, (0, False))
        self.spots[key] = (count + 1, before or ends or KINDS.get(code, "Gap") in ENDING)

    def key(self, body):
        need(body.hook in self.hooks)
        return body.epoch, body.hook, body.cpu

    def push(self, frame):
        try:
            self.frame(frame.WhichOneof("body"), getattr(frame, frame.WhichOneof("body")))
        except Malformed:
            self.gap("MALFORMED_LOG")

    def frame(self, kind, body):
        """Section 5.1."""
        need(kind in ("segment", "opened") or self.opened and not self.closed)
        match kind:
            case "opened":
                hooks = {hook.id: hook for hook in body.hooks}
                need(not self.opened and len(hooks) == len(body.hooks))
                self.opened, self.hooks = body, hooks
                self.process(body.root_pid, "root", None, 0)
            case "event":
                numbers, kind = self.delivered.setdefault(self.key(body), {}), body.WhichOneof("body")
                need(body.number not in numbers)
                numbers[body.number] = body.flags & 0xffff != 0
                need(kind)
                self.event(body, kind, getattr(body, kind))
            case "folded":
                self.folded.append((self.key(body), body))
            case "account":
                need(self.key(body) not in self.accounts)
                self.accounts[self.key(body)] = body
            case "digest":
                number, reason = getattr(body, "class"), body.reason
                name = CLASSES[number] if 0 < number < len(CLASSES) else None
                need(name and len(body.sha256) == (0 if name in ("ephemeral", "absent") else 32))
                need(not reason if name in ("kernel", "stable") else is_code(reason))
                need(body.file_id in self.files and (reason in self.reasons or len(self.reasons) < 256))
                self.reasons.add(reason)
                self.contents[body.file_id] = body
            case "blind_spot":
                self.report(body.code, body.detail, body.ends_completeness)
            case "survivor":
                self.survivors.append(body)
            case "closed":
                self.closed = body

    def process(self, pid, origin, parent, start):
        self.current[pid] = Facts(number=len(self.processes), pid=pid, origin=origin, parent=parent, start=start,
                                  end=None, ended=0, execs=[], marked=False)
        self.processes.append(self.current[pid])
        return self.current[pid]

    def live(self, pid):
        return self.current[pid] if pid in self.current and not self.current[pid].end else None

    def actor(self, event):
        self.gap("UNKNOWN_PROCESS", event.pid, event.pid not in self.current)
        return self.current.get(event.pid) or self.process(event.pid, "unknown", None, 0)

    def event(self, event, kind, body):
        """Section 5.2."""
        match kind:
            case "fork":
                parent, child = self.actor(event), self.live(body.child_pid)
                if not child or child.start != body.child_start_ns:
                    child = self.process(body.child_pid, "forked", parent, body.child_start_ns)
                child.parent = child.parent or parent
            case "exec":
                need(body.args_bytes <= 6291456)
                actor = self.actor(event)
                need(body.HasField("binary"))
                row = self.access(event, body.binary.id, body.binary, 4, actor)
                actor.execs.append(Facts(row=row, at=event.boottime_ns, body=body, args=b""))
            case "exec_args":
                execs = self.actor(event).execs
                need(execs and body.offset == len(execs[-1].args))
                need(body.offset + len(body.data) <= execs[-1].body.args_bytes)
                execs[-1].args += body.data
            case "exit":
                actor = self.actor(event)
                need(not actor.end)
                actor.start, actor.end, actor.ended = actor.start or body.start_ns, body, event.boottime_ns
            case "open":
                need(body.access <= 255)
                record = body.file if body.HasField("file") else None
                self.access(event, body.file_id, record, body.access, self.actor(event))
            case "name":
                need(0 < body.operation < len(NAME_OPERATIONS))
                self.names.append((body, self.actor(event).number, event.boottime_ns))
            case "network":
                need(0 < body.operation < len(CONTACT_OPERATIONS) and max(body.local_port, body.remote_port) < 65536)
                self.contact(CONTACT_OPERATIONS[body.operation], event, body)
            case "joined":
                there = self.live(event.pid)
                if there:
                    there.start = there.start or body.start_ns
                if not there or there.start != body.start_ns:
                    self.process(event.pid, "joined", None, body.start_ns)
                    self.report("JOINED_PROCESS", str(event.pid), True)
            case "outside_write":
                self.report("OUTSIDE_WRITE", "", False)
            case "attention":
                self.report(body.code, str(body.detail or ""), False)

    def access(self, event, file_id, record, bits, actor):
        """Section 5.3: the row of the file that is accessed."""
        need(not record or record.id == file_id)
        rows = self.files.get(file_id, [])
        row = rows[0] if rows else None
        if record and (record.path or not rows):
            version = (record.dev, record.ino, record.size, record.ctime_sec, record.ctime_nsec)
            need(not rows or row.version == version)
            row = next((row for row in rows if row.file.path == record.path), None)
            if not row:
                deleted = event.flags >> 16 & 1
                row = Facts(file=record, version=version, access=0, accesses=0, processes=set(), deleted=deleted)
                self.rows.append(row)
                self.files.setdefault(file_id, []).append(row)
        need(row)
        row.access, row.accesses = row.access | bits, row.accesses + 1
        row.processes.add(actor.number)
        self.touched[self.key(event), event.number] = row
        return row

    def contact(self, operation, event, body):
        """Section 5.4."""
        actor, cookie = self.actor(event).number if event.pid else None, body.cookie
        where = (body.local_port, body.local) if operation == "bind" else (body.remote_port, body.remote)
        key = (actor, operation, body.family, body.type, body.protocol, body.result, body.level, where)
        closes = operation == "close" and cookie and cookie in self.cookies
        new = Facts(first=event.boottime_ns, last=0, count=0, sent=0, received=0)
        row = self.cookies.pop(cookie) if closes else self.contacts.setdefault(key, new)
        row.count, row.last = row.count + (not closes), max(row.last, event.boottime_ns)
        row.sent, row.received = min(row.sent + body.sent_bytes, U64), min(row.received + body.received_bytes, U64)
        if cookie and operation in ("connect-attempt", "connect", "accept"):
            self.cookies[cookie] = row

    def judge(self):
        """Section 5.5."""
        for body in self.survivors:
            process = self.live(body.pid)
            known = process and (process.start == body.start_ns or 0 in (process.start, body.start_ns))
            self.gap("SURVIVOR", body.pid)
            self.gap("MALFORMED_LOG", "survivor", not known)
            if known:
                process.marked = True
        for process in self.processes:
            self.gap("END_NOT_SEEN", process.pid, not process.end and not process.marked)
        labels = {hook.id: f"{hook.observation}#{hook.id}" for hook in self.hooks.values()}
        self.judge_numbers(labels)
        if self.closed:
            self.judge_misses_and_folds(labels)
        for process in self.processes:
            self.gap("TRUNCATED_ARGV", process.pid, sum(len(run.args) != run.body.args_bytes for run in process.execs))
        reason = self.closed and self.closed.reason
        self.gap("NOT_CLOSED", "", not self.closed)
        self.gap("SESSION_CUT", "", reason == "signal" and self.closed.root_status < 0)
        self.gap("SESSION_FAILED", "", reason == "failed")
        self.gap("UNKNOWN_CODE", "reason", reason not in (None, "ended", "signal", "failed"))
        for hook in self.hooks.values():
            self.gap("WEAK_HOOK", labels[hook.id], is_weak(hook.observation, level(hook.level)))
        for wanted in OBSERVATIONS:
            self.gap("MISSING_OBSERVATION", wanted, all(hook.observation != wanted for hook in self.hooks.values()))
        for row, count in ((self.touched.get((key, body.number)), body.count) for key, body in self.folded):
            if row:
                row.accesses = min(row.accesses + count, U64)

    def judge_numbers(self, labels):
        self.sums = {hook: {**dict.fromkeys(NUMBERS, 0), "misses": None} for hook in labels}
        stray = {key for key, body in self.folded if body.number not in self.delivered.get(key, ())}
        for key in sorted({*self.delivered, *self.accounts, *(key for key, _ in self.folded)}):
            label, sums, numbers = labels[key[1]], self.sums[key[1]], self.delivered.get(key, {})
            account = self.accounts.get(key, NO_ACCOUNT)
            truncated = max(sum(numbers.values()), account.truncated)
            found = account.attempted, len(numbers), account.coalesced, account.lost, truncated
            sums.update({name: min(sums[name] + n, U64) for name, n in zip(NUMBERS, found)})
            self.gap("TRUNCATED_EVENT", label, truncated)
            if key in self.accounts:
                self.gap("LOST_EVENTS", label, account.lost)
                self.gap("ACCOUNT_MISMATCH", label, account.attempted != sum(found[1:4]))
                self.gap("NUMBER_BEYOND_ACCOUNT", label, max(numbers, default=-1) >= account.attempted)
                self.gap("FOLD_MISMATCH", label, key in stray)
            elif self.closed:
                self.gap("MISSING_ACCOUNT", label)

    def judge_misses_and_folds(self, labels):
        for hook, label in labels.items():
            rows = [row for row in self.closed.misses if row.hook == hook]
            known = self.sums[hook]["misses"] = rows[0].misses if len(rows) == 1 and rows[0].known else None
            self.gap("UNKNOWN_MISSES", label, known is None)
            self.gap("MISSED_RUNS", label, known)
            self.gap("MISSING_ACCOUNT", label, all(key[1] != hook for key in self.accounts))
        self.gap("MALFORMED_LOG", "misses", any(row.hook not in labels for row in self.closed.misses))
        repeats = Counter()
        for key, body in [*self.folded, *self.accounts.items()]:
            repeats[key[:2]] += body.count if hasattr(body, "count") else -body.coalesced
        for hook, label in labels.items():
            self.gap("FOLD_MISMATCH", label, any(n for key, n in repeats.items() if key[1] == hook))
