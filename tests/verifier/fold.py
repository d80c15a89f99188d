"""The fold for the second verifier: from frames to facts, and what the facts leave open."""
import re

from log import FORMAT

U64 = (1 << 64) - 1
KINDS = dict(re.findall(r"^\| ([A-Z_]+) \| ([A-Za-z]+) \|", FORMAT.split("<!-- codes -->")[1], re.M))  # of the codes
ENDING = ("Loss", "Gap", "BlindSpot")
LEVELS = ["none", "user-argument", "returned-object", "object"]
NAME_OBSERVATIONS = "rename link unlink mkdir rmdir symlink".split()
OBSERVATIONS = "exec fork exit open rename link unlink connect send bind accept close".split()
NAME_OPERATIONS = [None] + "rename link unlink mkdir rmdir symlink truncate exchange".split()
CONTACT_OPERATIONS = [None] + "connect-attempt connect send bind accept close".split()
CLASSES = [None, "kernel", "stable", "ephemeral", "raced", "absent"]
CODE = re.compile(r"[A-Z0-9_]{1,64}\Z")


class Malformed(Exception):
    """A frame that the fold leaves out."""


class Fold:
    """Section 5. Processes, execs, file rows, contacts are dicts; `body` is a frame's message."""

    def __init__(self):
        self.opened = self.closed = None
        self.gaps, self.spots, self.details, self.hooks = {}, {}, {}, {}
        self.processes, self.current, self.rows, self.names, self.survivors, self.folded = [], {}, [], [], [], []
        self.files, self.contents, self.reasons, self.touched = {}, {}, {"NOT_HASHED", ""}, {}
        self.contacts, self.cookies, self.delivered, self.accounts = {}, {}, {}, {}

    def gap(self, code, detail="", count=1):
        key = (code, str(detail))
        if key not in self.gaps and len(self.gaps) >= 4096:
            key = (code, "")
        self.gaps[key] = min(self.gaps.get(key, 0) + count, U64)

    def report(self, code, detail, ends):
        if not CODE.match(code):
            raise Malformed
        if code not in KINDS:
            self.gap("UNKNOWN_CODE", code)
        details = self.details.setdefault(code, set())
        detail = detail if detail in details or len(details) < 64 else ""
        details.add(detail)
        count, before = self.spots.get((code, detail), (0, False))
        self.spots[code, detail] = (count + 1, before or ends or KINDS.get(code, "Gap") in ENDING)

    def frame(self, name, body):
        try:
            if name in ("opened", "segment") or self.opened and not self.closed:
                getattr(self, "on_" + name, lambda body: None)(body)
            else:
                raise Malformed
        except Malformed:
            self.gap("MALFORMED_LOG")

    def on_opened(self, body):
        hooks = {hook["id"]: hook for hook in body["hooks"]}
        if self.opened or len(hooks) < len(body["hooks"]):
            raise Malformed
        self.opened, self.hooks = body, hooks
        self.process(body["root_pid"], "root", None, 0)

    def key(self, body):
        if body["hook"] not in self.hooks:
            raise Malformed
        return body["epoch"], body["hook"], body["cpu"]

    def on_folded(self, body):
        self.key(body)
        self.folded.append(body)

    def on_account(self, body):
        if self.key(body) in self.accounts:
            raise Malformed
        self.accounts[self.key(body)] = body

    def on_digest(self, body):
        kind = CLASSES[body["class"]] if 0 < body["class"] < 6 else None
        reason, size = body["reason"], len(body["sha256"])
        whole = size == (0 if kind in ("ephemeral", "absent") else 32)
        whole = whole and (reason == "" if kind in ("kernel", "stable") else bool(CODE.match(reason)))
        known = reason in self.reasons or len(self.reasons) < 256
        if not kind or not whole or body["file_id"] not in self.files or not known:
            raise Malformed
        self.reasons.add(reason)
        self.contents[body["file_id"]] = body

    def on_blind_spot(self, body):
        self.report(body["code"], body["detail"], body["ends_completeness"])

    def on_survivor(self, body):
        self.survivors.append(body)

    def on_closed(self, body):
        self.closed = body

    def on_event(self, event):
        key = self.key(event)
        seen = self.delivered.setdefault(key, [set(), 0])
        if event["number"] in seen[0]:
            raise Malformed
        seen[0].add(event["number"])
        seen[1] += event["flags"] & 0xffff != 0
        if "body" not in event:
            raise Malformed
        getattr(self, "on_" + event["body"][0], lambda *_: None)(event, event["body"][1])

    def process(self, pid, origin, parent, start):
        new = {"number": len(self.processes), "pid": pid, "origin": origin, "parent": parent, "start": start,
               "end": None, "execs": [], "marked": False}
        self.processes.append(new)
        self.current[pid] = new
        return new

    def live(self, pid):
        found = self.current.get(pid)
        return found if found and not found["end"] else None

    def actor(self, event):
        if event["pid"] not in self.current:
            self.gap("UNKNOWN_PROCESS", event["pid"])
            self.process(event["pid"], "unknown", None, 0)
        return self.current[event["pid"]]

    def access(self, event, file_id, record, bits, actor):
        if record and record["id"] != file_id:
            raise Malformed
        rows = self.files.get(file_id, [])
        row = rows[0] if rows else None
        if record and (record["path"] or not rows):
            version = [record[name] for name in ("dev", "ino", "size", "ctime_sec", "ctime_nsec")]
            if rows and row["version"] != version:
                raise Malformed
            row = next((row for row in rows if row["file"]["path"] == record["path"]), None)
            if not row:
                row = {"file": record, "version": version, "access": 0, "accesses": 0, "processes": set(),
                       "deleted": bool(event["flags"] >> 16 & 1)}
                self.rows.append(row)
                self.files.setdefault(file_id, []).append(row)
        if not row:
            raise Malformed
        row["access"] |= bits
        row["accesses"] += 1
        row["processes"].add(actor["number"])
        self.touched[*self.key(event), event["number"]] = row
        return row

    def on_fork(self, event, body):
        parent, child = self.actor(event), self.live(body["child_pid"])
        if not child or child["start"] != body["child_start_ns"]:
            self.process(body["child_pid"], "forked", parent, body["child_start_ns"])
        elif not child["parent"]:
            child["parent"] = parent

    def on_exec(self, event, body):
        if body["args_bytes"] > 6291456:
            raise Malformed
        actor, binary = self.actor(event), body["binary"]
        if not binary:
            raise Malformed
        row = self.access(event, binary["id"], binary, 4, actor)
        actor["execs"].append({"row": row, "at": event["boottime_ns"], "args": bytearray(), **body})

    def on_exec_args(self, event, body):
        execs = self.actor(event)["execs"]
        if not execs or body["offset"] != len(execs[-1]["args"]) \
                or body["offset"] + len(body["data"]) > execs[-1]["args_bytes"]:
            raise Malformed
        execs[-1]["args"] += body["data"]

    def on_exit(self, event, body):
        actor = self.actor(event)
        if actor["end"]:
            raise Malformed
        actor["start"], actor["end"] = actor["start"] or body["start_ns"], (event["boottime_ns"], body)

    def on_open(self, event, body):
        if body["access"] > 255:
            raise Malformed
        self.access(event, body["file_id"], body["file"], body["access"], self.actor(event))

    def on_name(self, event, body):
        if not 0 < body["operation"] < len(NAME_OPERATIONS):
            raise Malformed
        self.names.append((body, self.actor(event)["number"], event["boottime_ns"]))

    def on_network(self, event, body):
        if not 0 < body["operation"] < len(CONTACT_OPERATIONS):
            raise Malformed
        operation, cookie = CONTACT_OPERATIONS[body["operation"]], body["cookie"]
        actor, side = self.actor(event) if event["pid"] else None, "local" if operation == "bind" else "remote"
        key = (actor and actor["number"], operation, body["family"], body["type"], body["protocol"],
               body[side + "_port"], body["result"], body["level"], body[side])
        ends = operation == "close" and cookie and cookie in self.cookies
        now = event["boottime_ns"]
        new = {"first": now, "last": now, "count": 0, "sent": 0, "received": 0}
        row = self.cookies.pop(cookie) if ends else self.contacts.setdefault(key, new)
        row["count"] += not ends
        row["last"] = max(row["last"], now)
        row["sent"] = min(row["sent"] + body["sent_bytes"], U64)
        row["received"] = min(row["received"] + body["received_bytes"], U64)
        if cookie and operation in ("connect-attempt", "connect", "accept"):
            self.cookies[cookie] = row

    def on_joined(self, event, body):
        there = self.live(event["pid"])
        if there:
            there["start"] = there["start"] or body["start_ns"]
        if not there or there["start"] != body["start_ns"]:
            self.process(event["pid"], "joined", None, body["start_ns"])
            self.report("JOINED_PROCESS", str(event["pid"]), True)

    def on_outside_write(self, event, body):
        self.report("OUTSIDE_WRITE", "", False)

    def on_attention(self, event, body):
        self.report(body["code"], str(body["detail"] or ""), False)

    # -- judgement

    def judge(self):
        for body in self.survivors:
            self.gap("SURVIVOR", body["pid"])
            process = self.live(body["pid"])
            if process and (process["start"] == body["start_ns"] or not process["start"] or not body["start_ns"]):
                process["marked"] = True
            else:
                self.gap("MALFORMED_LOG", "survivor")
        for process in self.processes:
            if not process["end"] and not process["marked"]:
                self.gap("END_NOT_SEEN", process["pid"])
            for run in process["execs"]:
                if len(run["args"]) != run["args_bytes"]:
                    self.gap("TRUNCATED_ARGV", process["pid"])
        for folded in self.folded:
            row = self.touched.get((*self.key(folded), folded["number"]))
            if row:
                row["accesses"] = min(row["accesses"] + folded["count"], U64)
        self.sums = {hook: self.numbers(hook, f"{body['observation']}#{hook}") for hook, body in self.hooks.items()}
        if self.closed and any(row["hook"] not in self.hooks for row in self.closed["misses"]):
            self.gap("MALFORMED_LOG", "misses")
        reason = self.closed and self.closed["reason"]
        if not self.closed:
            self.gap("NOT_CLOSED")
        elif reason == "failed" or reason == "signal" and self.closed["root_status"] < 0:
            self.gap("SESSION_FAILED" if reason == "failed" else "SESSION_CUT")
        elif reason not in ("ended", "signal"):
            self.gap("UNKNOWN_CODE", "reason")
        for hook, body in self.hooks.items():
            if level(body["level"]) <= (0 if body["observation"] in NAME_OBSERVATIONS else 1):
                self.gap("WEAK_HOOK", f"{body['observation']}#{hook}")
        for observation in OBSERVATIONS:
            if observation not in [body["observation"] for body in self.hooks.values()]:
                self.gap("MISSING_OBSERVATION", observation)

    def numbers(self, hook, label):
        """A hook's sums over epochs and CPUs, and the gaps in its numbers."""
        sums = dict.fromkeys(("attempted", "delivered", "coalesced", "lost", "truncated"), 0)
        folded = [body for body in self.folded if body["hook"] == hook]
        keys = {key for key in [*self.delivered, *self.accounts, *map(self.key, folded)] if key[1] == hook}
        unseen = {self.key(body) for body in folded
                  if body["number"] not in self.delivered.get(self.key(body), ((), 0))[0]}
        for key in keys:
            (seen, flagged), account = self.delivered.get(key, (set(), 0)), self.accounts.get(key)
            truncated = max(flagged, account["truncated"] if account else 0)
            sums["delivered"] += len(seen)
            sums["truncated"] += truncated
            if truncated:
                self.gap("TRUNCATED_EVENT", label, truncated)
            if not account:
                if self.closed:
                    self.gap("MISSING_ACCOUNT", label)
                continue
            for name in ("attempted", "coalesced", "lost"):
                sums[name] += account[name]
            if account["lost"]:
                self.gap("LOST_EVENTS", label, account["lost"])
            if len(seen) + account["coalesced"] + account["lost"] != account["attempted"]:
                self.gap("ACCOUNT_MISMATCH", label)
            if seen and max(seen) >= account["attempted"]:
                self.gap("NUMBER_BEYOND_ACCOUNT", label)
            if key in unseen:
                self.gap("FOLD_MISMATCH", label)
        misses = [row for row in self.closed["misses"] if row["hook"] == hook] if self.closed else []
        known = len(misses) == 1 and misses[0]["known"]
        if self.closed:
            accounts = [account for key, account in self.accounts.items() if key[1] == hook]
            repeats = {body["epoch"]: 0 for body in folded + accounts}
            for body in folded + accounts:
                repeats[body["epoch"]] += body["count"] if "count" in body else -body["coalesced"]
            if not known or misses[0]["misses"]:
                self.gap("MISSED_RUNS" if known else "UNKNOWN_MISSES", label, misses[0]["misses"] if known else 1)
            if not accounts:
                self.gap("MISSING_ACCOUNT", label)
            if any(repeats.values()):
                self.gap("FOLD_MISMATCH", label)
        return {name: min(n, U64) for name, n in sums.items()} | {"misses": misses[0]["misses"] if known else None}


def level(number):
    return number if 0 < number < 4 else 0


def lowest(hooks):
    """Section 5.5's coverage level, of (observation, level) pairs."""
    return LEVELS[min((level for observation, level in hooks if observation not in NAME_OBSERVATIONS), default=0)]
